"""Real processes of plug-ins: that answer, hang, crash, lie, and lack a method."""

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest

from kos_ray.model.ids import JobKey
from kos_ray.model.plugins import Advice, Question
from kos_ray.plugins.process import PluginProcesses, check
from tests.installed import install_entry_points

#: modules of plug-ins, as people would write them; each is an entry point of its own name
SOURCES = {
    "good": """
        class Plugin:
            def __init__(self): self.gone = []
            def canHandle(self, task): return task["type"] != "other"
            def schedule(self, task):
                print("what is printed is no answer")
                return -task["deadline"] if not self.gone else 7
            def cancel(self, task_id): self.gone.append(task_id)
    """,
    "snake": "def can_handle(task): return True\ndef schedule(task): return None\ndef cancel(task_id): pass\n",
    "hangs": """
        import time
        class Plugin:
            def canHandle(self, task): return True
            def schedule(self, task):
                while True: time.sleep(60)
            def cancel(self, task_id): pass
    """,
    "crashes": """
        import os
        class Plugin:
            def canHandle(self, task): return True
            def schedule(self, task): os._exit(3)
            def cancel(self, task_id): pass
    """,
    "raises": """
        class Plugin:
            def canHandle(self, task): return True
            def schedule(self, task): return 1 / 0
            def cancel(self, task_id): pass
    """,
    "talks": """
        class Plugin:
            def canHandle(self, task): return True
            def schedule(self, task): return "first"
            def cancel(self, task_id): pass
    """,
    "forges": """
        import json, os
        class Plugin:
            def canHandle(self, task):
                for number in range(3, 64):
                    try: os.write(number, b'[1, 2, 3]\\n')
                    except OSError: pass
                return True
            def schedule(self, task): return 1
            def cancel(self, task_id): pass
    """,
    "lacking": """
        class Plugin:
            def canHandle(self, task): return True
            def schedule(self, task): return 1
    """,
    "broken": "raise ImportError('no such thing')",
}
#: and of plug-ins for graphs
GRAPHS = """
class backwards:
    def order(self, tasks, cluster): return [-len(task["after"]) * cluster["capacity"]["CPU"] for task in tasks]
class short:
    def order(self, tasks, cluster): return [1]
"""
TASK = {"id": "a", "type": "t", "deadline": 5.5, "run_time": 2.0, "measured_run_time": None}
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plug-ins, as installed packages leave them."""
    lines = ["[kos_ray.disciplines]", "shortest_job_first = kos_ray.plugins.samples:ShortestJobFirst"]
    for name, source in SOURCES.items():
        indent = "        " if source.startswith("\n") else ""
        text = "\n".join(line.removeprefix(indent) for line in source.splitlines())
        (tmp_path / f"plugin_{name}.py").write_text(text)
        lines.append(f"{name} = plugin_{name}" + (":Plugin" if "class Plugin" in source else ""))
    lines += ["[kos_ray.graph_disciplines]", *(f"{name} = plugin_graphs:{name}" for name in ("backwards", "short"))]
    (tmp_path / "plugin_graphs.py").write_text(GRAPHS)
    install_entry_points(tmp_path, "\n".join(lines))
    package = Path(__file__).parents[3]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{package}")


@pytest.fixture
def heard() -> "queue.Queue[Advice]":
    return queue.Queue()


@pytest.fixture
def plugins(heard: "queue.Queue[Advice]") -> Iterator[PluginProcesses]:
    found = PluginProcesses(lambda what: what())
    found.listen(heard.put)
    yield found
    found.end_all()


def asked(*tasks: dict[str, object], number: int = 1) -> Question:
    keys = tuple(JobKey(key) for key in range(1, len(tasks) + 1))
    return Question(number=number, keys=keys, tasks=tasks)


def test_one_that_answers(plugins: PluginProcesses, heard: "queue.Queue[Advice]") -> None:
    plugins.ask("good", asked(TASK, {**TASK, "type": "other"}, {**TASK, "deadline": 2}))
    assert heard.get(timeout=PATIENCE_S) == Advice(plugin="good")
    keys = (JobKey(1), JobKey(3))
    assert heard.get(timeout=PATIENCE_S) == Advice(plugin="good", number=1, keys=keys, ranks=(-5_500, -2_000))
    plugins.cancel("good", ("a",))
    plugins.ask("good", asked(TASK, number=2))
    assert heard.get(timeout=PATIENCE_S).ranks == (7_000,)


def test_one_for_graphs(
    plugins: PluginProcesses,
    heard: "queue.Queue[Advice]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It gets all tasks and the cluster in one call; who is of which kind is known without its code."""
    monkeypatch.syspath_prepend(tmp_path)
    assert [plugins.orders_graphs(name) for name in ("backwards", "good", "absent")] == [True, False, False]
    tasks = ({**TASK, "after": []}, {**TASK, "after": ["a"]})
    question = Question(
        number=1, keys=(JobKey(1), JobKey(2)), tasks=tasks, cluster={"now": 5.0, "capacity": {"CPU": 2}}
    )
    plugins.ask("backwards", question)
    assert heard.get(timeout=PATIENCE_S) == Advice(plugin="backwards")
    assert heard.get(timeout=PATIENCE_S).ranks == (0, -2_000)
    plugins.ask("short", question)
    assert heard.get(timeout=PATIENCE_S) == Advice(plugin="short")
    assert "expected 2 ranks, one for each task, found 1" in heard.get(timeout=PATIENCE_S).failed


