"""Reads job documents: YAML or JSON that holds one job, a list of jobs, or a workflow `{name, jobs: [...]}`.

Each job may be written in any of the forms of `forms`. A document is taken whole or not at all. Each
problem is one line `file:line: path: expected ..., found ...`.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kos_ray.model.dependency import Rule
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import After, Eviction
from kos_ray.spec import fields
from kos_ray.spec.arguments import find_references
from kos_ray.spec.explain import MAX_PROBLEMS, explain, join
from kos_ray.spec.forms import read_job, recognise
from kos_ray.spec.gang import check_shrinks
from kos_ray.spec.graph import parents_first
from kos_ray.spec.misfit import Misfit
from kos_ray.spec.places import Source, read_text
from kos_ray.spec.schedule import ScheduleDocument, ScheduleSpec, check_schedule, check_starts_alone, is_schedule
from kos_ray.spec.schema import JobSpec, Strict, is_job_id, near
from kos_ray.spec.settings import Settings, current
from kos_ray.spec.units import describe

__all__ = ["Document", "Workflow", "load_file", "load_text", "local_parents", "read_text", "references"]


@dataclass(frozen=True, slots=True)
class Document:
    """What one text asks for. `name` is the workflow's, "" where it is none; ids are as written, without it."""

    name: str
    jobs: tuple[JobSpec, ...]


