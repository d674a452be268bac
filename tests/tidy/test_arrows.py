"""The shape of the house: who may import whom, what the pure rooms never touch, and how long things may be."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "kos_ray"

#: room -> the rooms that it may import besides itself; `facade` is kos_ray/__init__.py
ARROWS: dict[str, set[str]] = {
    "model": set(),
    "spec": {"model", "timing"},
    "scheduler": {"model", "timing"},
    "journal": {"model"},
    "engine": {"model", "scheduler", "timing"},
    "timing": {"model"},
    "worker": {"model", "spec"},
    "plugins": {"model"},
    "runtime": {"model", "engine", "journal", "worker", "plugins", "scheduler", "rehearsal", "observe", "facade"},
    "observe": {"model"},
    "intake": {"model", "observe"},
    "client": {"model", "spec", "runtime", "facade"},
    "cli": {"model", "spec", "observe", "intake", "timing", "client", "runtime", "rehearsal", "facade"},
    "rehearsal": {"model", "spec", "scheduler", "journal", "engine", "plugins"},
    "sim": {"model", "engine", "scheduler", "journal", "spec"},
}

#: single modules of a room that a room is confined to
ONLY: dict[tuple[str, str], set[str]] = {
    ("client", "runtime"): {"kos_ray.runtime.connect"},
    ("intake", "observe"): {"kos_ray.observe.webhook"},
    ("cli", "runtime"): {"kos_ray.runtime.audit", "kos_ray.runtime.connect"},
    ("scheduler", "timing"): {"kos_ray.timing.conditions", "kos_ray.timing.occasions"},
    ("rehearsal", "engine"): {"kos_ray.engine.advice"},
    ("worker", "spec"): {"kos_ray.spec.options"},
    ("runtime", "rehearsal"): {"kos_ray.rehearsal.plan"},
    ("runtime", "observe"): {
        "kos_ray.observe.outbox",
        "kos_ray.observe.results",
        "kos_ray.observe.signals",
        "kos_ray.observe.webhook",
    },
    ("runtime", "scheduler"): {
        "kos_ray.scheduler.machine",
        "kos_ray.scheduler.snapshot",
        "kos_ray.scheduler.state",
        "kos_ray.scheduler.what_if",
    },
}

PURE = ("model", "scheduler")
IMPURE = {
    *("ray", "time", "random", "os", "asyncio", "uuid", "logging", "threading", "pydantic", "secrets"),
    *("socket", "subprocess", "pathlib", "io", "datetime", "multiprocessing", "concurrent", "sqlite3", "msgpack"),
}

#: files that have outgrown one sitting, with the length that they may not exceed any more
LONG_FILES: dict[str, int] = {}
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything that a file imports, inside functions as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = (ROOT / Path(*full.split("."))).with_suffix(".py").exists() or (
                    ROOT / Path(*full.split("."))
                ).is_dir()
                yield node.lineno, full if is_module else str(node.module)


def room_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "kos_ray":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ARROWS else "facade"


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_every_room_is_in_the_table() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ARROWS)


@pytest.mark.parametrize("room", ARROWS)
def test_arrows(room: str) -> None:
    """A room imports only what the table says."""
    wrong = []
    for path in files(room):
        for line, module in imports(path):
            target = room_of(module)
            if target is None or target == room:
                continue
            allowed = target in ARROWS[room] and module in ONLY.get((room, target), {module})
            if not allowed:
                wrong.append(f"{where(path, line)}: {room} may not import {module}")
    assert not wrong, "\n".join(wrong)


def test_due_times_are_told_by_no_clock() -> None:
    """Dates are values; what reads the clock, or draws, is not asked for them."""
    wrong = [
        f"{where(path, line)}: timing is pure and may not import {module}"
        for path in files("timing")
        for line, module in imports(path)
        if module.split(".")[0] in IMPURE - {"datetime"}
    ]
    wrong += [
        f"{where(path, number)}: timing may not ask what time it is"
        for path in files("timing")
        for number, text in enumerate(path.read_text().splitlines(), start=1)
        if ".now(" in text or ".today(" in text or "utcnow" in text
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", PURE)
def test_pure_rooms_touch_no_clock_chance_or_outside(room: str) -> None:
    """Time, chance and ids arrive in the events; otherwise a replay would not give the same decisions."""
    wrong = [
        f"{where(path, line)}: {room} is pure and may not import {module}"
        for path in files(room)
        for line, module in imports(path)
        if module.split(".")[0] in IMPURE
    ]
    assert not wrong, "\n".join(wrong)


def test_ray_is_imported_in_the_runtime_alone() -> None:
    wrong = [
        f"{where(path, line)}: only kos_ray/runtime imports ray"
        for path in PACKAGE.rglob("*.py")
        for line, module in imports(path)
        if module.split(".")[0] == "ray" and path.relative_to(PACKAGE).parts[0] != "runtime"
    ]
    assert not wrong, "\n".join(wrong)


def test_the_node_agent_core_imports_no_ray() -> None:
    for path in [PACKAGE / "runtime" / "node_agent.py", *(PACKAGE / "runtime" / "agent").glob("*.py")]:
        found = [where(path, line) for line, module in imports(path) if module.split(".")[0] == "ray"]
        assert not found, found


@pytest.mark.parametrize("module", ["kos_ray", "kos_ray.cli.main"])
def test_light_imports(module: str) -> None:
    """Importing the package, or the command line for its help, brings neither Ray nor pydantic."""
    code = f"import sys, {module}; print([m for m in ('ray', 'pydantic', 'cloudpickle') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


def test_an_agent_s_process_loads_nothing_of_a_client() -> None:
    """Its class says `@kos.agent` and asks for `kos.context()`: twelve MiB less in each of hundreds of processes."""
    code = "import sys, kos_ray as kos; kos.agent, kos.context; print([m for m in sys.modules if 'kos_ray.' in m])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "kos_ray.client.declared'" in found.stdout
    heavy = ("kos_ray.client.client'", "kos_ray.client.agents'", "kos_ray.spec.", "kos_ray.engine.", "kos_ray.runtime.")
    assert not [name for name in heavy if name in found.stdout]


def test_a_slot_loads_none_of_the_engine_s_words() -> None:
    """Each new slot pays for what it loads: hundreds of dataclasses took it longer than the rest of ours together."""
    code = "import sys, kos_ray.worker.slot; print([m for m in sys.modules if m.startswith('kos_ray.model.')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "kos_ray.model.job'" in found.stdout
    heavy = [name for name in ("protocol", "events", "decisions", "policy") if f"kos_ray.model.{name}'" in found.stdout]
    assert not heavy


@pytest.mark.parametrize("room", ARROWS)
def test_every_room_says_what_it_is(room: str) -> None:
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or ""
    missing = [words for words in ("Covers:", "Does not cover:", "May import:") if words not in text]
    assert not missing, f"kos_ray/{room}/__init__.py: its docstring lacks {missing}"


def test_files_are_read_in_one_sitting_and_functions_on_one_screen() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        lines = path.read_text().count("\n")
        limit = LONG_FILES.get(str(path.relative_to(ROOT)), FILE_LINES_MAX)
        if lines > limit:
            wrong.append(f"{path.relative_to(ROOT)}: {lines} lines, at most {limit}")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or 0) - node.lineno + 1
                if size > FUNCTION_LINES_MAX:
                    wrong.append(f"{where(path, node.lineno)}: {node.name} has {size} lines")
    assert not wrong, "\n".join(wrong)


def test_nothing_of_a_machine_is_in_the_repo() -> None:
    """No path of a home or work folder, no address of a package registry."""
    patterns = r"(^|[^A-Za-z0-9_./~-])/(work|root|home)/[a-z]|files\.pythonhosted|registry\.npmjs|deb\.debian"
    found = subprocess.run(
        ["git", "grep", "-nIE", patterns, "--", ".", ":!*.svg", ":!tests/tidy"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 1, found.stdout
