"""Short ways to say what happens to a journal in a test."""

from kos_ray.journal.store import Journal
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import AttemptEnd, JobState, SlotKind, Spec
from kos_ray.model.node import Node
from kos_ray.model.payload import inline
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources

CPU = Resources.of({"CPU": 1})
KIND = SlotKind(CPU)
SPEC = Spec(type="train", resources=CPU, tags=("nightly", "gpu"), entry="work:train")


class Story:
    """A journal, and a clock that moves one second with every frame."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.journal = journal or Journal.in_memory("cluster")
        self.now = max(self.journal.last_now_us, 1_000_000_000)

    def add(self, *records: object):
        """One frame of events and decisions."""
        self.now += 1_000_000
        return self.journal.append(
            now_us=self.now,
            epoch=max(1, self.journal.last_epoch),
            events=[x for x in records if isinstance(x, e.EVENT_TYPES)],
            decisions=[x for x in records if isinstance(x, d.DECISION_TYPES)],
        )

    def begin(self, jobs: int = 3, *, nodes: tuple[str, ...] = ("a", "b")) -> "Story":
        """Nodes, and one array of jobs with keys from 1."""
        self.add(e.SchedulerStarted(epoch=1, version="test"), joined(*nodes))
        self.add(submitted(1, (("array", jobs),)))
        return self

    def row(self, key: int) -> dict[str, object]:
        """A job's row, by column."""
        cursor = self.journal.connection.execute("SELECT * FROM jobs WHERE key = ?", (key,))
        return dict(zip([c[0] for c in cursor.description], cursor.fetchone(), strict=True))

    def state(self, key: int) -> JobState:
        return JobState(self.row(key)["state"])


def joined(*names: str) -> e.NodesJoined:
    return e.NodesJoined(nodes=tuple(Node(NodeId(n), f"node-{n}", CPU, labels=(("zone", n),)) for n in names))


def submitted(
    first: int, arrays, *, request: str = "", spec: Spec = SPEC, spec_key: int = 1, **more
) -> e.JobsSubmitted:
    """Arrays `(id, count)` of jobs; the spec comes along with the first key."""
    total = sum(abs(count) for _, count in arrays)
    return e.JobsSubmitted(
        request_id=request or f"request-{first}",
        first=JobKey(first),
        ids=tuple(name for name, _ in arrays),
        counts=tuple(count for _, count in arrays),
        specs=(SpecKey(spec_key),) * len(arrays),
        args=tuple(inline(b"arg %d" % key) for key in range(first, first + total)),
        new_specs=((SpecKey(spec_key), spec),) if first == 1 or spec_key > 1 else (),
        **more,
    )


def launch(*keys: int, node: str = "a", attempt: int = 1) -> d.Launch:
    return d.Launch(node=NodeId(node), kind=KIND, slots=1, keys=keys, attempts=(attempt,) * len(keys))


def entered(*keys: int, node: str = "a", attempt: int = 1, at: int = 11, pid: int = 0) -> e.AttemptsEntered:
    return e.AttemptsEntered(
        node=NodeId(node),
        keys=keys,
        attempts=(attempt,) * len(keys),
        entered_us=(at,) * len(keys),
        pids=(pid,) * len(keys) if pid else (),
    )


def ended(*keys: int, node: str = "a", attempt: int = 1, end: int = AttemptEnd.SUCCEEDED, **more) -> e.AttemptsEnded:
    return e.AttemptsEnded(
        node=NodeId(node),
        keys=keys,
        attempts=(attempt,) * len(keys),
        ends=(end,) * len(keys),
        entered_us=tuple(100 + key for key in keys),
        ended_us=tuple(200 + key for key in keys),
        pids=tuple(1000 + key for key in keys),
        results=tuple(inline(b"result %d" % key) for key in keys),
        **more,
    )


def finish(*keys: int, state: int = JobState.SUCCEEDED, reason: int = Reason.SUCCEEDED) -> d.Finish:
    return d.Finish(keys=keys, state=state, reason=reason)


def ready(*keys: int, reason: int = Reason.NONE) -> d.MakeReady:
    return d.MakeReady(keys=keys, reason=reason)


def later(*keys: int, due: int = 5_000) -> d.RetryLater:
    n = len(keys)
    return d.RetryLater(keys=keys, due_us=(due,) * n, reasons=(int(Reason.USER_ERROR),) * n)


def stop(*keys: int, node: str = "a", attempt: int = 1) -> d.Stop:
    return d.Stop(
        node=NodeId(node), keys=keys, attempts=(attempt,) * len(keys), grace_ms=1, reason=Reason.CANCELLED_BY_USER
    )


def progress_made(*said: tuple[int, int, str], node: str = "a", attempt: int = 1) -> e.ProgressMade:
    """Jobs, how far they are in 1/10 000, and what they say."""
    keys, shares, texts = zip(*said, strict=True)
    return e.ProgressMade(node=NodeId(node), keys=keys, attempts=(attempt,) * len(keys), shares=shares, texts=texts)


def saved(*states: tuple[int, int, bytes], node: str = "a", attempt: int = 1, at: int = 12) -> e.CheckpointsStored:
    """Jobs, the numbers of their checkpoints, and what these hold."""
    keys, numbers, payloads = zip(*states, strict=True)
    n = len(keys)
    return e.CheckpointsStored(
        node=NodeId(node), keys=keys, attempts=(attempt,) * n, numbers=numbers, payloads=payloads, at_us=(at,) * n
    )