class Workflow(BaseModel):
    """Jobs that belong together: their names are `name/id`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: fields.Name = Field(description="The workflow's name, in front of its jobs' names.")
    namespace: fields.Namespace = Field(default="", description="The tenant that all of its jobs belong to.")
    jobs: Any = Field(description="Its jobs, each with an id.")


def load_file(path: str | Path, settings: Settings | None = None) -> Document:
    """The document in a file, or on standard input for "-".

    Raises:
        InvalidSpec: it cannot be read or accepted.

    """
    if str(path) == "-":
        return load_text(sys.stdin.read(), "<stdin>", settings)
    return load_text(read_text(path), str(path), settings)


def load_text(text: str, name: str = "<text>", settings: Settings | None = None) -> Document:
    """The document in a text; `name` stands in its messages. Without `settings` the current ones count.

    Raises:
        InvalidSpec: it cannot be accepted.

    """
    source = Source(name, text)
    data = source.data
    settings = settings or current()
    if isinstance(data, dict) and "jobs" in data:
        return _load_workflow(source, data, settings)
    if isinstance(data, list):
        if not data:
            raise source.problem((), "expected at least one job, found an empty list")
        jobs = _load_jobs(source, data, (), settings)
        _check(source, jobs, (), closed=False)
        return Document("", jobs)
    if isinstance(data, dict) and data:
        jobs = _raise_or(*_load_job(source, data, (), settings))
        _check(source, jobs, (), closed=False, single=True)
        return Document("", jobs)
    raise source.problem((), f"expected a job, a list of jobs, or a workflow (name, jobs), found {describe(data)}")


def _load_workflow(source: Source, data: dict[str, Any], settings: Settings) -> Document:
    try:
        head = Workflow.model_validate(data)
    except ValidationError as error:
        raise InvalidSpec(join(explain(source, error, (), data, Workflow))) from None
    if not isinstance(head.jobs, list) or not head.jobs:
        raise source.problem(("jobs",), f"expected a list of at least one job, found {describe(head.jobs)}")
    jobs = _load_jobs(source, head.jobs, ("jobs",), settings)
    for index, job in enumerate(jobs):
        if not job.id:
            raise source.problem(("jobs", index), "expected an id, which every job of a workflow has, found none")
        if head.namespace and job.namespace not in ("", head.namespace):
            raise source.problem(
                ("jobs", index, "namespace"), f"expected the workflow's {head.namespace!r}, found {job.namespace!r}"
            )
    _check(source, jobs, ("jobs",), closed=True)
    namespace = {"namespace": head.namespace} if head.namespace else {}
    return Document(head.name, tuple(job.model_copy(update=namespace) for job in jobs))


def _load_jobs(
    source: Source, items: list[Any], path: tuple[str | int, ...], settings: Settings
) -> tuple[JobSpec, ...]:
    jobs: list[JobSpec] = []
    problems: list[str] = []
    for index, item in enumerate(items):
        found, wrong = _load_job(source, item, (*path, index), settings)
        jobs += found
        problems += wrong
        if len(problems) > MAX_PROBLEMS:
            break
    return _raise_or(tuple(jobs), problems)


def _load_job(
    source: Source, item: Any, path: tuple[str | int, ...], settings: Settings
) -> tuple[tuple[JobSpec, ...], list[str]]:
    if not isinstance(item, dict):
        return (), [source.message(path, f"expected a job (a mapping), found {describe(item)}")]
    form: type[Strict] = JobSpec
    own: ScheduleDocument | None = None
    try:
        if is_schedule(item):
            form = ScheduleDocument
            own = ScheduleDocument.model_validate(item)
            check_schedule(own)
            return _load_scheduled(source, own, path, settings)
        form = recognise(item)
        job, wishes = read_job(item, form, settings)
        if job.schedule is not None:
            _check_scheduled(job, job.schedule)
    except ValidationError as error:
        return (), explain(source, error, path, item, form)
    except Misfit as misfit:
        return (), [source.message((*path, *misfit.path), str(misfit))]
    places = (f"{source.name}:{source.line((*path, *wish.path))}: not supported yet: {wish.what}" for wish in wishes)
    return ((job.wishing(places),) if wishes else (job,)), []


def _load_scheduled(
    source: Source, own: ScheduleDocument, path: tuple[str | int, ...], settings: Settings
) -> tuple[tuple[JobSpec, ...], list[str]]:
    """The job of a document that is a schedule."""
    found, problems = _load_job(source, own.job, (*path, "job"), settings)
    for job in found:
        if job.schedule is not None:
            return (), [source.message((*path, "job"), "expected a job without times of its own, found a schedule")]
        scheduled = job.model_copy(update={"schedule": own}).wishing(job.wishes)
        try:
            _check_scheduled(scheduled, own)
        except Misfit as misfit:
            return (), [source.message((*path, "job", *misfit.path), str(misfit))]
        return (scheduled,), []
    return found, problems


def _check_scheduled(job: JobSpec, schedule: ScheduleSpec) -> None:
    if not (schedule.name or job.id):
        raise Misfit(("schedule",), "expected a name of the schedule, or an id of its job, found neither")
    if not isinstance(schedule, ScheduleDocument):
        try:
            check_schedule(schedule)
        except Misfit as misfit:
            raise Misfit(("schedule", *misfit.path), str(misfit)) from None
    check_starts_alone(job)


def _raise_or(jobs: tuple[JobSpec, ...], problems: list[str]) -> tuple[JobSpec, ...]:
    if problems:
        raise InvalidSpec(join(problems))
    return jobs


def references(job: JobSpec) -> list[str]:
    """The jobs whose results the arguments name, each once, in order."""
    return list(dict.fromkeys(find_references([list(job.args), dict(job.kwargs)])))


def _check(
    source: Source, jobs: tuple[JobSpec, ...], path: tuple[str | int, ...], *, closed: bool, single: bool = False
) -> None:
    """What no job can tell alone: ids are there once, references lead somewhere (`closed`), and in no circle."""

    def at(index: int, field: str = "") -> tuple[str | int, ...]:
        return (*path, *(() if single else (index,)), *([field] if field else []))

    index_of: dict[str, int] = {}
    for index, job in enumerate(jobs):
        if job.id and index_of.setdefault(job.id, index) != index:
            first = source.line(at(index_of[job.id], "id"))
            raise source.problem(at(index, "id"), f"expected every id once, found {job.id!r} again (line {first})")
    # what a schedule starts again and again is no one job to wait for
    by_id = {job.id: job for job in jobs if job.id and job.schedule is None}
    for index, job in enumerate(jobs):
        field = "after" if job.after.given else "dependencies"
        for name in (name for name, _ in job.parents):
            _check_reference(source, at(index, field), name, by_id, closed=closed)
        for name in references(job):
            _check_reference(source, at(index, "args" if job.args else "kwargs"), name, by_id, closed=closed)
            if dict(job.parents).get(name, After.OK) is not After.OK or job.waits_for.rule is not Rule.ALL_MET:
                found = "another kind" if job.waits_for.rule is Rule.ALL_MET else "a rule"
                raise source.problem(
                    at(index, field), f"expected ok for {name!r}, whose result is an argument, found {found}"
                )
    _check_bundles(source, jobs, at)
    _check_cycles(source, jobs, [at(index) for index in range(len(jobs))])


def _check_bundles(source: Source, jobs: Sequence[JobSpec], at: Callable[[int, str], tuple[str | int, ...]]) -> None:
    """What the jobs of a bundle say of it is the same; as a gang it is of one namespace, and no larger than may be."""
    first: dict[str, int] = {}
    said: dict[str, int] = {}
    for index, job in enumerate(jobs):
        if not job.bundle:
            continue
        other = jobs[first.setdefault(job.bundle, index)]
        if job.namespace != other.namespace:
            raise source.problem(
                at(index, "bundle"), f"expected one namespace, found {job.namespace!r} and {other.namespace!r}"
            )
        if job.gang is not None and jobs[said.setdefault(job.bundle, index)].gang != job.gang:
            line = source.line(at(said[job.bundle], "gang"))
            raise source.problem(at(index, "gang"), f"expected the same of one bundle, found other than on line {line}")
    for name, index in said.items():
        members = sum(job.size or 1 for job in jobs if job.bundle == name)
        gang = jobs[index].gang
        if gang is not None and gang.least > members:
            raise source.problem(
                at(index, "gang"), f"expected min of at most {members}, the bundle's members, found {gang.least}"
            )
    for index, job in enumerate(jobs):
        if job.bundle and job.preemption is Eviction.SHRINK:
            try:
                check_shrinks(jobs[said[job.bundle]].gang if job.bundle in said else None)
            except ValueError as error:
                raise source.problem(at(index, "preemption"), str(error)) from None


def _check_reference(
    source: Source, path: tuple[str | int, ...], name: str, by_id: dict[str, JobSpec], *, closed: bool
) -> None:
    head, dot, tail = name.rpartition(".")
    if name in by_id or is_job_id(name):
        return
    if dot and tail.isdigit() and head in by_id:
        count = by_id[head].size
        if count is None or int(tail) >= count:
            has = f"has the items 0 to {count - 1}" if count else "is no array"
            raise source.problem(path, f"expected an item that exists, found {name!r}, but {head!r} {has}")
        return
    if closed:
        raise source.problem(path, f"expected a job of this workflow, found {name!r}{near(name, list(by_id))}")


def _check_cycles(source: Source, jobs: Iterable[JobSpec], paths: Sequence[tuple[str | int, ...]]) -> None:
    # a job without an id can be nobody's parent
    parents = {job.id: list(local_parents(job)) for job in jobs if job.id}
    try:
        parents_first(parents)
    except ValueError as error:
        cycle = error.args[0]
        path = next(path for path, job in zip(paths, jobs, strict=True) if job.id == cycle[0])
        raise source.problem(path, f"expected no cycle, found {' -> '.join(cycle)}") from None


def local_parents(job: JobSpec) -> Iterator[str]:
    """Every parent's name, of an item the name of its array."""
    for name in dict.fromkeys([*(name for name, _ in job.parents), *references(job)]):
        head, dot, tail = name.rpartition(".")
        yield name
        if dot and tail.isdigit():
            yield head
