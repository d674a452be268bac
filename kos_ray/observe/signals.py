"""From the journal to what the ends of jobs call for: who is told, which jobs follow, and where results go.

Each has an id made of the cluster, the decision's sequence number, the job and its place among them: the same however
often a frame is read.
"""

import hashlib
import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey
from kos_ray.model.job import Hook, JobState, Notify, Spec
from kos_ray.model.payload import inline
from kos_ray.model.policy import Policy
from kos_ray.model.protocol import Array, Submit
from kos_ray.model.views import JobView
from kos_ray.model.wire import to_plain
from kos_ray.observe import results
from kos_ray.observe.lifecycle import TASK_FAILURE
from kos_ray.observe.outbox import Entry
from kos_ray.observe.results import follower_id

#: how the event is called, by the state in which the job ended
TYPES = {
    "failed": TASK_FAILURE,
    "lost": TASK_FAILURE,
    "succeeded": "job_completed",
    "cancelled": "job_cancelled",
    "skipped": "job_skipped",
}
#: which hooks follow which end
_FOLLOWING = {
    "failed": {"end", "failure", "fallback"},
    "lost": {"end", "failure", "fallback"},
    "succeeded": {"end", "success"},
    "cancelled": {"end"},
    "skipped": {"end"},
}
#: where a command finds the event
EVENT = "KOS_EVENT"
#: events that hold settings, as they are named in the body of a frame
_SETTINGS = (e.SchedulerStarted.__name__.encode(), e.PolicyChanged.__name__.encode())
_ENDS = tuple(JobState[name.upper()] for name in TYPES)
_ANCESTORS_MAX = 64
_SHOWN = ("id", "name", "type", "namespace", "state", "reason", "error_type", "error", "attempt", "node", "parent")


class Frame(Protocol):
    """One commit of the journal."""

    @property
    def first_seq(self) -> int:
        """Sequence number of its first record."""
        ...

    @property
    def now_us(self) -> int:
        """Its instant."""
        ...

    @property
    def events(self) -> Sequence[e.Event]:
        """What happened."""
        ...

    @property
    def decisions(self) -> Sequence[d.Decision]:
        """What was decided."""
        ...


class Reader(Protocol):
    """What is asked of the journal."""

    def views(self, keys: list[JobKey]) -> list[JobView]:
        """Jobs by key."""
        ...

    def spec_of(self, key: JobKey) -> Spec:
        """A job's spec."""
        ...

    def args(self, keys: list[JobKey]) -> dict[JobKey, bytes]:
        """Their arguments."""
        ...

    def result(self, key: JobKey) -> tuple[JobState, bytes]:
        """Its state, and the payload of its result."""
        ...

    def resolve(self, namespace: str, id_or_name: str) -> tuple[JobKey, int] | None:
        """The key of a job."""
        ...

    def following(self, after: int) -> tuple[int, bool]:
        """The newest spec's key, and whether one beyond `after` has hooks, tells somebody or sends its result."""
        ...


