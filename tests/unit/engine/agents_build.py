"""An engine with one agent on one node, whose attempts say what the test has them say."""

from typing import Any

from kos_ray.engine.inbox import AgentWish
from kos_ray.model.agents import Agent, AgentsSaid, Phase
from kos_ray.model.events import AttemptsEntered
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd, Backoff, Carries, Demands, Eviction, JobState, Spec
from kos_ray.model.resources import Resources
from kos_ray.scheduler.agents import phase
from kos_ray.scheduler.invariants import check
from tests.unit.engine.engine_build import NODE, Hands, array, ended

CARRIER = Spec(
    entry="module:Counter",
    resources=Resources.of({"CPU": 1}),
    carries=Carries(name="counter", crashes_max=3, window_ms=60_000),
    demands=Demands(agent=True),
    eviction=Eviction.CHECKPOINT,
    grace_ms=9_000,
    backoff=Backoff(first_ms=1_000, jitter=0),
)
COUNTER = Agent(name="counter", spec=CARRIER, methods=("add",))
MESSAGE = Spec(entry="add", receiver="counter", type="counter.add")


class Keeper(Hands):
    """Hands with one agent on one node."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.number = 0
        self.greet()
        self.tick()

    def wish(self, verb: str, agent: Agent | None = None, **fields: Any) -> Any:
        self.engine.wish(AgentWish(f"w{len(self.answers)}", verb, COUNTER.key, agent, **fields), self.answers.append)
        self.tick()
        return self.answers[-1]

    @property
    def standing(self) -> Any:
        return self.engine.state.agents.by_key[COUNTER.key]

    @property
    def phase(self) -> Phase:
        assert check(self.engine.state) == []
        return phase(self.engine.state, self.standing)

    @property
    def carrier(self) -> Any:
        return self.engine.state.jobs[self.standing.job]

    def say(self, *, ready: bool = True) -> None:
        """The carrier's attempt has been entered, and takes messages."""
        job = self.carrier
        if job.state is JobState.LAUNCHED:
            self.engine.post(AttemptsEntered(node=NODE.id, keys=(job.key,), attempts=(job.attempt,), entered_us=(1,)))
        self.engine.post(AgentsSaid(node=NODE.id, keys=(job.key,), attempts=(job.attempt,), ready=(ready,)))
        self.tick()

    def end(self, end: AttemptEnd, job: Any = None) -> None:
        job = job or self.carrier
        self.engine.post(ended(job.key, job.attempt, end))
        self.tick()

    def message(self, number: int = 0) -> JobKey:
        return JobKey(self.submit(array(f"m{number}", spec=MESSAGE), request=f"m{number}", spec=MESSAGE).first)

    def state_of(self, key: JobKey) -> JobState:
        return self.engine.state.jobs[key].state


def begun() -> Keeper:
    hands = Keeper()
    hands.wish("start", COUNTER)
    return hands


def running() -> Keeper:
    hands = begun()
    hands.say()
    assert hands.phase is Phase.RUNNING
    return hands
