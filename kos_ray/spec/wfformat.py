"""Imports recorded workflows in WfFormat 1.5, the format of WfCommons, as jobs that really compute.

See Coleman et al., "WfCommons: A framework for enabling scientific workflow research and development", Future
Generation Computer Systems 128 (2022). Structure, CPU times and file sizes are the record's; `replay` is the body.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kos_ray.model.errors import InvalidSpec
from kos_ray.spec.graph import parents_first
from kos_ray.spec.load import load_text, read_text
from kos_ray.spec.lower import Draft, lower
from kos_ray.spec.places import Source
from kos_ray.spec.schema import near, parse_name
from kos_ray.spec.units import describe

ENTRY = "kos_ray.spec.replay:replay_task"
_STEP = str | int


@dataclass(frozen=True, slots=True)
class RecordedTask:
    """One task of the record, in its own units; `inputs` and `outputs` are file names."""

    id: str
    name: str
    program: str
    parents: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    cpu_seconds: float
    cores: float


@dataclass(frozen=True, slots=True)
class RecordedWorkflow:
    """A record: tasks with parents first, and the size in bytes of every file."""

    name: str
    tasks: tuple[RecordedTask, ...]
    sizes: dict[str, int]


def import_wfformat(
    path: str | Path,
    *,
    scale_time: float = 1.0,
    scale_data: float = 1.0,
    name: str | None = None,
    max_cpus: float = 1.0,
    namespace: str = "default",
) -> list[Draft]:
    """The drafts of a recorded workflow, parents first, named `<workflow>/<task id>`.

    Each task keeps one core busy for its recorded run time times `scale_time`, and its files have their recorded
    size times `scale_data`. It asks for one CPU, or for the recorded cores where `max_cpus` allows more.

    Raises:
        InvalidSpec: the file is no WfFormat 1.5, contradicts itself, or a scale is out of range.

    """
    document = to_document(
        read_wfformat(path), scale_time=scale_time, scale_data=scale_data, name=name, max_cpus=max_cpus
    )
    return lower([load_text(json.dumps(document), f"{path} as jobs")], namespace=namespace)


def to_document(
    record: RecordedWorkflow,
    *,
    scale_time: float = 1.0,
    scale_data: float = 1.0,
    name: str | None = None,
    max_cpus: float = 1.0,
) -> dict[str, Any]:
    """The job document of a record, as plain data: what `kos submit` takes.

    Raises:
        InvalidSpec: a scale or the name is out of range.

    """
    for value, what in ((scale_time, "scale_time"), (scale_data, "scale_data"), (max_cpus, "max_cpus")):
        if not 0 <= value <= 1_000_000:
            raise InvalidSpec(f"{what}: expected a number from 0 to 1000000, found {value!r}")
    try:
        workflow = parse_name(name if name is not None else _as_name(record.name))
    except ValueError as error:
        raise InvalidSpec(f"the workflow's name: {error}") from None
    ids = _public_ids(record)
    producers, needed = _flow(record)
    jobs = []
    for task in record.tasks:
        makers = producers[task.id]
        body = {
            "id": task.id,
            "cpu_seconds": task.cpu_seconds * scale_time,
            "inputs": [_file(record, file, scale_data) | {"made": file in makers} for file in task.inputs],
            "outputs": [_file(record, file, scale_data) | {"keep": (task.id, file) in needed} for file in task.outputs],
        }
        job: dict[str, Any] = {
            "id": ids[task.id],
            "type": task.program,
            "entry": ENTRY,
            "args": [body, *({"from": ids[maker]} for maker in dict.fromkeys(makers.values()))],
            "after": [ids[parent] for parent in task.parents],
            "resources": {"cpu": min(max(task.cores, 1.0), max_cpus)},
            "tags": [f"workflow:{workflow}"],
        }
        jobs.append(job)
    return {"name": workflow, "jobs": jobs}


def read_wfformat(path: str | Path) -> RecordedWorkflow:
    """The record in a file.

    Raises:
        InvalidSpec: `file:line: path: expected ..., found ...`.

    """
    source = Source(f"{path}", read_text(path))
    return _Reader(source).workflow()


class _Reader:
    """Takes a document apart; each `want` names the place where it found something else."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def workflow(self) -> RecordedWorkflow:
        version = self._want((), "schemaVersion", str, optional=True)
        if version not in ("", "1.5"):
            raise self._source.problem(("schemaVersion",), f"expected WfFormat 1.5, found {version!r}")
        root: tuple[_STEP, ...] = ("workflow", "specification")
        sizes = self._sizes((*root, "files"))
        runs = self._runs(("workflow", "execution", "tasks"))
        items = self._list((*root, "tasks"))
        if not items:
            raise self._source.problem((*root, "tasks"), "expected at least one task, found none")
        tasks = [self._task((*root, "tasks", index), sizes, runs) for index in range(len(items))]
        tasks = self._linked((*root, "tasks"), tasks)
        return RecordedWorkflow(self._want((), "name", str, optional=True) or "workflow", tuple(tasks), sizes)

    def _sizes(self, path: tuple[_STEP, ...]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for index in range(len(self._list(path, optional=True))):
            name = self._want((*path, index), "id", str)
            if name in sizes:
                raise self._source.problem((*path, index, "id"), f"expected every file once, found {name!r} again")
            size = self._want((*path, index), "sizeInBytes", (int, float))
            if size < 0:
                raise self._source.problem((*path, index, "sizeInBytes"), f"expected a size >= 0, found {size}")
            sizes[name] = int(size)
        return sizes

    def _runs(self, path: tuple[_STEP, ...]) -> dict[str, tuple[float, float, str]]:
        """Run time in seconds, cores and program by task."""
        runs = {}
        for index in range(len(self._list(path))):
            here = (*path, index)
            seconds = self._want(here, "runtimeInSeconds", (int, float))
            if seconds < 0:
                raise self._source.problem((*here, "runtimeInSeconds"), f"expected a time >= 0, found {seconds}")
            cores = self._want(here, "coreCount", (int, float), optional=True) or 1.0
            command = self._want(here, "command", dict, optional=True) or {}
            program = command.get("program")
            runs[self._want(here, "id", str)] = (float(seconds), float(cores), program or "")
        return runs

    def _task(
        self, path: tuple[_STEP, ...], sizes: dict[str, int], runs: dict[str, tuple[float, float, str]]
    ) -> RecordedTask:
        task_id = self._want(path, "id", str)
        if task_id not in runs:
            raise self._source.problem(
                (*path, "id"), f"expected an execution of every task, found none of {task_id!r}{near(task_id, runs)}"
            )
        files = {}
        for field in ("inputFiles", "outputFiles"):
            files[field] = self._names(path, field)
            for index, file in enumerate(files[field]):
                if file not in sizes:
                    raise self._source.problem(
                        (*path, field, index), f"expected a file of the record, found {file!r}{near(file, sizes)}"
                    )
        seconds, cores, program = runs[task_id]
        name = self._want(path, "name", str, optional=True) or task_id
        return RecordedTask(
            id=task_id,
            name=name,
            program=_as_name(Path(program).name if isinstance(program, str) and program else _category(name)),
            parents=self._names(path, "parents"),
            inputs=files["inputFiles"],
            outputs=files["outputFiles"],
            cpu_seconds=seconds,
            cores=cores,
        )

    def _linked(self, path: tuple[_STEP, ...], tasks: list[RecordedTask]) -> list[RecordedTask]:
        """The tasks with parents first; ids once, parents and children known, no cycle."""
        index_of: dict[str, int] = {}
        for index, task in enumerate(tasks):
            if index_of.setdefault(task.id, index) != index:
                raise self._source.problem((*path, index, "id"), f"expected every task once, found {task.id!r} again")
        parents = {task.id: list(task.parents) for task in tasks}
        for index, task in enumerate(tasks):
            for field in ("parents", "children"):
                for position, other in enumerate(self._names((*path, index), field)):
                    if other not in index_of:
                        raise self._source.problem(
                            (*path, index, field, position),
                            f"expected a task of the workflow, found {other!r}{near(other, index_of)}",
                        )
                    if field == "children" and task.id not in parents[other]:
                        parents[other].append(task.id)
        try:
            order = parents_first(parents)
        except ValueError as error:
            cycle = error.args[0]
            raise self._source.problem(
                (*path, index_of[cycle[0]]), f"expected no cycle, found {' -> '.join(cycle)}"
            ) from None
        by_id = {task.id: task for task in tasks}
        return [replace(by_id[task_id], parents=tuple(parents[task_id])) for task_id in order]

    def _names(self, path: tuple[_STEP, ...], field: str) -> tuple[str, ...]:
        items = self._list((*path, field), optional=True)
        for index, item in enumerate(items):
            if not isinstance(item, str) or not item:
                raise self._source.problem((*path, field, index), f"expected a name, found {describe(item)}")
        return tuple(dict.fromkeys(items))

    def _list(self, path: tuple[_STEP, ...], *, optional: bool = False) -> list[Any]:
        return list(self._want(path[:-1], str(path[-1]), list, optional=optional) or [])

    def _want(
        self, path: tuple[_STEP, ...], field: str, kind: type | tuple[type, ...], *, optional: bool = False
    ) -> Any:
        """The field's value of the right kind; where it is `optional` and not there, the kind's empty value."""
        holder: Any = self._source.data
        for depth, step in enumerate(path):
            if isinstance(step, int):
                holder = holder[step]
            elif isinstance(holder, dict):
                holder = holder.get(step)
            else:
                raise self._source.problem(path[:depth], f"expected a mapping, found {describe(holder)}")
        if not isinstance(holder, dict):
            raise self._source.problem(path, f"expected a mapping, found {describe(holder)}")
        value = holder.get(field)
        first = kind if isinstance(kind, type) else kind[0]
        if value is None and optional:
            return first()
        if not isinstance(value, kind) or isinstance(value, bool) or (first is str and not value):
            words = {str: "a text", list: "a list", dict: "a mapping", int: "a number"}
            raise self._source.problem((*path, field), f"expected {words[first]}, found {describe(value)}")
        return value


def _flow(record: RecordedWorkflow) -> tuple[dict[str, dict[str, str]], set[tuple[str, str]]]:
    """Who makes what: for each task its inputs' makers, and the outputs `(task, file)` that somebody needs.

    A file that nobody makes, or only the task itself or a later one, comes from outside of the workflow. Where several
    tasks write one file, a reader gets it from its own parent, else from the last one before it.
    """
    makers: dict[str, list[str]] = {}
    producers: dict[str, dict[str, str]] = {}
    needed = set()
    for task in record.tasks:
        producers[task.id] = {}
        for file in task.inputs:
            above = makers.get(file, [])
            maker = next((one for one in above if one in task.parents), above[-1] if above else None)
            if maker is not None:
                producers[task.id][file] = maker
                needed.add((maker, file))
        for file in task.outputs:
            makers.setdefault(file, []).append(task.id)
    return producers, needed


def _file(record: RecordedWorkflow, name: str, scale: float) -> dict[str, Any]:
    """A file scaled down never vanishes: what held something still holds a byte."""
    size = record.sizes[name]
    return {"name": name, "size": max(round(size * scale), 1) if size and scale else 0}


def _public_ids(record: RecordedWorkflow) -> dict[str, str]:
    """Task ids as job ids: what names cannot hold is replaced, doubles are numbered."""
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for task in record.tasks:
        base = name = _as_name(task.id)
        number = 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name)
        ids[task.id] = name
    return ids


def _as_name(text: str) -> str:
    """Text as a part of a name: other characters become `_`, and it never looks like an array's item."""
    name = re.sub(r"[^A-Za-z0-9_:+@-]+", "_", text).strip("_") or "task"
    return name[-80:] if name[-80:][0].isalnum() else f"x{name[-80:]}"


def _category(name: str) -> str:
    """`mProject_ID0000004` is an `mProject`."""
    return re.sub(r"[_-]?(?:ID)?\d+$", "", name) or name
