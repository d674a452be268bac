"""Handing jobs over: calls become drafts, drafts become requests that are sent until they are answered."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import msgpack

from kos_ray import __version__
from kos_ray.client.batch import Batch, Template, with_payload
from kos_ray.client.calls import Call, check_gang_of, checked_gang, checked_limit, conditions
from kos_ray.client.code import folder_of
from kos_ray.client.idempotency import identity_of
from kos_ray.client.ids import uuid7s
from kos_ray.client.job import Job, JobArray, JobList, Parents
from kos_ray.client.link import Link, unpack
from kos_ray.client.options import Options, hashed_spec_of
from kos_ray.client.packing import pack_call, pack_item
from kos_ray.client.portions import REQUEST_BYTES, REQUEST_JOBS, of_portion, one_portion, portions
from kos_ray.model.errors import InvalidSpec, KosError, PlanChanged, Refused
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey
from kos_ray.model.job import Spec
from kos_ray.model.plan import Plan
from kos_ray.model.protocol import Accepted, Array, Submit
from kos_ray.model.wire import to_plain
from kos_ray.spec.fields import checked_key
from kos_ray.spec.lower import Draft

if TYPE_CHECKING:
    from kos_ray.client.client import Client

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
        idempotency_key: str = "",
        **options: Unpack[Options],
    ) -> Job:
        """Hand over a call. It is durable when this returns.

        Job handles among the arguments stand for their results and make dependencies. `after` names jobs to wait for
        besides, as the field `after` of a document: a sequence (they must succeed), a mapping from "ok", "any",
        "not_ok", "started", "corr", "rule", "singleton", or Slurm's text. `name` is the job's own,
        unique in the namespace. With an `idempotency_key` that some job has which was submitted with the same function,
        arguments and options, that job is what you get, whoever submitted it, and though it may be over.

        Raises:
            InvalidSpec, Refused: nothing was stored; the message says why.

        """
        call = Call(function, args, kwargs, name=name, after=after, idempotency_key=idempotency_key, **options)
        batch = Batch()
        self._add(batch, self._template(call), call)
        (job,) = self._send_batch(batch)
        return job

    def map(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        after: Parents = (),
        at_most: int | None = None,
        max_failures: int | None = None,
        gang: int | Mapping[str, Any] | None = None,
        idempotency_key: str = "",
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
        key = checked_key(idempotency_key)
        identity = identity_of(function) if key else ""
        parts: list[tuple[str, JobKey, int]] = []
        payloads = (self._payload(pack_item(item)) for item in items)
        for portion in one_portion(payloads) if key else portions(payloads, together):
            draft = Draft(
                spec=spec,
                args=tuple(portion),
                count=len(portion),
                after=of_portion(waits_for.parents, len(parts)),
                rule=waits_for.rule,
                singleton=waits_for.singleton,
                at_most=at_most,
                max_failures=max_failures,
                gang=together,
                idempotency_key=key,
                identity=identity,
            )
            (array_id, first), *_ = self._send([draft], group=parts[0][0] if parts else "")
            parts.append((array_id, first, len(portion)))
        if not parts:
            raise Refused("a map needs at least one item; found none")
        return JobArray(self._client, parts)

    def submit_many(self, calls: Iterable[Call]) -> JobList:
        """Hand over many calls as jobs of their own, in few requests; handles in the order of the calls.

        Calls of the same function with the same options share one template. A request holds up to 5 000 jobs and is
        stored whole or not at all; the requests are sent in turn, each while the next one is prepared.

        Raises:
            InvalidSpec, Refused: the request in which it was found, and those after it, were not stored.

        """
        templates: dict[tuple[int, str], Template] = {}
        jobs: list[Job] = []
        batch = Batch()
        sent: Future[Iterator[Job]] | None = None
        with ThreadPoolExecutor(max_workers=1) as sender:
            for call in calls:
                template = templates.get(call.template)
                if template is None:
                    template = templates[call.template] = self._template(call)
                self._add(batch, template, call)
                if len(batch.args) >= REQUEST_JOBS or batch.size >= REQUEST_BYTES:
                    jobs += sent.result() if sent else ()
                    sent = sender.submit(self._send_batch, batch)
                    batch = Batch()
            jobs += sent.result() if sent else ()
        if batch.args:
            jobs += self._send_batch(batch)
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

    def _template(self, call: Call) -> Template:
        # the call keeps its function alive, and with it the address that stands in its template
        return Template(*self._hashed_spec(call.function, call.options), call)

    def _add(self, batch: Batch, template: Template, call: Call) -> None:
        inputs: dict[str, int] = {}
        batch.add(template, call, self._payload(pack_call(call.args, call.kwargs, inputs)), tuple(inputs))

    def _spec(self, function: Callable[..., Any], options: Mapping[str, Any]) -> Spec:
        return self._hashed_spec(function, options)[1]

    def _hashed_spec(self, function: Callable[..., Any], options: Mapping[str, Any]) -> tuple[str, Spec]:
        code = options.get("code")
        hash_, bundle = self._bundles.of_imports() if code is None else self._bundles.of_folder(Path(code).resolve())
        if hash_:
            self._store(hash_, bundle)
        return hashed_spec_of(function, options, self.namespace, hash_)

    def _with_code(self, drafts: Sequence[Draft], folders: Sequence[Path], *, store: bool = True) -> list[Draft]:
        return [replace(draft, spec=self._with_folder(draft.spec, folders, store=store)) for draft in drafts]

    def _with_folder(self, spec: Spec, folders: Sequence[Path], *, store: bool) -> Spec:
        """The folder that holds its entry point goes along, and that of each job that follows it."""
        folder = folder_of(spec.entry, folders) if spec.entry and not (spec.code or spec.message) else None
        if folder is not None:
            hash_, bundle = self._bundles.of_folder(folder)
            if store:
                self._store(hash_, bundle)
            spec = replace(spec, code=hash_)
        if not spec.hooks:
            return spec
        hooks = [replace(hook, spec=self._with_folder(hook.spec, folders, store=store)) for hook in spec.hooks]
        return replace(spec, hooks=tuple(hooks))

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
            idempotency_key=call.idempotency_key,
            identity=identity_of(call.function) if call.idempotency_key else "",
        )

    def _send_batch(self, batch: Batch) -> Iterator[Job]:
        ids, client = uuid7s(len(batch.args)), self._client
        if batch.arrays:
            sent = self._send_arrays(ids, batch.as_arrays(), batch.specs())
            return (Job(client, job_id, key) for job_id, key in sent)
        with self._outbox.asking():
            accepted = self._accepted({"singles": batch.columns(ids)}, batch.specs())
            if accepted.job_count != len(ids):
                raise Refused(
                    f"expected the scheduler to take {len(ids)} jobs, it took {accepted.job_count}: it is of an older "
                    f"kos_ray than this client, {__version__}; give both the same"
                )
            keys = map(JobKey, range(accepted.first, accepted.first + accepted.job_count))
            self._outbox.expect(keys, accepted.epoch)
        return (Job(client, job_id, JobKey(key)) for key, job_id in enumerate(ids, accepted.first))

    def _send(
        self, drafts: Sequence[Draft], ids: Sequence[str] = (), *, group: str = "", plan_seq: int = 0
    ) -> list[tuple[str, JobKey]]:
        """One request, sent until it is answered: the id and the first key of each draft's array.

        `group` is the id of the array with which limits are shared, "" where each has its own; `plan_seq`: see
        `Submit`.
        """
        ids = ids or uuid7s(len(drafts))
        arrays, specs = _as_arrays(drafts, group)
        return self._send_arrays(ids, arrays, specs, plan_seq=plan_seq)

    def _send_arrays(
        self, ids: Sequence[str], arrays: Sequence[Array], specs: dict[str, Spec], *, plan_seq: int = 0
    ) -> list[tuple[str, JobKey]]:
        """One request, sent until it is answered: the id and the first key of each array.

        They are other ones than those that were sent where a job was there before that has an array's idempotency key.
        """
        # As plain data from here on: a request has thousands of arrays, and only its ids are still to be filled in.
        plain = [to_plain(array) | {"id": array_id} for array_id, array in zip(ids, arrays, strict=True)]
        with self._outbox.asking():
            accepted = self._accepted({"arrays": plain}, specs, plan_seq)
            keys = range(accepted.first, accepted.first + accepted.job_count)
            known = {index: (id_, first) for index, first, id_ in accepted.known}
            there = [range(first, first + abs(arrays[index].count)) for index, (_, first) in known.items()]
            self._outbox.expect(map(JobKey, chain(keys, *there)), accepted.epoch)
        found: list[tuple[str, JobKey]] = []
        key = accepted.first
        for index, (array_id, array) in enumerate(zip(ids, arrays, strict=True)):
            if index in known:
                found.append(known[index])
            else:
                found.append((array_id, key))
                key = JobKey(key + abs(array.count))
        return found

    def _accepted(self, jobs: dict[str, Any], specs: dict[str, Spec], plan_seq: int = 0) -> Accepted:
        """The answer to a request, sent once more with specs that were thought to be known.

        `jobs` are the fields of the message that say which, as plain data.

        Raises:
            Refused: the message says why.

        """
        request_id = uuid.uuid4().hex
        unsent = {hash_: spec for hash_, spec in specs.items() if hash_ not in self._sent_specs}
        accepted = self._request(request_id, jobs, unsent, plan_seq)
        if accepted.unknown_specs:
            unknown = {hash_: specs[hash_] for hash_ in accepted.unknown_specs}
            accepted = self._request(request_id, jobs, unknown, plan_seq)
        if accepted.refused:
            raise Refused(accepted.refused)
        if accepted.stale:
            raise _Stale
        self._sent_specs.update(specs)
        return accepted

    def _request(self, request_id: str, jobs: dict[str, Any], specs: dict[str, Spec], plan_seq: int) -> Accepted:
        watcher = self._outbox.name
        submit = Submit(
            request_id=request_id, arrays=(), specs=tuple(specs.items()), watcher=watcher, plan_seq=plan_seq
        )
        data = msgpack.packb(to_plain(submit) | jobs)
        return unpack(Accepted, self._call(lambda: self._connection.ask_scheduler("submit", data)))


def _as_arrays(drafts: Sequence[Draft], group: str = "") -> tuple[list[Array], dict[str, Spec]]:
    """Drafts for a request, without ids, and their specs by hash.

    Raises:
        InvalidSpec: one is no job, but what a schedule starts.

    """
    for draft in drafts:
        if draft.schedule is not None:
            raise InvalidSpec(
                f"{draft.name}: expected jobs that start once, found a schedule: use `kos submit`, `kos schedule apply`"
            )
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
    for index, draft in enumerate(drafts):
        if draft.idempotency_key:
            arrays[index] = with_payload(arrays[index], draft.spec, draft.idempotency_key, draft.identity)
    return arrays, {hashes[known]: spec for known, spec in of_object.items()}
