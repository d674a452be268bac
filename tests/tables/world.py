"""A small cluster for decision tables: requests go through the engine's admission, all else through the scheduler."""

from collections.abc import Iterable, Sequence

from kos_ray.engine.admission import Admission
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import AttemptEnd, JobState, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.model.protocol import Array, Submit
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources
from kos_ray.scheduler import invariants
from kos_ray.scheduler.machine import step
from kos_ray.scheduler.state import State
from kos_ray.spec.after import parse_conditions

Finished = tuple[JobState, Reason, int]


class Rows:
    """What admission asks of the journal."""

    def __init__(self) -> None:
        self.names: dict[str, tuple[JobKey, int]] = {}
        self.finished: dict[JobKey, Finished] = {}
        self.next_spec_key = SpecKey(1)

    def request(self, _request_id: str) -> None:
        return None

    def keyed(self, _namespace: str, _key: str) -> None:
        return None

    def spec_by_hash(self, _hash: str) -> None:
        return None

    def resolve(self, _namespace: str, ref: str) -> tuple[JobKey, int] | None:
        return self.names.get(ref)

    def taken(self, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], JobKey]:
        return {place: self.names[place[1]][0] for place in places if place[1] in self.names}

    def ends(self, keys: Iterable[JobKey]) -> dict[JobKey, Finished]:
        return {key: self.finished[key] for key in keys}


class World:
    """One node with room for all. Jobs are known by name; an array's items as `name_0`, `name_1`, ..."""

    def __init__(self) -> None:
        self.state, self.rows = State(), Rows()
        self.now_us = 1
        self._step(e.SchedulerStarted(epoch=1, version="0", policy=Policy(losses_max=0)))
        self.join("n")

    def join(self, node: str) -> None:
        self._step(e.NodesJoined(nodes=(Node(NodeId(node), node, Resources.of({"CPU": 1_000})),)))

    def submit(self, name: str, *, after: object = (), count: int = -1, type_: str = "job", user: str = "ann") -> None:
        """A job whose dependencies are written as people write them.

        Raises:
            ValueError, Refused: it is not accepted.

        """
        waits_for = parse_conditions(after)
        spec = Spec(type=type_, entry="m:f", resources=Resources.of({"CPU": 1}))
        array = Array(
            id=name,
            count=count,
            spec=spec_hash(spec),
            args=(b"",) * abs(count),
            after=tuple((parent, int(kind)) for parent, kind in waits_for.parents),
            rule=int(waits_for.rule),
            singleton=type_ if waits_for.by_type else waits_for.singleton,
        )
        request = Submit(request_id=name, arrays=(array,), specs=((spec_hash(spec), spec),), sender=user)
        self.rows.next_spec_key = SpecKey(max(self.state.specs, default=0) + 1)
        admission = Admission(self.state, self.rows, "3.11", self.state.next_key, {})  # type: ignore[arg-type]
        _, event = admission.admit(request)
        assert event is not None
        self.rows.names[name] = (event.first, count)
        for index in range(count):
            self.rows.names[f"{name}_{index}"] = (JobKey(event.first + index), -1)
        self._step(event)

    def enter(self, name: str) -> None:
        job = self.state.jobs[self.key(name)]
        assert job.node is not None
        self._step(
            e.AttemptsEntered(node=job.node, keys=(job.key,), attempts=(job.attempt,), entered_us=(self.now_us,))
        )

    def end(self, name: str, end: AttemptEnd) -> None:
        job = self.state.jobs[self.key(name)]
        assert job.node is not None
        columns = {"entered_us": (1,), "ended_us": (2,), "pids": (1,), "results": (b"",)}
        keys, attempts = (job.key,), (job.attempt,)
        self._step(e.AttemptsEnded(node=job.node, keys=keys, attempts=attempts, ends=(int(end),), **columns))

    def cancel(self, name: str) -> None:
        self._step(e.CancelRequested(request_id="", keys=(self.key(name),)))

    def lose_node_of(self, name: str) -> None:
        node = self.state.jobs[self.key(name)].node
        assert node is not None
        self._step(e.NodeLost(node=node, cause="drawn"))

    def key(self, name: str) -> JobKey:
        return self.rows.names[name][0]

    def stands(self, name: str) -> tuple[JobState, Reason]:
        """Where a job stands, live or not."""
        key = self.key(name)
        job = self.state.jobs.get(key)
        return (job.state, Reason.NONE) if job else self.rows.finished[key][:2]

    def _step(self, *events: e.Event) -> None:
        self.now_us += 1_000
        attempts = {key: job.attempt for key, job in self.state.jobs.items()}
        for decision in step(self.state, events, self.now_us):
            if isinstance(decision, d.Finish):
                how = JobState(decision.state), Reason(decision.reason)
                self.rows.finished |= {key: (*how, attempts.get(key, 0)) for key in decision.keys}
        assert invariants.check(self.state) == []
