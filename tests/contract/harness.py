"""What a node agent is tested through: the real one with child processes, or a fake one in virtual time."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum

from kos_ray.model import decisions as d
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import AttemptEnd, Carries, SlotKind, Spec
from kos_ray.model.protocol import PROTOCOL, Hello, Holding, LaunchOrder, Orders, Report
from kos_ray.model.resources import Resources

NODE = NodeId("n1")
CLUSTER = "the-cluster"
INCARNATION = "node-1"

#: what agents under test are given as `AgentLimits`; a test of admission itself gives a shorter one
ADMISSION_MS = 25_000
RESEND_MS = 100
ENTERED_AFTER_MS = 150
#: how long `Does.FINISH` takes
FINISH_MS = 300


class Does(Enum):
    """What the code of a test's job does once it is entered."""

    RETURN = "returns at once"
    RAISE = "raises ValueError('no')"
    DIE = "kills its own process"
    BLOCK = "blocks without ever looking up, until it is killed"
    OBEY = "runs until it is asked to stop"
    FINISH = "takes a moment without ever looking up, then returns"


class AgentUnderTest(ABC):
    """A node agent of node `NODE`, cluster `CLUSTER` and life `INCARNATION`, and what a scheduler sees of it."""

    def __init__(self) -> None:
        #: every report that reached the scheduler, resent ones again
        self.delivered: list[Report] = []
        #: while False, deliveries fail on their way
        self.reachable = True
        #: while False, the scheduler takes reports and does not acknowledge them
        self.acknowledging = True
        self.epoch = 1
        self.session = 0
        self._specs: dict[Spec, SpecKey] = {}

    # ---- what an implementation provides

    @abstractmethod
    def hello(self, hello: Hello) -> Holding:
        """Greet the agent."""

    @abstractmethod
    def receive(self, orders: Orders) -> None:
        """Send orders to the agent."""

    @abstractmethod
    async def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Let time pass until the condition holds; a generous deadline ends the test with `what`."""

    @abstractmethod
    async def settle(self) -> None:
        """Let everything happen that is about to happen without any more input."""

    @abstractmethod
    async def breathe(self) -> None:
        """Let a little happen."""

    @abstractmethod
    def function(self, does: Does) -> bytes:
        """The function of a spec whose jobs do this, and leave a trace of each entry."""

    @abstractmethod
    def agent_class(self) -> bytes:
        """The class of an agent with a method for each `Does`, by its name in small letters, that leaves a trace."""

    @abstractmethod
    def entries(self, key: int) -> int:
        """How many times the code of a job has been entered, as its own trace tells."""

    @abstractmethod
    def kill_slot_of(self, key: int) -> None:
        """Kill the process in which a job runs now, from outside."""

    @abstractmethod
    def hold_back_slots(self, held_back: bool) -> None:
        """From now on, slots that are asked for are not admitted."""

    @abstractmethod
    def starts_asked(self) -> int:
        """How many slots the agent has asked for so far."""

    # ---- what tests say

    def greet(self, *, epoch: int = 1, session: int = 0, cluster: str = CLUSTER, protocol: int = PROTOCOL) -> Holding:
        """Greet the agent as a scheduler of this epoch and session; later orders are its own."""
        holding = self.hello(Hello(cluster_id=cluster, epoch=epoch, protocol=protocol, version="test", session=session))
        if not holding.refused:
            self.epoch, self.session = epoch, session
        return holding

    def spec(self, does: Does, *, timeout_ms: int = 0, single_use: bool = False) -> Spec:
        """A spec whose jobs do this."""
        resources = Resources.of({"CPU": 1})
        return Spec(function=self.function(does), timeout_ms=timeout_ms, single_use=single_use, resources=resources)

    def carrier(self) -> Spec:
        """A spec whose job carries the agent "keeper"."""
        resources = Resources.of({"CPU": 1})
        return Spec(function=self.agent_class(), carries=Carries(name="keeper"), grace_ms=10_000, resources=resources)

    def message(self, does: Does, *, timeout_ms: int = 0) -> Spec:
        """A spec whose jobs are messages to that agent."""
        return Spec(entry=does.name.lower(), receiver="keeper", timeout_ms=timeout_ms)

    def order(self, spec: Spec, *keys: int, slots: int = 1, attempt: int = 1, ranks: tuple[int, ...] = ()) -> Orders:
        """The order to launch these jobs."""
        count = len(keys)
        spec_key = self._specs.setdefault(spec, SpecKey(len(self._specs) + 1))
        launch = LaunchOrder(
            kind=spec.slot_kind,
            slots=slots,
            keys=tuple(JobKey(key) for key in keys),
            attempts=(attempt,) * count,
            ranks=ranks or (3,) * count,
            specs=(spec_key,) * count,
            ids=tuple(f"job-{key}" for key in keys),
            args=(b"",) * count,
        )
        return self.orders(new_specs=((spec_key, spec),), launches=(launch,))

    def orders(self, **fields: object) -> Orders:
        """Orders of the scheduler that greeted last."""
        return Orders(cluster_id=CLUSTER, epoch=self.epoch, session=self.session, **fields)  # type: ignore[arg-type]

    def launch(self, spec: Spec, *keys: int, slots: int = 1, attempt: int = 1, ranks: tuple[int, ...] = ()) -> None:
        """Launch jobs."""
        self.receive(self.order(spec, *keys, slots=slots, attempt=attempt, ranks=ranks))

    def recall(self, *keys: int) -> None:
        """Recall first attempts."""
        self.receive(self.orders(recalls=(d.Recall(node=NODE, keys=_keys(keys), attempts=_ones(keys), reason=0),)))

    def stop(self, *keys: int, grace_ms: int) -> None:
        """Stop first attempts."""
        stop = d.Stop(node=NODE, keys=_keys(keys), attempts=_ones(keys), grace_ms=grace_ms, reason=0)
        self.receive(self.orders(stops=(stop,)))

    def resize(self, kind: SlotKind, slots: int) -> None:
        """Change the number of slots of a kind."""
        self.receive(self.orders(resizes=(d.ResizeSlots(node=NODE, kind=kind, slots=slots, reason=0),)))

    # ---- what tests see

    def unique_reports(self) -> list[Report]:
        """Each report once, by number."""
        return [report for _, report in sorted({report.number: report for report in self.delivered}.items())]

    def ends(self) -> dict[tuple[int, int], AttemptEnd]:
        """Ends by (key, attempt), from the reports; an attempt that ends twice fails the test."""
        found: dict[tuple[int, int], AttemptEnd] = {}
        for report in self.unique_reports():
            for ended in report.ended:
                for key, attempt, end in zip(ended.keys, ended.attempts, ended.ends, strict=True):
                    assert (key, attempt) not in found, f"attempt {attempt} of job {key} ended twice"
                    found[key, attempt] = AttemptEnd(end)
        return found

    def end_of(self, key: int, attempt: int = 1) -> AttemptEnd | None:
        """How an attempt ended, None while it has not."""
        return self.ends().get((key, attempt))

    def reported_pids(self) -> list[int]:
        """The processes of all ends, in their order."""
        return [pid for report in self.unique_reports() for ended in report.ended for pid in ended.pids]

    def reported_entered(self) -> set[int]:
        """Jobs that were reported as entered."""
        return {key for report in self.delivered for entered in report.entered for key in entered.keys}

    def agents_said(self) -> list[tuple[int, bool]]:
        """What reports say of agents, in their order: the carrier, and whether it takes messages."""
        said = [one for report in self.unique_reports() for one in report.agents]
        return [(int(key), ready) for one in said for key, ready in zip(one.keys, one.ready, strict=True)]

    async def until_ready(self, key: int) -> None:
        """Wait until the agent that a job carries takes messages."""
        await self.wait_for(lambda: (key, True) in self.agents_said(), f"the agent of {key}")

    async def until_ended(self, *keys: int, attempt: int = 1) -> None:
        """Wait for the ends of jobs."""
        wanted = {(key, attempt) for key in keys}
        await self.wait_for(lambda: wanted <= self.ends().keys(), f"the ends of {keys}")

    async def until_entered(self, key: int, times: int = 1) -> None:
        """Wait until the code of a job runs."""
        await self.wait_for(lambda: self.entries(key) >= times, f"the entry of {key}")


def _keys(keys: tuple[int, ...]) -> tuple[JobKey, ...]:
    return tuple(JobKey(key) for key in keys)


def _ones(keys: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * len(keys)
