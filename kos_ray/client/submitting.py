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
from kos_ray.model.errors import InvalidSpec, KosError, PlanChanged, Refused
from kos_ray.model.gang import GangSpec
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey
from kos_ray.model.job import After, Spec
from kos_ray.model.plan import Plan
from kos_ray.model.protocol import Accepted, Array, Submit
from kos_ray.model.wire import to_plain
from kos_ray.spec.lower import Draft

if TYPE_CHECKING:
    from kos_ray.client.client import Client

#: jobs and bytes of one request; more are sent in several
_REQUEST_JOBS = 5_000
_REQUEST_BYTES = 8 * 2**20
#: how often a plan is made anew where something happens between it and the submission
_PLAN_TRIES = 20


class _Stale(KosError):
    """Something has changed since the plan that a request rests on; nothing of it was stored."""


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

    def submit_drafts(
        self, drafts: Sequence[Draft], *, code: Sequence[Path] = (), if_plan: str = ""
    ) -> list[Job | JobArray]:
        """Hand over what `spec.lower` made of documents, all or nothing; handles in the order of the drafts.

        Of the folders in `code`, the first that holds the module of a job's entry point goes along with the job.
        With `if_plan`, the hash of a plan, only if planning anew comes to the same.

        Raises:
            InvalidSpec, Refused: nothing was stored; the message says why.
            PlanChanged: nor then; the message says what would be otherwise.

        """
        sent = self._send_if(drafts, code, if_plan) if if_plan else self._send(self._with_code(drafts, code))
        return [
            Job(self._client, array_id, first)
            if draft.count < 0
            else JobArray(self._client, [(array_id, first, draft.count)])
            for (array_id, first), draft in zip(sent, drafts, strict=True)
        ]

    def plan_drafts(self, drafts: Sequence[Draft], *, code: Sequence[Path] = (), spread: float = 0) -> Plan:
        """What would become of drafts if they were submitted now, without doing it.

        Declared run times may be off by `spread` (0.2: by a fifth, to both sides): the intervals hold then.

        Raises:
            InvalidSpec, Refused: they would not be accepted.

        """
        drafts = self._with_code(drafts, code, store=False)
        arrays, specs = _as_arrays(drafts)
        submit = Submit(request_id=uuid.uuid4().hex, arrays=(), specs=tuple(specs.items()))
        plain = [to_plain(array) | {"id": id_} for id_, array in zip(uuid7s(len(arrays)), arrays, strict=True)]
        data = msgpack.packb(to_plain(submit) | {"arrays": plain})
        return unpack(Plan, self._ask("plan", data, round(spread * 1_000)))

    def _send_if(self, drafts: Sequence[Draft], code: Sequence[Path], if_plan: str) -> list[tuple[str, JobKey]]:
        """Send as long as planning anew comes to the same, until nothing has happened between the two."""
        for _ in range(_PLAN_TRIES):
            plan = self.plan_drafts(drafts, code=code)
            if plan.hash != if_plan:
                changes = self._ask("plan_changes", if_plan, plan.hash)
                said = "".join(f"\n     {line}" for line in changes)
                raise PlanChanged(f"plan {if_plan} does not stand any more, it is {plan.hash} now{said}")
            try:
                return self._send(self._with_code(drafts, code), plan_seq=plan.seq)
            except _Stale:
                continue
        raise PlanChanged(
            f"plan {if_plan} could not be checked: {_PLAN_TRIES} times something happened in the cluster meanwhile; "
            "try again, or submit without it"
        )

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

    def _with_code(self, drafts: Sequence[Draft], folders: Sequence[Path], *, store: bool = True) -> list[Draft]:
        found: list[Draft] = []
        for draft in drafts:
            spec = draft.spec
            folder = folder_of(spec.entry, folders) if spec.entry and not spec.code else None
            if folder is not None:
                hash_, bundle = self._bundles.of_folder(folder)
                if store:
                    self._store(hash_, bundle)
                spec = replace(spec, code=hash_)
            found.append(replace(draft, spec=spec))
        return found

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

    def _send(
        self, drafts: Sequence[Draft], ids: Sequence[str] = (), *, group: str = "", plan_seq: int = 0
    ) -> list[tuple[str, JobKey]]:
        """One request, sent until it is answered: the id and the first key of each draft's array.

        `group` is the id of the array with which limits are shared, "" where each has its own; `plan_seq`: see
        `Submit`.
        """
        ids = ids or uuid7s(len(drafts))
        arrays, specs = _as_arrays(drafts, group)
        key = self._send_arrays(ids, arrays, specs, plan_seq=plan_seq)
        firsts: list[tuple[str, JobKey]] = []
        for array_id, draft in zip(ids, drafts, strict=True):
            firsts.append((array_id, key))
            key = JobKey(key + abs(draft.count))
        return firsts

    def _send_arrays(
        self, ids: Sequence[str], arrays: Sequence[Array], specs: dict[str, Spec], *, plan_seq: int = 0
    ) -> JobKey:
        """One request, sent until it is answered: the key of its first job."""
        request_id = uuid.uuid4().hex
        # As plain data from here on: a request has thousands of arrays, and only its ids are still to be filled in.
        plain = [to_plain(array) | {"id": array_id} for array_id, array in zip(ids, arrays, strict=True)]
        unsent = {hash_: spec for hash_, spec in specs.items() if hash_ not in self._sent_specs}
        with self._outbox.asking():
            accepted = self._request(request_id, plain, unsent, plan_seq)
            if accepted.unknown_specs:
                unknown = {hash_: specs[hash_] for hash_ in accepted.unknown_specs}
                accepted = self._request(request_id, plain, unknown, plan_seq)
            if accepted.refused:
                raise Refused(accepted.refused)
            if accepted.stale:
                raise _Stale
            self._sent_specs.update(specs)
            keys = range(accepted.first, accepted.first + accepted.job_count)
            self._outbox.expect(map(JobKey, keys), accepted.epoch)
        return accepted.first

    def _request(
        self, request_id: str, arrays: list[dict[str, Any]], specs: dict[str, Spec], plan_seq: int
    ) -> Accepted:
        watcher = self._outbox.name
        submit = Submit(
            request_id=request_id, arrays=(), specs=tuple(specs.items()), watcher=watcher, plan_seq=plan_seq
        )
        data = msgpack.packb(to_plain(submit) | {"arrays": arrays})
        return unpack(Accepted, self._call(lambda: self._connection.ask_scheduler("submit", data)))


def _as_arrays(drafts: Sequence[Draft], group: str = "") -> tuple[list[Array], dict[str, Spec]]:
    """Drafts for a request, without ids, and their specs by hash."""
    of_object = {id(draft.spec): draft.spec for draft in drafts}
    hashes = {known: spec_hash(spec) for known, spec in of_object.items()}
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
    return arrays, {hashes[known]: spec for known, spec in of_object.items()}


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
