"""From what people wrote to what a client sends: documents become drafts, parents first."""

import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from kos_ray.model.dependency import Rule
from kos_ray.model.dispatch import To
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.gang import GangSpec
from kos_ray.model.job import After, Hook, Sink, Spec
from kos_ray.model.resources import Resources
from kos_ray.spec.arguments import pack, replace_references
from kos_ray.spec.explain import join
from kos_ray.spec.graph import parents_first
from kos_ray.spec.hooks import HOOKS, arguments
from kos_ray.spec.load import Document, local_parents
from kos_ray.spec.results_to import lower_message
from kos_ray.spec.schedule import ScheduleSpec
from kos_ray.spec.schema import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One job or array before it has an id.

    `after` and `inputs` name other drafts of the same submission, items of them (`name.3`), or public ids.
    """

    spec: Spec
    #: payloads, one per job
    args: tuple[bytes, ...]
    name: str = ""
    #: -1 for a single job
    count: int = -1
    after: tuple[tuple[str, After], ...] = ()
    #: parents whose results the arguments refer to by position
    inputs: tuple[str, ...] = ()
    rule: Rule = Rule.ALL_MET
    singleton: str = ""
    #: of an array: so many at once, and so many failures before the rest is given up; 0 for no limit
    at_most: int = 0
    max_failures: int = 0
    #: the gang that its jobs are, or belong to
    gang: GangSpec | None = None
    #: see `client.idempotency`; `identity` says which function it is that travels by value
    idempotency_key: str = ""
    identity: str = ""
    #: it is no job but what a schedule starts, under the draft's name
    schedule: ScheduleSpec | None = None


def lower(documents: Iterable[Document], *, namespace: str = "default") -> list[Draft]:
    """The drafts of all documents, in their order except that parents come first.

    Jobs of a workflow are named `workflow/id`. `namespace` is for jobs that name none.

    Raises:
        InvalidSpec: two jobs have one name, dependencies make a cycle, or something is asked for that no room acts on.

    """
    documents = list(documents)
    wishes = [wish for document in documents for job in document.jobs for wish in job.wishes]
    if wishes:
        raise InvalidSpec(join(wishes))
    drafts: list[Draft] = []
    names: set[tuple[str, str]] = set()
    for document in documents:
        for draft in _lower_document(document, namespace):
            if draft.name and (draft.spec.namespace, draft.name) in names:
                raise InvalidSpec(f"expected every name once in a submission, found {draft.name!r} twice")
            names.add((draft.spec.namespace, draft.name))
            drafts.append(draft)
    return drafts


def _lower_document(document: Document, namespace: str) -> list[Draft]:
    keyed = {job.id or f"\0{index}": job for index, job in enumerate(document.jobs)}
    try:
        order = parents_first({key: list(local_parents(job)) for key, job in keyed.items()})
    except ValueError as error:
        raise InvalidSpec(f"expected no cycle, found {' -> '.join(error.args[0])}") from None
    local = {job.id for job in document.jobs if job.id}
    return [_lower_job(keyed[key], document.name, local, namespace) for key in order]


def _lower_job(job: JobSpec, workflow: str, local: set[str], namespace: str) -> Draft:
    def public(name: str) -> str:
        inside = name in local or name.rpartition(".")[0] in local
        return f"{workflow}/{name}" if workflow and inside else name

    inputs: list[str] = []
    args = replace_references(job.args, inputs)
    kwargs = replace_references(job.kwargs, inputs)
    try:
        payload = pack(args, kwargs)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InvalidSpec(f"{job.id or job.entry}: expected arguments that can be pickled: {error}") from None
    after = dict(job.parents) | dict.fromkeys(inputs, After.OK)
    return Draft(
        spec=_named_within(lower_spec(job, namespace), public),
        args=(payload,) * (job.size or 1),
        name=_name(job, public),
        count=-1 if job.size is None else job.size,
        after=tuple((public(name), kind) for name, kind in after.items()),
        rule=job.waits_for.rule,
        singleton=job.waits_for.singleton or (job.type or default_type(job) if job.waits_for.by_type else ""),
        at_most=job.at_most or 0,
        max_failures=job.max_failures or 0,
        gang=replace(job.gang or GangSpec(), bundle=job.bundle) if job.gang or job.bundle else None,
        inputs=tuple(public(name) for name in inputs),
        idempotency_key=job.idempotency_key,
        schedule=job.schedule,
    )


def _name(job: JobSpec, public: Callable[[str], str]) -> str:
    if job.schedule is not None and job.schedule.name:
        return job.schedule.name
    return public(job.id) if job.id else ""


def _named_within(spec: Spec, public: Callable[[str], str]) -> Spec:
    """The same where names of jobs under `where` are looked for in the workflow first."""

    def word(text: str) -> str:
        kind, _, name = text.partition(":")
        return f"{kind}:{public(name)}" if kind == "job" else text

    if not spec.where.jobs:
        return spec
    jobs = tuple(replace(rule, words=tuple(map(word, rule.words))) for rule in spec.where.jobs)
    return replace(spec, where=replace(spec.where, jobs=jobs))


def lower_spec(job: JobSpec, namespace: str = "default") -> Spec:
    """The model's template of a job."""
    if job.to:
        return replace(_lower_spec(job, namespace), **addressed(job.to, job.method))
    return _lower_spec(job, namespace)


