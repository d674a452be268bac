"""The client: requests out, handles and answers back."""

import atexit
import contextlib
import getpass
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import msgpack

from kos_ray.client.coordinating import Coordinating
from kos_ray.client.current import enter, leave
from kos_ray.client.job import Job, JobArray, failure
from kos_ray.client.link import unpack
from kos_ray.client.nodes import named_node
from kos_ray.client.outcomes import Outcome
from kos_ray.client.packing import unpack_result
from kos_ray.client.pictures import Views
from kos_ray.client.printed import printed
from kos_ray.client.rerunning import parts_of, with_tag, workflow_drafts
from kos_ray.model.errors import ClusterUnreachable, NotFound, Refused
from kos_ray.model.events import CancelRequested, HoldRequested, PriorityChanged, ReleaseRequested
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.policy import Policy
from kos_ray.model.reasons import Reason
from kos_ray.model.views import (
    AttemptView,
    ClusterStatus,
    EventView,
    Explanation,
    JobView,
    LearntKind,
    LearntKinds,
    NodeStanding,
    NodeStandings,
    NodeView,
    SchedulingView,
    Suggestions,
)
from kos_ray.model.windows import NAMESPACE, NODE, Windows
from kos_ray.model.wire import tagged
from kos_ray.runtime import connect as connections
from kos_ray.spec.fields import band_of
from kos_ray.spec.lower import Draft
from kos_ray.spec.settings import current

#: seconds that the polling thread is waited for
_CLOSE_S = 5.0
#: jobs that one question brings
_PAGE = 1_000
#: seconds in which the outcome of a job that is over has surely come back
_BACK_S = 10.0


def connect(address: str | None = None, *, namespace: str = "default", start: bool = True) -> "Client":
    """A client of the cluster at `address`, of the one that this process is in, or of the local one.

    Where no cluster runs here, one is started (`start=False`: an error), as `kos up` does.

    Raises:
        ClusterUnreachable: no scheduler answers.

    """
    try:
        connection = connections.attach(address)
    except ClusterUnreachable:
        if not start:
            raise
        connections.up(address=connections.running_address() or address)
        connection = connections.attach(address)
    return Client(connection, namespace)


