"""One bug after another in a copy of the package, and a ladder of proofs that stops at the first that finds it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.crash.points import deaths
from tests.seeding.bugs import Bug, forget_compiled, planted

ROOT = Path(__file__).parents[2]
#: what a proof needs of the repository
_PARTS = ("kos_ray", "tests", "benchmarks", "docs", "pyproject.toml", "Makefile", "README.md", "ARCHITECTURE.md")
#: of a step, in seconds: what takes longer hangs
_STEP_S = 1_500
_TEST_S = 150
#: deaths that are tried near a bug
_DEATHS_MAX = 6

_CORE = ("scheduler", "journal", "engine")
#: by room the tests that are nearest to it; and of the others that need no Ray those that get there
_NEAR = {
    "scheduler": ("tests/scenarios", "tests/unit/scheduler", "tests/unit/engine"),
    "journal": ("tests/unit/journal",),
    "engine": ("tests/unit/engine",),
    "agent": ("tests/contract", "tests/unit/runtime"),
    "worker": ("tests/unit/worker", "tests/contract"),
}
_UNITS = ("scheduler", "engine", "journal", "rehearsal", "runtime", "client", "plugins", "observe", "worker", "cli")
_FARTHER = {
    "scheduler": ("tests/properties", "tests/tables", *(f"tests/unit/{room}" for room in _UNITS)),
    "journal": (*(f"tests/unit/{room}" for room in _UNITS), "tests/crash/journal", "tests/crash/test_asleep.py"),
    "engine": (*(f"tests/unit/{room}" for room in _UNITS), "tests/properties", "tests/crash/test_asleep.py"),
    "agent": ("tests/unit/worker", "tests/unit/client"),
    "worker": ("tests/unit/runtime", "tests/unit/client", "tests/unit/spec"),
}
_STORAGE = "tests/crash/storage"
#: whose failpoints are near
_POINTS = {"worker": "slot", "scheduler": "engine"}


class Found(NamedTuple):
    """Which step found a bug ("": none), by which test, and how many seeds that took, 0 where it drew none."""

    by: str
    test: str = ""
    seeds: int = 0


@dataclass(frozen=True, slots=True)
class Ran:
    """A command: its exit code, what it printed, and whether it had to be ended."""

    code: int
    text: str
    hangs: bool = False


class Copies:
    """Two copies of the package and its tests in a folder: a clean one, and one that bugs are planted in."""

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        self.clean, self.ill = folder / "clean", folder / "ill"
        for copy in (self.clean, self.ill):
            for part in _PARTS:
                source = root / part
                if source.is_dir():
                    shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
                elif source.exists():
                    shutil.copy2(source, copy / part)

    def plant(self, bug: Bug) -> None:
        """Have the bug, and no other, in the second copy.

        Raises:
            BadBug: it cannot be planted.

        """
        self._write(bug.file, planted(bug, (self.clean / bug.file).read_text(encoding="utf-8")))

    def heal(self, bug: Bug) -> None:
        """Take it out again."""
        self._write(bug.file, (self.clean / bug.file).read_text(encoding="utf-8"))

    def imports(self, bug: Bug) -> bool:
        """Whether its module can be imported with it: a crash there is no bug that hides."""
        module = bug.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        rest = "kos_ray.sim.run, kos_ray.runtime.node_agent, kos_ray.worker.slot"
        return run(self.ill, ("-c", f"import {module}, {rest}"), 120).code == 0

    def _write(self, file: str, text: str) -> None:
        path = self.ill / file
        forget_compiled(path)
        path.write_text(text, encoding="utf-8")


def run(folder: Path, arguments: Sequence[str], seconds: float = _STEP_S) -> Ran:
    """Python in one of the copies, in a process group of its own, which is ended with it."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "KOS_RAY_STATES": "400"}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        text, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        text, _ = process.communicate()
        return Ran(1, text, hangs=True)
    finally:
        _end(process)
    return Ran(process.returncode, text)


def _end(process: "subprocess.Popen[str]") -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


# --- the steps


def simulated(folder: Path, seeds: int) -> Found:
    """Step 1: random worlds, one seed after another."""
    ran = run(folder, ("-m", "kos_ray.sim", "--seeds", str(seeds), "--jobs", "1"))
    return said_by_simulation(ran, seeds)


def said_by_simulation(ran: Ran, seeds: int) -> Found:
    """What the simulation's output says."""
    if ran.hangs:
        return Found("simulation", "hangs")
    failed = re.search(r"^seed (\d+): (.*)$", ran.text, re.MULTILINE)
    if failed:
        return Found("simulation", failed[2][:100], int(failed[1]))
    vacuous = re.search(r"^vacuous: (.*)$", ran.text, re.MULTILINE)
    if vacuous:
        return Found("simulation", vacuous[1], seeds)
    return Found("simulation", ran.text.strip().rpartition("\n")[2][:100]) if ran.code else Found("")