def test_one_in_functions_that_has_nothing_to_say(plugins: PluginProcesses, heard: "queue.Queue[Advice]") -> None:
    plugins.ask("snake", asked(TASK))
    assert heard.get(timeout=PATIENCE_S) == Advice(plugin="snake")
    assert heard.get(timeout=PATIENCE_S) == Advice(plugin="snake", number=1)


def test_the_sample(plugins: PluginProcesses, heard: "queue.Queue[Advice]") -> None:
    measured = {**TASK, "run_time": None, "measured_run_time": 0.5}
    plugins.ask("shortest_job_first", asked(TASK, measured, {**TASK, "run_time": None}))
    heard.get(timeout=PATIENCE_S)
    answer = heard.get(timeout=PATIENCE_S)
    assert (answer.keys, answer.ranks) == ((1, 2), (2_000, 500))
    pyproject = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    assert 'shortest_job_first = "kos_ray.plugins.samples:ShortestJobFirst"' in pyproject


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("crashes", "its process ended with exit code 3"),
        ("raises", "it raised ZeroDivisionError"),
        ("talks", "expected of schedule() a number"),
        ("forges", "its answer makes no sense"),
        ("lacking", "found plugin_lacking:Plugin without cancel"),
        ("broken", "cannot be loaded: ImportError: no such thing"),
        ("absent", "expected the name of an entry point of the group kos_ray.disciplines or kos_ray.graph_disciplines"),
    ],
)
def test_one_that_is_found_wanting(plugins: PluginProcesses, heard: "queue.Queue[Advice]", name: str, why: str) -> None:
    plugins.ask(name, asked(TASK))
    answer = heard.get(timeout=PATIENCE_S)
    if not answer.failed:
        answer = heard.get(timeout=PATIENCE_S)
    assert why in answer.failed
    assert answer.plugin == name


def test_one_that_hangs_is_ended_and_says_nothing_more(plugins: PluginProcesses, heard: "queue.Queue[Advice]") -> None:
    plugins.ask("hangs", asked(TASK))
    assert heard.get(timeout=PATIENCE_S) == Advice(plugin="hangs")
    process = plugins._running["hangs"]._process
    assert process.poll() is None
    plugins.end("hangs")
    assert process.wait(timeout=PATIENCE_S) == -9
    plugins.ask("good", asked(TASK))
    assert heard.get(timeout=PATIENCE_S).plugin == "good"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("good", ""),
        ("lacking", "expected the methods canHandle (or can_handle), schedule and cancel, found plugin_lacking"),
        ("absent", "installed: backwards, broken, crashes, forges, good"),
    ],
)
def test_a_plugin_is_checked_when_it_is_set(name: str, why: str) -> None:
    found = check(name)
    assert why in found
    assert bool(why) == bool(found)