class Client(Coordinating):
    """A connection to one cluster's scheduler, in one namespace. Threads may share it."""

    def __init__(self, connection: connections.Connection, namespace: str) -> None:
        super().__init__(connection, namespace)
        # Before Ray's own end, which must not find our thread inside it.
        atexit.register(self.close)

    def __enter__(self) -> "Client":
        enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop waiting for outcomes. Jobs go on. Called again, it does nothing."""
        atexit.unregister(self.close)
        leave(self)
        self._goodbye()
        self._outbox.close()
        self._connection.tell_scheduler("close_session", self._outbox.name)
        self._outbox.join(_CLOSE_S)

    # --- waiting

    def _outcomes(self, keys: list[JobKey], timeout: float | None) -> list[Outcome] | None:
        unknown = self._outbox.watch(keys)
        if unknown and timeout is not None and timeout < _BACK_S:
            # What ended long ago is told again, which takes a moment that whoever only looks has not given.
            over = [view.key for view in self._views(unknown) if JobState[view.state.upper()].final]
            self._outbox.wait(over, _BACK_S)
        return self._outbox.wait(keys, timeout)

    def _results(self, jobs: list[Job], timeout: float | None) -> list[Any]:
        outcomes = self._outcomes([job._key for job in jobs], timeout)
        if outcomes is None:
            raise TimeoutError(f"not all of {len(jobs)} jobs have ended after {timeout} seconds")
        for job, outcome in zip(jobs, outcomes, strict=True):
            if outcome.state is not JobState.SUCCEEDED:
                raise failure(job.id, outcome)
        return [unpack_result(outcome.result, self._read_blob) for outcome in outcomes]

    # --- questions

    def job(self, ref: str) -> Job:
        """The handle of a job by id or name.

        Raises:
            NotFound: there is none; the message has what comes near.

        """
        (first, count), *_ = self._resolve([ref])
        if count >= 0:
            raise NotFound(f"{ref} is an array of {count} jobs; its items are {ref}.0 to {ref}.{count - 1}")
        return Job(self, self._views([first])[0].id, first)

    def array(self, ref: str) -> JobArray:
        """The handle of an array by id or name."""
        (first, count), *_ = self._resolve([ref])
        array_id = self._views([first])[0].id.rpartition(".")[0]
        return JobArray(self, [(array_id, first, abs(count))])

    def get(self, ref: str) -> JobView:
        """How a job stands; of one that is ready, what holds it now."""
        view = self._views([self.job(ref)._key])[0]
        with contextlib.suppress(connections.Away):
            if view.deadline_us and not view.deadline:
                packed = self._connection.ask_scheduler("explain", view.key)
                view = replace(view, deadline=unpack(Explanation, packed).deadline if packed else "")
            if view.state != "ready":
                return view
            why = Reason(self._connection.ask_scheduler("why", view.key))
            if why is not Reason.NONE:
                return replace(view, reason=why.name.lower(), remedy=why.remedy)
        return view

    def jobs(
        self,
        *,
        state: str | None = None,
        type: str | None = None,  # noqa: A002 - what people call it
        namespace: str | None = None,
        tag: str | None = None,
        prefix: str = "",
        limit: int = 50,
        before_key: JobKey | None = None,
    ) -> list[JobView]:
        """Jobs that have all that is asked for, newest first.

        `prefix` is how a job's name or its array's id begins; the next page has `before_key` of the last one shown.
        """
        if state is not None and state.upper() not in JobState.__members__:
            raise Refused(f"state: expected one of {', '.join(JobState.__members__).lower()}, found {state!r}")
        same = {"state": state, "type": type, "namespace": namespace, "tag": tag}
        return Views(self._ask("jobs", **same, prefix=prefix, limit=limit, before_key=before_key))

    def attempts(self, ref: str) -> list[AttemptView]:
        """All attempts of a job, the first one first."""
        return self._attempts(self.job(ref)._key)

    def logs(self, ref: str, attempt: int | None = None) -> str:
        """What a job's attempt (the last one) has printed, so far where it runs."""
        return self._logs(self.job(ref)._key, attempt)

    def log_bytes(self, ref: str, attempt: int | None = None, start: int = 0) -> bytes:
        """The same as bytes, from byte `start` on: whoever follows a log asks for what is new."""
        return printed(self, self.job(ref)._key, attempt, start)

    def status(self) -> ClusterStatus:
        """The cluster in a few numbers."""
        found: ClusterStatus = self._ask("status")
        with contextlib.suppress(connections.Away):
            return replace(found, scheduling=unpack(SchedulingView, self._connection.ask_scheduler("overview")))
        return found

    def nodes(self) -> list[NodeView]:
        """All nodes that ever joined."""
        return self._ask("nodes")  # type: ignore[no-any-return]

    def cancel(self, refs: Sequence[str]) -> int:
        """End jobs and arrays; how many jobs were live."""
        return self._cancel(self._keys(refs))

    def hold(self, refs: Sequence[str]) -> int:
        """Let waiting jobs not start until they are released; how many jobs were live. What runs goes on."""
        return self._want(HoldRequested(request_id=uuid.uuid4().hex, keys=tuple(self._keys(refs))))

    def release(self, refs: Sequence[str]) -> int:
        """Let held or paused jobs go on; how many of the jobs were held."""
        return self._want(ReleaseRequested(request_id=uuid.uuid4().hex, keys=tuple(self._keys(refs))))

    def pause(self, refs: Sequence[str]) -> int:
        """Hold jobs, and end attempts that run at no charge; at-most-once jobs that run go on. How many were live."""
        return self._want(HoldRequested(request_id=uuid.uuid4().hex, keys=tuple(self._keys(refs)), stop=True))

    def resume(self, refs: Sequence[str]) -> int:
        """The same as `release`."""
        return self.release(refs)

    def reprioritise(self, refs: Sequence[str], priority: str | int) -> int:
        """Move jobs to another priority, written as in a submission, while they wait; how many were live."""
        try:
            band = band_of(priority, current())
        except ValueError as error:
            raise Refused(f"priority: {error}") from None
        return self._want(PriorityChanged(request_id=uuid.uuid4().hex, keys=tuple(self._keys(refs)), band=band))

    def explain(self, ref: str, *, suggest: bool = False) -> Explanation | None:
        """Why a job waits and what would wake it; None for one that has ended.

        With `suggest`, also the smallest changes that would start it now, each tried on a copy of the state.
        """
        key = self.job(ref)._key
        packed = self._call(lambda: self._connection.ask_scheduler("explain", key))
        if not packed:
            return None
        found = unpack(Explanation, packed)
        changes = unpack(Suggestions, self._ask("what_if", key)).found if suggest else ()
        suggestions = tuple(replace(change, end_names=self._names(change.ends)) for change in changes)
        ahead, parents = self._names(found.ahead_keys), self._names(found.parents)
        return replace(found, ahead_names=ahead, parent_names=parents, suggestions=suggestions)

    def _names(self, keys: Sequence[JobKey]) -> tuple[str, ...]:
        return tuple(view.name or view.id for view in self._views(list(keys))) if keys else ()

    def settings(self, change: Mapping[str, Any] | None = None) -> Policy:
        """The scheduler's settings in force, after a change (see `kos_ray.spec.policies`) where one is given."""
        packed = msgpack.packb(dict(change or {}))
        return unpack(Policy, self._call(lambda: self._connection.ask_scheduler("settings", packed)))

    def node_standings(self) -> list[NodeStanding]:
        """How the nodes stand in the scheduler's own ledger: cordoned or not, labels, what is free."""
        return self._nodes({})

    def mark_nodes(self, names: Sequence[str], **change: Any) -> list[NodeStanding]:
        """Cordon, drain or label nodes, by name, id or host: `cordoned`, `draining`, `note`, `labels` (a mapping).

        It holds for the name: a node that comes back under it is found as it was left. How all nodes stand then.

        Raises:
            NotFound: there is no such node, and nothing was said of it before.

        """
        known = self.node_standings()
        found = tuple(dict.fromkeys(named_node(name, known) for name in names))
        if "labels" in change:
            change["labels"] = sorted(dict(change["labels"]).items())
        return self._nodes({"names": found, "change": change, "by": getpass.getuser()})

    def windows(self, *, node: str = "", namespace: str = "", text: str | None = None) -> Windows:
        """When a node or a namespace may be used; with a `text` (see `kos node windows`) from now on, "" for always.

        Raises:
            Refused: the text cannot be read.
            NotFound: there is no such node.

        """
        scope = f"{NODE}{named_node(node, self.node_standings())}" if node else f"{NAMESPACE}{namespace}"
        said = {"scope": scope} if text is None else {"scope": scope, "text": text, "by": getpass.getuser()}
        packed = msgpack.packb(said)
        return unpack(Windows, self._call(lambda: self._connection.ask_scheduler("windows", packed)))

    def advise(self, kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Of which kinds of nodes (see `kos_ray.spec.node_kinds`) how many would help those that wait for room.

        `{"add": {kind: number}, "waiting": jobs that would wait still}`.
        """
        packed = msgpack.packb(dict(kinds))
        return dict(msgpack.unpackb(self._call(lambda: self._connection.ask_scheduler("advise", packed))))

    def learnt(self) -> list[LearntKind]:
        """What the scheduler has learnt of run times, by kind of jobs."""
        return list(unpack(LearntKinds, self._call(lambda: self._connection.ask_scheduler("learnt"))).kinds)

    def _nodes(self, wish: Mapping[str, Any]) -> list[NodeStanding]:
        packed = msgpack.packb(dict(wish))
        answer = self._call(lambda: self._connection.ask_scheduler("nodes", packed))
        return list(unpack(NodeStandings, answer).nodes)

    def rerun(self, ref: str, *, from_failed: bool = False, tag: str = "") -> list[Job | JobArray]:
        """Submit a job, an array or a workflow again as it was, but for a tag; with `from_failed` only what failed.

        Parents that have ended count as they ended; their results are handed over again. Jobs and arrays get an id and
        no name; of a workflow `flow`, what is run again is called `flow@2/...`, and waits for what else is run again.

        Raises:
            NotFound: there is nothing of that name.
            Refused: `from_failed`, and nothing of it has failed.

        """
        try:
            drafts = [Draft(**fields) for fields in self._ask("again", self.namespace, ref, from_failed=from_failed)]
        except NotFound:
            views = self._of_workflow(ref)
            if not views:
                raise
            parts = parts_of(views, from_failed=from_failed)
            drafts = workflow_drafts(ref, self._next_name(ref), parts, self._as_it_was)
        if not drafts:
            raise Refused(f"nothing of {ref} has failed: there is nothing to run again")
        return self.submit_drafts([with_tag(draft, tag) for draft in drafts] if tag else drafts)

    def _of_workflow(self, name: str) -> list[JobView]:
        """All jobs named `name/...`."""
        found: list[JobView] = []
        while True:
            before = found[-1].key if found else None
            page = self.jobs(namespace=self.namespace, prefix=f"{name}/", limit=_PAGE, before_key=before)
            found += page
            if len(page) < _PAGE:
                return found

    def _next_name(self, workflow: str) -> str:
        base, _, number = workflow.partition("@")
        count = int(number) + 1 if number.isdecimal() else 2
        while self.jobs(namespace=self.namespace, prefix=f"{base}@{count}/", limit=1):
            count += 1
        return f"{base}@{count}"

    def _as_it_was(self, array: str) -> dict[str, Any]:
        (fields,) = self._ask("again", self.namespace, array, from_failed=False)
        return dict(fields)

    def events(self, since_seq: int = 0, limit: int = 1_000) -> list[EventView]:
        """At most `limit` events and decisions after the sequence number `since_seq`, oldest first."""
        return self._ask("events", since_seq, limit)  # type: ignore[no-any-return]

    def views(self, refs: Sequence[str]) -> list[JobView]:
        """How jobs, and all the jobs of arrays, stand."""
        return self._views(self._keys(refs))

    def wait(self, refs: Sequence[str], timeout: float | None = None) -> list[JobView]:
        """How jobs stand when all have ended, or when the time is over."""
        keys = self._keys(refs)
        self._outcomes(keys, timeout)
        return self._views(keys)

    def watch(self, refs: Sequence[str], timeout: float | None = None) -> Iterator[list[JobView]]:
        """Views of jobs as they change, until all have ended or the time is over; first all of them."""
        keys = self._keys(refs)
        self._outbox.watch(keys)
        deadline = None if timeout is None else time.monotonic() + timeout
        shown: dict[JobKey, JobView] = {}
        while True:
            changed = [view for view in self._views(keys) if shown.get(view.key) != view]
            shown |= {view.key: view for view in changed}
            if changed:
                yield changed
            left = {key for key in keys if not JobState[shown[key].state.upper()].final}
            if not left or (deadline is not None and time.monotonic() > deadline):
                return
            self._outbox.next_of(left, 0.25)

    # --- steps

    def _resolve(self, refs: Sequence[str]) -> list[tuple[JobKey, int]]:
        return self._ask("resolve", self.namespace, list(refs))  # type: ignore[no-any-return]

    def _keys(self, refs: Sequence[str]) -> list[JobKey]:
        places = self._resolve(refs)
        return [JobKey(key) for first, count in places for key in range(first, first + abs(count))]

    def _views(self, keys: list[JobKey]) -> list[JobView]:
        return self._ask("views", keys)  # type: ignore[no-any-return]

    def _attempts(self, key: JobKey) -> list[AttemptView]:
        return self._ask("attempts", key)  # type: ignore[no-any-return]

    def _cancel(self, keys: list[JobKey]) -> int:
        return self._want(CancelRequested(request_id=uuid.uuid4().hex, keys=tuple(keys)))

    def _want(self, event: CancelRequested | HoldRequested | ReleaseRequested | PriorityChanged) -> int:
        """Hand over what somebody wants of jobs; how many of them were live."""
        data = msgpack.packb(tagged(event))
        return int(self._call(lambda: self._connection.ask_scheduler("want", data)))

    def _logs(self, key: JobKey, attempt: int | None) -> str:
        return printed(self, key, attempt).decode(errors="replace")