def tested(copies: Copies, targets: Sequence[str], step: str) -> Found:
    """Steps 2 and 3: tests until the first that fails; it has to fail twice, and to pass where the bug is not."""
    passed_over: list[str] = []
    while True:
        left_out = [word for test in passed_over for word in ("--deselect", test)]
        ran = run(copies.ill, (*_PYTEST, *targets, *left_out))
        found = said_by_pytest(ran, step)
        if not found.by or ran.hangs or "::" not in found.test:
            return found
        again = run(copies.ill, (*_PYTEST, found.test)).code != 0
        if again and run(copies.clean, (*_PYTEST, found.test)).code == 0:
            return found
        passed_over.append(found.test)  # it was the machine, not the bug


_PYTEST = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--timeout={_TEST_S}", "--timeout-method=thread")


def said_by_pytest(ran: Ran, step: str) -> Found:
    """What pytest's output says."""
    if ran.code in (0, 5):
        return Found("")
    failed = re.search(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", ran.text, re.MULTILINE)
    if failed:
        return Found(step, failed[1])
    if ran.hangs or "Timeout" in ran.text:
        inside = re.findall(r"tests/\S+\.py", ran.text)
        return Found(step, f"hangs in {inside[-1]}" if inside else "hangs")
    return Found(step, "pytest itself ended")


def crashed(copies: Copies, bug: Bug) -> Found:
    """Step 4: real processes killed at the failpoints near it; what fails must fail twice, and not without the bug."""
    points = [word for name, nth in near(bug)[:_DEATHS_MAX] for word in ("--point", f"{name}:{nth}")]
    command = ("-m", "tests.crash", "--jobs", "1", *points)
    ran = run(copies.ill, command)
    if not ran.code or not run(copies.ill, command).code or run(copies.clean, command).code:
        return Found("")
    failed = re.search(r"^failed:\n(\S+)", ran.text, re.MULTILINE)
    return Found("crash", failed[1] if failed else "hangs" if ran.hangs else "it does not get so far")


def near(bug: Bug) -> list[tuple[str, int]]:
    """The deaths at the failpoints of its file; where that has none, those of its room."""
    own = set(re.findall(r'\breach\("([^"]+)"\)', (ROOT / bug.file).read_text(encoding="utf-8")))
    word = _POINTS.get(bug.room, bug.room)
    here = [death for death in deaths() if death[0] in own]
    return here or [death for death in deaths() if death[0].startswith(f"{word}.")]


def climb(copies: Copies, bug: Bug, seeds: int, *, quick: bool = False, tests: Sequence[str] = ()) -> Found:
    """The ladder for one planted bug, until somebody finds it; `quick`: its first two steps; `tests`: these alone."""
    if tests:
        return tested(copies, tests, "power cuts" if _STORAGE in tests else "tests of the room")
    near_by = room_tests(bug)
    rest = [*_FARTHER[bug.room], *(word for test in near_by for word in ("--deselect", test))]
    steps: list[Callable[[], Found]] = [lambda: tested(copies, near_by, "tests of the room")]
    if bug.room in _CORE:
        steps.insert(0, lambda: simulated(copies.ill, seeds))
    if not quick:
        steps += [lambda: tested(copies, rest, "other tests"), lambda: crashed(copies, bug)]
        if bug.room == "journal":
            steps.insert(-1, lambda: tested(copies, (_STORAGE,), "power cuts"))
    return next((found for step in steps if (found := step()).by), Found(""))


def room_tests(bug: Bug) -> list[str]:
    """The tests that are nearest to a bug, those that name its module first."""
    stem = re.compile(rf"\b{re.escape(Path(bug.file).stem)}\b")
    files = [path for folder in _NEAR[bug.room] for path in sorted((ROOT / folder).rglob("test_*.py"))]
    files.sort(key=lambda path: not stem.search(path.read_text(encoding="utf-8")))
    return [path.relative_to(ROOT).as_posix() for path in files]


def timed(copies: Copies, bug: Bug, seeds: int, *, quick: bool, tests: Sequence[str]) -> tuple[Found, float]:
    """Plant it, climb, and take it out again; with the seconds that it took."""
    began = time.monotonic()
    copies.plant(bug)
    try:
        return climb(copies, bug, seeds, quick=quick, tests=tests), time.monotonic() - began
    finally:
        copies.heal(bug)
