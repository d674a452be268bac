"""Handing jobs over: calls become drafts, drafts become requests that are sent until they are answered."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import msgpack

from kos_ray.client.calls import Call, check_gang_of, checked_gang, checked_limit, conditions
from kos_ray.client.code import folder_of
from kos_ray.client.ids import uuid7s
from kos_ray.client.job import Job, JobArray, JobList, Parents
from kos_ray.client.link import Link, unpack
from kos_ray.client.options import Options, spec_of
from kos_ray.client.packing import pack_call, pack_item
from kos_ray.model.errors import InvalidSpec, Refused
from kos_ray.model.gang import GangSpec
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey
from kos_ray.model.job import After, Spec
from kos_ray.model.protocol import Accepted, Array, Submit
from kos_ray.model.wire import to_plain
from kos_ray.spec.lower import Draft

if TYPE_CHECKING:
    from kos_ray.client.client import Client

#: jobs and bytes of one request; more are sent in several
_REQUEST_JOBS = 5_000
_REQUEST_BYTES = 8 * 2**20


class Submitter(Link):
    """The half of a client that submits."""

    def submit(
        self,
        function: Callable[..., Any],
        *args: Any,
        after: Parents = (),
        name: str = "",
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Hand over a call. It is durable when this returns.

        Job handles among the arguments stand for their results and make dependencies. `after` names jobs to wait for
        besides, as the field `after` of a document: a sequence (they must succeed), a mapping from "ok", "any",
        "not_ok", "started", "corr", "rule", "singleton", or Slurm's text. `name` is the job's own,
        unique in the namespace.

        Raises:
            InvalidSpec, Refused: nothing was stored; the message says why.

        """
        draft = self._draft(Call(function, args, kwargs, name=name, after=after, **options))
        (job_id, key), *_ = self._send([draft])
        return Job(self._client, job_id, key)

    def map(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        after: Parents = (),
        at_most: int | None = None,
        max_failures: int | None = None,
        gang: int | Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> JobArray:
        """Hand over one call of `function` for each item, as an array: one spec, many jobs. See `submit`.

        `at_most` items run at once; when `max_failures` have failed, those that have not started are cancelled. With
        `gang` items start together or not at all, as with that field of a document: so many at a time, or a mapping
        with "size", "min", "mode" and "on_failure"; `context().gang` tells each what it is to the others.
        """
        spec = self._spec(function, options)
        at_most, max_failures = checked_limit("at_most", at_most), checked_limit("max_failures", max_failures)
        together = checked_gang(gang, at_most)
        if together is not None:
            spec, items = replace(spec, single_use=True), list(items)
            check_gang_of(together, len(items))
        waits_for = conditions(after, spec.type)
        parts: list[tuple[str, JobKey, int]] = []
        payloads = (self._payload(pack_item(item)) for item in items)
        for portion in _portions(payloads, together):
            draft = Draft(
                spec=spec,
                args=tuple(portion),
                count=len(portion),
                after=_of_portion(waits_for.parents, len(parts)),
                rule=waits_for.rule,
                singleton=waits_for.singleton,
                at_most=at_most,
                max_failures=max_failures,
                gang=together,
            )
            (array_id, first), *_ = self._send([draft], group=parts[0][0] if parts else "")
            parts.append((array_id, first, len(portion)))
        if not parts:
            raise Refused("a map needs at least one item; found none")
        return JobArray(self._client, parts)

    def submit_many(self, calls: Iterable[Call]) -> JobList:
        """Hand over many calls as jobs of their own, in few requests; handles in the order of the calls.

        Calls of the same function with the same options share one template. A request holds up to 5 000 jobs and is
        stored whole or not at all; the requests are sent in turn.

        Raises:
            InvalidSpec, Refused: the request in which it was found, and those after it, were not stored.

        """
        templates: dict[tuple[int, str], tuple[str, Spec, Call]] = {}
        jobs: list[Job] = []
        pending: list[Array] = []
        size = 0
        for call in calls:
            found = templates.get(call.template)
            if found is None:
                spec = self._spec(call.function, call.options)
                # the call keeps its function alive, and with it the address that stands in its template
                found = templates[call.template] = spec_hash(spec), spec, call
            array = self._array(found[0], found[1].type, call)
            pending.append(array)
            size += len(array.args[0])
            if len(pending) >= _REQUEST_JOBS or size >= _REQUEST_BYTES:
                jobs += self._send_singles(pending, templates)
                pending, size = [], 0
        if pending:
            jobs += self._send_singles(pending, templates)
        return JobList(self._client, jobs)

    def submit_drafts(self, drafts: Sequence[Draft], *, code: Sequence[Path] = ()) -> list[Job | JobArray]:
        """Hand over what `spec.lower` made of documents, all or nothing; handles in the order of the drafts.

        Of the folders in `code`, the first that holds the module of a job's entry point goes along with the job.

        Raises:
            InvalidSpec, Refused: nothing was stored; the message says why.

        """
        drafts = [self._with_code(draft, code) for draft in drafts]
        return [
            Job(self._client, array_id, first)
            if draft.count < 0
            else JobArray(self._client, [(array_id, first, draft.count)])
            for (array_id, first), draft in zip(self._send(drafts), drafts, strict=True)
        ]

    @property
    def _client(self) -> "Client":
        """The whole of which this is a half: what handles ask."""
        return cast("Client", self)

    def _spec(self, function: Callable[..., Any], options: Mapping[str, Any]) -> Spec:
        code = options.get("code")
        hash_, bundle = self._bundles.of_imports() if code is None else self._bundles.of_folder(Path(code).resolve())
        if hash_:
            self._store(hash_, bundle)
        return spec_of(function, options, self.namespace, hash_)

    def _with_code(self, draft: Draft, folders: Sequence[Path]) -> Draft:
        spec = draft.spec
        folder = folder_of(spec.entry, folders) if spec.entry and not spec.code else None
        if folder is None:
            return draft
        hash_, bundle = self._bundles.of_folder(folder)
        self._store(hash_, bundle)
        return replace(draft, spec=replace(spec, code=hash_))

    def _draft(self, call: Call) -> Draft:
        inputs: dict[str, int] = {}
        args = self._payload(pack_call(call.args, call.kwargs, inputs))
        spec = self._spec(call.function, call.options)
        waits_for = conditions(call.after, spec.type)
        return Draft(
            spec=spec,
            args=(args,),
            name=call.name,
            after=waits_for.parents,
            inputs=tuple(inputs),
            rule=waits_for.rule,
            singleton=waits_for.singleton,
        )

    def _array(self, hash_: str, type_: str, call: Call) -> Array:
        """One call for a request; the id is given when the request is sent."""
        inputs: dict[str, int] = {}
        args = (self._payload(pack_call(call.args, call.kwargs, inputs)),)
        if not inputs and not call.after:
            return Array(id="", count=-1, spec=hash_, args=args, name=call.name)
        waits_for = conditions(call.after, type_)
        return Array(
            id="",
            count=-1,
            spec=hash_,
            args=args,
            name=call.name,
            after=tuple((ref, int(kind)) for ref, kind in waits_for.parents),
            inputs=tuple(inputs),
            rule=waits_for.rule,
            singleton=waits_for.singleton,
        )

    def _send_singles(
        self, arrays: list[Array], templates: Mapping[tuple[int, str], tuple[str, Spec, Call]]
    ) -> Iterator[Job]:
        specs = {hash_: spec for hash_, spec, _ in templates.values()}
        ids = uuid7s(len(arrays))
        first = self._send_arrays(ids, arrays, specs)
        client = self._client
        return (Job(client, job_id, JobKey(key)) for key, job_id in enumerate(ids, first))

    def _send(self, drafts: Sequence[Draft], ids: Sequence[str] = (), *, group: str = "") -> list[tuple[str, JobKey]]:
        """One request, sent until it is answered: the id and the first key of each draft's array.

        `group` is the id of the array with which limits are shared, "" where each has its own.
        """
        ids = ids or uuid7s(len(drafts))
        of_object = {id(draft.spec): draft.spec for draft in drafts}
        hashes = {known: spec_hash(spec) for known, spec in of_object.items()}
        specs = {hashes[known]: spec for known, spec in of_object.items()}
        arrays = [
            Array(
                id="",
                count=draft.count,
                spec=hashes[id(draft.spec)],
                args=draft.args,
                name=draft.name,
                after=tuple((ref, int(kind)) for ref, kind in draft.after),
                inputs=draft.inputs,
                rule=draft.rule,
                singleton=draft.singleton,
                at_most=draft.at_most,
                max_failures=draft.max_failures,
                group=group,
                gang=draft.gang,
            )
            for draft in drafts
        ]
        key = self._send_arrays(ids, arrays, specs)
        firsts: list[tuple[str, JobKey]] = []
        for array_id, draft in zip(ids, drafts, strict=True):
            firsts.append((array_id, key))
            key = JobKey(key + abs(draft.count))
        return firsts

    def _send_arrays(self, ids: Sequence[str], arrays: Sequence[Array], specs: dict[str, Spec]) -> JobKey:
        """One request, sent until it is answered: the key of its first job."""
        request_id = uuid.uuid4().hex
        # As plain data from here on: a request has thousands of arrays, and only its ids are still to be filled in.
        plain = [to_plain(array) | {"id": array_id} for array_id, array in zip(ids, arrays, strict=True)]
        unsent = {hash_: spec for hash_, spec in specs.items() if hash_ not in self._sent_specs}
        with self._outbox.asking():
            accepted = self._request(request_id, plain, unsent)
            if accepted.unknown_specs:
                unknown = {hash_: specs[hash_] for hash_ in accepted.unknown_specs}
                accepted = self._request(request_id, plain, unknown)
            if accepted.refused:
                raise Refused(accepted.refused)
            self._sent_specs.update(specs)
            keys = range(accepted.first, accepted.first + accepted.job_count)
            self._outbox.expect(map(JobKey, keys), accepted.epoch)
        return accepted.first

    def _request(self, request_id: str, arrays: list[dict[str, Any]], specs: dict[str, Spec]) -> Accepted:
        submit = Submit(request_id=request_id, arrays=(), specs=tuple(specs.items()), watcher=self._outbox.name)
        data = msgpack.packb(to_plain(submit) | {"arrays": arrays})
        return unpack(Accepted, self._call(lambda: self._connection.ask_scheduler("submit", data)))


def _of_portion(parents: Sequence[tuple[str, After]], number: int) -> tuple[tuple[str, After], ...]:
    """The parents of one portion of a map: of arrays that are paired with it item by item, the same portion."""
    paired = [parent for parent, kind in parents if kind is After.CORR]
    if len(paired) <= 1:
        return tuple(parents)
    if number >= len(paired):
        raise InvalidSpec(f"after: corr: expected arrays of the same size, found more than {number} portions")
    return (*(entry for entry in parents if entry[1] is not After.CORR), (paired[number], After.CORR))


def _portions(payloads: Iterable[bytes], gang: GangSpec | None = None) -> Iterator[list[bytes]]:
    """What goes in one request; a gang goes whole, one of all items in the only one."""
    portion: list[bytes] = []
    size = 0
    for data in payloads:
        portion.append(data)
        size += len(data)
        whole = gang is None or (gang.size and not len(portion) % gang.size)
        if whole and (len(portion) >= _REQUEST_JOBS or size >= _REQUEST_BYTES):
            yield portion
            portion, size = [], 0
    if portion:
        yield portion
