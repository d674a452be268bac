"""Recorded workflows: their structure is kept, their contents are checkable, and broken files name the place."""

import io
import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kos_ray.model import payload
from kos_ray.model.errors import InvalidSpec
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import Draft, lower
from kos_ray.spec.rehearse import final_digests
from kos_ray.spec.replay import content, replay_task
from kos_ray.spec.wfformat import ENTRY, import_wfformat, read_wfformat, to_document

EXAMPLES = Path(__file__).parents[3] / "configs" / "examples"
FILES = {
    "montage-chameleon-2mass-005d-001.json": (58, 114),
    "1000genome-chameleon-2ch-100k-001.json": (52, 76),
    "blast-chameleon-small-001.json": (43, 120),
}


def run(drafts: list[Draft]) -> dict[str, dict[str, Any]]:
    """Runs every task here, as a worker would."""
    results: dict[str, dict[str, Any]] = {}
    for draft in drafts:

        class Unpickler(pickle.Unpickler):
            names = draft.inputs

            def persistent_load(self, pid: Any) -> Any:
                return results[self.names[pid[1]]]

        data = payload.open_payload(draft.args[0])
        assert isinstance(data, bytes)
        args, kwargs = Unpickler(io.BytesIO(data)).load()
        results[draft.name] = replay_task(*args, **kwargs)
    return results


@pytest.mark.parametrize("file", FILES)
def test_the_structure_is_the_records(file: str) -> None:
    raw = json.loads((EXAMPLES / file).read_text())["workflow"]["specification"]["tasks"]
    drafts = import_wfformat(EXAMPLES / file, name="w")
    tasks, edges = FILES[file]
    assert len(drafts) == len(raw) == tasks
    assert {draft.name: {name for name, _ in draft.after} for draft in drafts} == {
        f"w/{task['id']}": {f"w/{parent}" for parent in task["parents"]} for task in raw
    }
    assert sum(len(draft.after) for draft in drafts) == edges
    assert all(set(draft.inputs) <= {name for name, _ in draft.after} for draft in drafts)
    assert {draft.spec.entry for draft in drafts} == {ENTRY}
    assert len({draft.spec.type for draft in drafts}) < 10
    assert all(draft.spec.resources.as_units() == {"CPU": 1} for draft in drafts)
    seen: set[str] = set()
    for draft in drafts:
        assert {name for name, _ in draft.after} <= seen
        seen.add(draft.name)


@pytest.mark.parametrize("file", FILES)
def test_times_and_sizes_are_the_records(file: str) -> None:
    raw = json.loads((EXAMPLES / file).read_text())["workflow"]
    times = {task["id"]: task["runtimeInSeconds"] for task in raw["execution"]["tasks"]}
    sizes = {item["id"]: item["sizeInBytes"] for item in raw["specification"]["files"]}
    for task, job in zip(
        (read := read_wfformat(EXAMPLES / file)).tasks, to_document(read, scale_time=0.5)["jobs"], strict=True
    ):
        body = job["args"][0]
        assert body["cpu_seconds"] == times[task.id] / 2
        assert {item["name"]: item["size"] for item in body["inputs"] + body["outputs"]} == {
            name: sizes[name] for name in (*task.inputs, *task.outputs)
        }


@pytest.mark.parametrize("file", FILES)
def test_a_whole_workflow_is_deterministic(file: str) -> None:
    drafts = import_wfformat(EXAMPLES / file, scale_time=0, scale_data=0.0002)
    first, second = run(drafts), run(drafts)
    for name, result in first.items():
        assert {**result, "cpu_seconds": 0} == {**second[name], "cpu_seconds": 0}
    expected = final_digests(drafts)
    assert expected
    assert expected == {name: first[name]["digest"] for name in expected}
    needed = [item for result in first.values() for item in result["files"]]
    assert needed


def test_a_document_that_was_written_out_lowers_to_the_same_drafts() -> None:
    path = EXAMPLES / "montage-chameleon-2mass-005d-001.json"
    text = json.dumps(to_document(read_wfformat(path), scale_data=0.1), indent=2)
    assert lower([load_text(text, "m.json")]) == import_wfformat(path, scale_data=0.1)


TASK = {
    "id": "t",
    "cpu_seconds": 0.0,
    "inputs": [{"name": "../../etc/src", "size": 3_000_000, "made": False}, {"name": "b", "size": 4, "made": True}],
    "outputs": [{"name": "out", "size": 70_000, "keep": True}, {"name": "log", "size": 0, "keep": False}],
}
PARENT = {"task": "p", "files": {"b": b"abcd"}}


def test_a_task_reads_writes_and_hands_on() -> None:
    result = replay_task(TASK, PARENT)
    assert result["inputs"]["../../etc/src"]["size"] == 3_000_000
    assert list(result["files"]) == ["out"]
    assert len(result["files"]["out"]) == result["outputs"]["out"]["size"] == 70_000
    assert result["outputs"]["log"]["size"] == 0
    other = replay_task(TASK, {"task": "p", "files": {"b": b"abcx"}})
    assert other["digest"] != result["digest"]
    assert replay_task({**TASK, "id": "u"}, PARENT)["digest"] != result["digest"]


def test_a_task_burns_its_cpu_time_and_not_more() -> None:
    started = time.thread_time()
    result = replay_task({**TASK, "cpu_seconds": 0.2}, PARENT)
    used = time.thread_time() - started
    assert 0.2 <= result["cpu_seconds"] <= used < 0.4


