"""A workflow: jobs that depend on each other, handed over all or nothing."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar, Unpack

from kos_ray.client.calls import Call, check_gang_of, checked_gang, checked_limit, conditions
from kos_ray.client.client import Client
from kos_ray.client.current import current_client
from kos_ray.client.ids import uuid7
from kos_ray.client.job import Job, JobArray, Parents
from kos_ray.client.options import Options, label
from kos_ray.client.packing import pack_item
from kos_ray.client.pictures import attempt
from kos_ray.client.svg import Box, draw
from kos_ray.model.dependency import Conditions
from kos_ray.model.errors import KosError, Refused
from kos_ray.model.ids import split_item_id
from kos_ray.spec.lower import Draft

H = TypeVar("H", Job, JobArray)

_WORST_FIRST = ("failed", "lost", "cancelled", "skipped", "running", "stopping", "backoff", "launched")


def workflow(name: str = "", *, client: Client | None = None) -> "Workflow":
    """Build a workflow: what is submitted in the `with` block is handed over at its end, all or nothing.

        with kos.workflow("etl") as w:
            table = w.submit(extract, "orders")
            report = w.submit(summarise, table)
        print(report.result())

    With a name, its jobs are called `name/function` (`name/function-2`, ...), unless they are given names of their
    own; names are unique in the namespace. An exception in the block submits nothing.
    """
    return Workflow(name, client or current_client())


class Workflow:
    """See `workflow`. After the block, the handles that it has given are those of ordinary jobs."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self._client = client
        self._drafts: list[Draft] = []
        self._handles: list[Job | JobArray] = []
        self._names: set[str] = set()
        self._open = True

    def __enter__(self) -> "Workflow":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if error is None and self._drafts:
            firsts = self._client._send(self._drafts, [handle.id for handle in self._handles])
            for handle, (_, key) in zip(self._handles, firsts, strict=True):
                handle._settle(key)

    def __repr__(self) -> str:
        return f"<Workflow {self.name or '(no name)'}: {len(self._handles)} jobs and arrays>"

    def _repr_html_(self) -> str:
        return self.svg()

    def submit(
        self,
        function: Callable[..., Any],
        *args: Any,
        after: Parents = (),
        name: str = "",
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Plan a call; see `Client.submit`. Parents are jobs of this workflow (also by their short names) or any."""
        own = self._name(name, function)
        draft = self._client._draft(Call(function, args, kwargs, name=own, after=self._full(after), **options))
        return self._add(draft, Job(self._client, uuid7(), None))

    def map(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        after: Parents = (),
        name: str = "",
        at_most: int | None = None,
        max_failures: int | None = None,
        gang: int | Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> JobArray:
        """Plan one call for each item, as an array; see `Client.map`.

        Raises:
            Refused: there is no item.

        """
        payloads = tuple(self._client._payload(pack_item(item)) for item in items)
        if not payloads:
            raise Refused("a map needs at least one item; found none")
        spec = self._client._spec(function, options)
        most = checked_limit("at_most", at_most)
        together = checked_gang(gang, most)
        if together is not None:
            check_gang_of(together, len(payloads))
            spec = replace(spec, single_use=True)
        waits_for = conditions(self._full(after), spec.type)
        draft = Draft(
            spec=spec,
            args=payloads,
            count=len(payloads),
            name=self._name(name, function),
            after=waits_for.parents,
            rule=waits_for.rule,
            singleton=waits_for.singleton,
            at_most=most,
            max_failures=checked_limit("max_failures", max_failures),
            gang=together,
        )
        return self._add(draft, JobArray(self._client, [(uuid7(), None, len(payloads))]))

    @property
    def jobs(self) -> list[Job | JobArray]:
        """The handles, in the order in which they were planned."""
        return list(self._handles)

    def wait(self, timeout: float | None = None) -> bool:
        """Whether all have ended after at most `timeout` seconds."""
        return self._client._outcomes([key for handle in self._handles for key in handle._keys()], timeout) is not None

    def cancel(self) -> int:
        """End all that is live; how many jobs that was."""
        return self._client._cancel([key for handle in self._handles for key in handle._keys()])

    def svg(self) -> str:
        """The workflow as a picture, with the states of now."""
        place = {ref: i for i, (draft, handle) in enumerate(self._pairs()) for ref in (handle.id, draft.name) if ref}
        boxes = []
        for draft, handle in self._pairs():
            refs = [ref for ref, _ in draft.after] + list(draft.inputs)
            parents = dict.fromkeys(
                place[whole] for ref in refs for whole in (ref, split_item_id(ref)[0]) if whole in place
            )
            state = "" if self._open else (attempt(lambda handle=handle: _state(handle)) or "")  # type: ignore[misc]
            boxes.append(Box(draft.name or draft.spec.type, state, tuple(parents)))
        return draw(boxes, self.name or "workflow")

    def _pairs(self) -> list[tuple[Draft, Job | JobArray]]:
        return list(zip(self._drafts, self._handles, strict=True))

    def _add(self, draft: Draft, handle: H) -> H:
        if not self._open:
            raise KosError("the workflow was handed over at the end of its block: expected no more jobs for it")
        self._drafts.append(draft)
        self._handles.append(handle)
        return handle

    def _name(self, name: str, function: Callable[..., Any]) -> str:
        """The full name of a job; one for each."""
        if not self.name:
            return name
        base = f"{self.name}/{name or label(function)}"
        full, number = base, 1
        while full in self._names and not name:
            number += 1
            full = f"{base}-{number}"
        self._names.add(full)
        return full

    def _full(self, after: Parents) -> Conditions:
        """What is waited for, with the short names of this workflow's jobs made full."""

        def full(parent: str) -> str:
            inside = f"{self.name}/{split_item_id(parent)[0]}" in self._names
            return f"{self.name}/{parent}" if inside else parent

        found = conditions(after)
        return replace(found, parents=tuple((full(parent), kind) for parent, kind in found.parents))


def _state(handle: Job | JobArray) -> str:
    """One word for all: what went wrong before what goes on before what went well."""
    if isinstance(handle, Job):
        return handle.state
    counts = handle.counts()
    return next((state for state in _WORST_FIRST if state in counts), next(iter(counts), ""))