class Signals:
    """Reads frames in their order."""

    def __init__(self, reader: Reader, cluster_id: str, policy: Policy) -> None:
        self._reader = reader
        self._cluster_id = cluster_id
        self._policy = policy
        #: up to which key specs were looked through, and whether one of them calls for something
        self._specs_seen = 0
        self._specs_follow = False

    def needs(self, body: bytes) -> bool:
        """Whether a frame with this body may call for anything: most hold ends that nobody wants to hear of.

        What it says of settings counts as well; a name of those that stands in what users wrote costs a look in vain.
        """
        return any(name in body for name in _SETTINGS) or self._of_interest(*_ENDS)

    def read(self, frame: Frame) -> list[Entry]:
        """What a frame calls for."""
        for event in frame.events:
            if isinstance(event, e.SchedulerStarted | e.PolicyChanged):
                self._policy = event.policy
        found: list[Entry] = []
        for seq, decision in enumerate(frame.decisions, frame.first_seq + len(frame.events)):
            if isinstance(decision, d.Finish) and self._of_interest(JobState(decision.state)):
                for view in self._reader.views(list(decision.keys)):
                    found += self._entries(view, seq, frame.now_us)
        return found

    def _of_interest(self, *states: JobState) -> bool:
        """Whether such ends can call for anything: in most clusters most do not."""
        self._specs_seen, follow = self._reader.following(self._specs_seen)
        self._specs_follow = self._specs_follow or follow
        told = (*self._policy.notify, *(one for space in self._policy.namespaces for one in space.notify))
        names = {state.name.lower() for state in states}
        return self._specs_follow or any(names.intersection(one.states) for one in told)

    def _entries(self, view: JobView, seq: int, now_us: int) -> Iterator[Entry]:
        spec = self._reader.spec_of(view.key)
        event = self._event(view, seq, now_us)
        body = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
        for place, target in enumerate(self._told(spec, view.state)):
            to = json.dumps(to_plain(target)).encode() + b"\n"
            entry_id = f"msg_{self._cluster_id[:8]}_{seq}_{view.key}_{place}"
            yield Entry(id=entry_id, kind="notify", target=target.name, body=to + body)
        for place, hook in enumerate(self._hooks(view, spec)):
            said = f"hook\0{self._cluster_id}\0{seq}\0{view.key}\0{place}"
            request = hashlib.sha256(said.encode()).hexdigest()[:32]
            packed = pickle.dumps(self._submit(hook, view, event, request), protocol=5)
            yield Entry(id=request, kind="hook", target=f"{hook.on}: {hook.spec.type}", body=packed)
        if spec.results_to and view.state == "succeeded":
            payload = self._reader.result(view.key)[1]
            yield from results.entries(spec, view, payload, event, cluster_id=self._cluster_id, seq=seq)

    def _told(self, spec: Spec, state: str) -> list[Notify]:
        spaces = [one for space in self._policy.namespaces if space.name == spec.namespace for one in space.notify]
        return [one for one in dict.fromkeys([*spec.notify, *spaces, *self._policy.notify]) if state in one.states]

    def _hooks(self, view: JobView, spec: Spec) -> list[Hook]:
        found = [hook for hook in spec.hooks if hook.on in _FOLLOWING[view.state]]
        return found + (self._of_ancestor(view) if "failure" in _FOLLOWING[view.state] else [])

    def _of_ancestor(self, view: JobView) -> list[Hook]:
        """What the nearest of those that submitted it wants done, of which one says something."""
        parent = view.parent
        for _ in range(_ANCESTORS_MAX):
            found = self._reader.resolve("", parent) if parent else None
            if found is None:
                break
            hooks = [hook for hook in self._reader.spec_of(found[0]).hooks if hook.on == "child_failure"]
            if hooks:
                return hooks
            above = self._reader.views([found[0]])
            parent = above[0].parent if above else ""
        return []

    def _event(self, view: JobView, seq: int, now_us: int) -> dict[str, Any]:
        """The event as it is told, in the form of Standard Webhooks."""
        when = datetime.fromtimestamp(now_us / 1_000_000, UTC).isoformat().replace("+00:00", "Z")
        data = {name: getattr(view, name) for name in _SHOWN}
        data |= {"cluster": self._cluster_id, "seq": seq, "tags": list(view.tags)}
        return {"type": TYPES[view.state], "timestamp": when, "data": data}

    def _submit(self, hook: Hook, view: JobView, event: dict[str, Any], request: str) -> Submit:
        spec, args = hook.spec, b""
        if hook.on == "fallback":
            args = self._reader.args([view.key]).get(view.key, b"") if spec.entry else b""
        elif spec.entry:
            positional, named = json.loads(hook.args)
            args = inline(pickle.dumps(((event, *positional), named), protocol=5))
        else:
            spec = replace(spec, env=(*spec.env, (EVENT, json.dumps(event))))
        array = Array(id=follower_id(view.id, request), count=-1, spec=spec_hash(spec), args=(args,))
        sender = f"{hook.on} of {view.id}"
        return Submit(request_id=request, arrays=(array,), specs=((array.spec, spec),), sender=sender)