@pytest.mark.parametrize(
    ("parents", "message"),
    [((), "found it in none"), (({"task": "p", "files": {"b": b"abc"}},), "expected 4 bytes in 'b', found 3")],
)
def test_a_wrong_input_is_an_error(parents: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replay_task(TASK, *parents)


def test_content_has_the_size_and_depends_on_the_seed() -> None:
    whole = b"".join(content("a", 2_500_000))
    assert len(whole) == 2_500_000
    assert whole != b"".join(content("b", 2_500_000))
    assert b"".join(content("a", 0)) == b""


def document() -> dict[str, Any]:
    return {
        "name": "tiny",
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {
                "tasks": [
                    {"id": "a", "name": "a", "parents": [], "children": ["b"], "inputFiles": [], "outputFiles": ["f"]},
                    {"id": "b", "name": "b", "parents": ["a"], "children": [], "inputFiles": ["f"], "outputFiles": []},
                ],
                "files": [{"id": "f", "sizeInBytes": 10}],
            },
            "execution": {"tasks": [{"id": "a", "runtimeInSeconds": 1}, {"id": "b", "runtimeInSeconds": 2}]},
        },
    }


def _set(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = value

    return change


def _tasks(index: int, field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return _set("workflow", "specification", "tasks", index, field, value=value)


def _runs(index: int, field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return _set("workflow", "execution", "tasks", index, field, value=value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("schemaVersion", value="1.3"), "schemaVersion: expected WfFormat 1.5, found '1.3'"),
        (_set("workflow", value=[]), "workflow: expected a mapping"),
        (_set("workflow", "specification", "tasks", value=[]), "expected at least one task"),
        (_set("workflow", "specification", "tasks", value={}), "tasks: expected a list"),
        (_set("workflow", "specification", "tasks", value=[1]), "specification.tasks[0]: expected a mapping, found 1"),
        (_set("workflow", "execution", value={}), "workflow.execution.tasks: expected a list, found nothing"),
        (_tasks(1, "id", ""), "tasks[1].id: expected a text"),
        (_tasks(1, "id", "a"), "expected every task once, found 'a' again"),
        (_tasks(1, "parents", ["aa"]), "tasks[1].parents[0]: expected a task of the workflow, found 'aa'"),
        (_tasks(1, "parents", "a"), "parents: expected a list"),
        (_tasks(1, "parents", [3]), "parents[0]: expected a name, found 3"),
        (_tasks(0, "parents", ["b"]), "expected no cycle, found"),
        (_tasks(0, "children", ["z"]), "children[0]: expected a task"),
        (_tasks(0, "outputFiles", ["g"]), "outputFiles[0]: expected a file of the record, found 'g'"),
        (_runs(1, "id", "x"), "expected an execution of every task, found none of 'b'"),
        (_runs(1, "runtimeInSeconds", "2"), "runtimeInSeconds: expected a number, found '2'"),
        (_runs(1, "runtimeInSeconds", -2), "expected a time >= 0, found -2"),
        (_set("workflow", "specification", "files", 0, "sizeInBytes", value=None), "sizeInBytes: expected a number"),
        (_set("workflow", "specification", "files", 0, "sizeInBytes", value=-1), "expected a size >= 0"),
    ],
)
def test_broken_records_name_the_place(tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    data = document()
    change(data)
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(data, indent=1))
    with pytest.raises(InvalidSpec) as refused:
        import_wfformat(path)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"{path}:")


def test_scales_and_names_are_checked() -> None:
    path = EXAMPLES / "blast-chameleon-small-001.json"
    with pytest.raises(InvalidSpec, match="scale_time: expected"):
        import_wfformat(path, scale_time=-1)
    with pytest.raises(InvalidSpec, match="scale_data: expected"):
        import_wfformat(path, scale_data=float("nan"))
    with pytest.raises(InvalidSpec, match="the workflow's name"):
        import_wfformat(path, name="no name")


def test_files_from_afar_odd_ids_and_more_cores(tmp_path: Path) -> None:
    data = document()
    tasks = data["workflow"]["specification"]["tasks"]
    # c reads a's file without being its child, and rewrites it in place
    tasks.append({"id": "c (1)", "name": "c", "parents": ["b"], "inputFiles": ["f"], "outputFiles": ["f"]})
    tasks.append({"id": "c [1]", "name": "c", "parents": [], "inputFiles": [], "outputFiles": []})
    data["workflow"]["execution"]["tasks"] += [
        {"id": "c (1)", "runtimeInSeconds": 0, "coreCount": 8, "command": {"program": "/opt/x y"}},
        {"id": "c [1]", "runtimeInSeconds": 0, "avgCPU": 10},
    ]
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(data))
    drafts = {draft.name: draft for draft in import_wfformat(path, max_cpus=4, scale_time=0)}
    assert set(drafts) == {"tiny/a", "tiny/b", "tiny/c_1", "tiny/c_1-2"}
    far = drafts["tiny/c_1"]
    assert far.inputs == ("tiny/a",)
    assert [name for name, _ in far.after] == ["tiny/b", "tiny/a"]
    assert far.spec.type == "x_y"
    assert far.spec.resources.as_units() == {"CPU": 4}
    assert run(list(drafts.values()))
