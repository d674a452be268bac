"""What the engine needs from outside. `runtime` and `sim` name the classes that stand behind these ports."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from kos_ray.model.decisions import Decision
from kos_ray.model.events import Event
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import JobState, Spec
from kos_ray.model.plugins import Advice, Question
from kos_ray.model.protocol import Orders, Outcomes
from kos_ray.model.schedule import Foreseen


class Clock(Protocol):
    """Wall clock at boot plus a monotonic clock since."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch; never goes backwards."""
        ...


class Frame(Protocol):
    """One commit of the journal."""

    @property
    def first_seq(self) -> int:
        """Sequence number of its first record."""
        ...

    @property
    def last_seq(self) -> int:
        """Sequence number of its last record."""
        ...

    @property
    def now_us(self) -> int:
        """The instant of the step that it holds."""
        ...

    @property
    def events(self) -> Sequence[Event]:
        """What happened."""
        ...

    @property
    def decisions(self) -> Sequence[Decision]:
        """What was decided."""
        ...


class Known(Protocol):
    """What admission asks of a journal; readers can answer it as well."""

    @property
    def next_spec_key(self) -> SpecKey:
        """The key that the next new spec gets."""
        ...

    def request(self, request_id: str) -> tuple[JobKey, int] | None:
        """First key and number of jobs of a request that was accepted before."""
        ...

    def keyed(self, namespace: str, idempotency_key: str) -> tuple[JobKey, str, str] | None:
        """Who has an idempotency key: the first job, the hash of what was submitted, the public id."""
        ...

    def spec_by_hash(self, hash_: str) -> tuple[SpecKey, Spec] | None:
        """A spec that some job has used before."""
        ...

    def resolve(self, namespace: str, ref: str) -> tuple[JobKey, int] | None:
        """First key and count (-1: one job) of a public id or a name."""
        ...

    def taken(self, places: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], JobKey]:
        """Those of `(namespace, id or name)` that mean something, with the first job of what they mean."""
        ...

    def ends(self, keys: Iterable[JobKey]) -> dict[JobKey, tuple[JobState, int, int]]:
        """Where jobs stand, why (`Reason`), and how often each was sent to a node."""
        ...

    def last_nodes(self, keys: Iterable[JobKey]) -> list[str]:
        """Ids of the nodes on which they ran last, each once, in their order."""
        ...


class Journal(Known, Protocol):
    """Durable memory; see `journal/`. A call that raises has changed nothing."""

    @property
    def cluster_id(self) -> str:
        """Whose journal it is."""
        ...

    @property
    def last_epoch(self) -> int:
        """The epoch of the last frame, 0 in an empty journal."""
        ...

    @property
    def last_now_us(self) -> int:
        """The instant of the last frame, 0 in an empty journal."""
        ...

    def append(self, *, now_us: int, epoch: int, events: Sequence[Event], decisions: Sequence[Decision]) -> Frame:
        """One frame and the current rows, durable when it returns."""
        ...

    def probe(self) -> None:
        """Raise `JournalUnwritable` where the disk surely refuses; it may still refuse a frame when this returns."""
        ...

    def frames(self, after: int = 0) -> Iterator[Frame]:
        """Frames whose records come after the sequence number `after`."""
        ...

    def args(self, keys: Iterable[JobKey]) -> dict[JobKey, bytes]:
        """Argument payloads."""
        ...

    def results(self, keys: Iterable[JobKey]) -> dict[JobKey, bytes]:
        """Result payloads of jobs that succeeded."""
        ...

    def checkpoints(self, keys: Iterable[JobKey]) -> dict[JobKey, bytes]:
        """Payloads of the newest checkpoints of live jobs."""
        ...

    def snapshots(self, wanted: Mapping[JobKey, str]) -> dict[JobKey, bytes]:
        """Payloads of snapshots of agents, of each carrier that of one hash."""
        ...

    def checkpoint_numbers(self, keys: Iterable[JobKey]) -> dict[JobKey, tuple[int, int]]:
        """Attempt and number of the newest checkpoints of live jobs."""
        ...

    def public_ids(self, keys: Iterable[JobKey]) -> dict[JobKey, str]:
        """Public ids."""
        ...

    def names(self, keys: Iterable[JobKey]) -> dict[JobKey, tuple[str, str]]:
        """Public ids, and names ("" for none)."""
        ...

    def outcomes(self, keys: Iterable[JobKey]) -> Outcomes:
        """How those of the jobs ended that are over."""
        ...


class Snapshots(Protocol):
    """Saved states; see `journal/snapshots.py`."""

    def load_newest(self) -> tuple[int, Any] | None:
        """Sequence number and plain data of the newest one that fits the journal."""
        ...


class Links(Protocol):
    """The way to the node agents. Sending never blocks and never raises; what is lost shows at the next greeting."""

    def send(self, node: NodeId, orders: Orders) -> None:
        """Put orders behind those already on their way to the node."""
        ...


class Rules(Protocol):
    """Repeat rules of others, asked in processes of their own. Nothing here blocks or raises; trouble is an answer."""

    def listen(self, answer: Callable[[Foreseen], None]) -> None:
        """Where answers go to."""
        ...

    def ask(self, key: str, rule: str, after_us: int, until_us: int) -> None:
        """Ask the rule of a schedule for its instants behind one, and for some that are behind `until_us`."""
        ...


class Plugins(Protocol):
    """Plug-ins that order jobs, each in a process of its own. Nothing here blocks or raises; trouble is an answer."""

    def listen(self, answer: Callable[[Advice], None]) -> None:
        """Where answers go to, also that a plug-in is up (number 0), and what went wrong."""
        ...

    def ask(self, plugin: str, question: Question) -> None:
        """Ask a plug-in, whose process is started where there is none."""
        ...

    def orders_graphs(self, plugin: str) -> bool:
        """Whether it ranks whole graphs: it is asked of jobs together with those that wait for them."""
        ...

    def cancel(self, plugin: str, ids: tuple[str, ...]) -> None:
        """Tell it that jobs that it was asked about were cancelled."""
        ...

    def end(self, plugin: str) -> None:
        """End its process, if there is one, without waiting for it."""
        ...