def addressed(to: str | To, method: str) -> dict[str, Any]:
    """The fields of a template that make it a message's."""
    whom = {"to": to} if isinstance(to, To) else {"receiver": to}
    return {**whom, "entry": method, "resources": Resources()}


def _lower_spec(job: JobSpec, namespace: str) -> Spec:
    resources = job.resources.lower()
    where = job.where.lower()
    if job.resources.any or job.resources.gpu_memory:
        where = replace(where, alternatives=job.resources.alternatives, gpu_memory=job.resources.gpu_memory)
    return Spec(
        type=job.type or default_type(job),
        namespace=job.namespace or namespace,
        band=job.priority,
        resources=resources,
        where=where,
        entry=job.entry,
        command=job.run,
        env=job.env,
        # a GPU's memory is only surely free again when its process is gone; and members of a gang that starts again
        # must not find what is left of the one before
        single_use=dict(resources.amounts).get("GPU", 0) > 0 or job.gang is not None or bool(job.bundle),
        timeout_ms=job.timeout,
        retries=job.retry.times,
        not_on=job.retry.not_on,
        elapsed_ms_max=job.retry.elapsed_ms_max,
        on_oom=job.retry.on_oom,
        queue_ms=job.queue_timeout,
        heartbeat_ms=job.heartbeat_timeout,
        approval=job.approval,
        hooks=tuple(_hooks(job, namespace)),
        notify=job.notify,
        results_to=tuple(_sinks(job, namespace)),
        backoff=job.backoff.lower(),
        guarantee=job.guarantee,
        children=job.children,
        run_ms=job.run_time,
        deadline_us=round(job.deadline.timestamp() * 1_000_000) if job.deadline else 0,
        eviction=job.preemption,
        grace_ms=job.grace,
        demands=job.demands,
        tags=(*job.tags, f"sender:{job.sender}") if job.sender else job.tags,
    )


def _hooks(job: JobSpec, namespace: str) -> Iterator[Hook]:
    """The jobs that follow its end, in its namespace where they name none. Of fallbacks the first has the others."""
    for word, on in HOOKS.items():
        following: tuple[JobSpec, ...] = getattr(job, word)
        for hook in following:
            try:
                args = arguments(hook)
            except ValueError as error:
                raise InvalidSpec(f"{word}: {error}") from None
            yield Hook(on=on, spec=lower_spec(hook, job.namespace or namespace), args=args)


def _sinks(job: JobSpec, namespace: str) -> Iterator[Sink]:
    """Where its result goes; to agents of its own namespace where they name none."""
    for sink in job.results_to:
        if isinstance(sink, Sink):
            yield sink
        else:
            yield lower_message(sink, Sink(spec=lower_spec(sink, job.namespace or namespace)))


def default_type(job: JobSpec) -> str:
    """A label of few values where none is written: the function's name, the program's, or `shell`."""
    if job.to:
        return f"{job.to.role if isinstance(job.to, To) else job.to}.{job.method}".lstrip(".")
    if job.entry:
        return job.entry.partition(":")[2]
    if job.run[:2] == ("sh", "-c"):
        return "shell"
    return PurePath(job.run[0]).name or "command"
