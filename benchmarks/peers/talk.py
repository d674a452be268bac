"""The two ends of the pipe between the driver and the process that drives one system: a word in, a line of JSON out."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

#: seconds that a map, or all trips, may take
_ANSWER_S = 600
_ROOT = Path(__file__).parents[2]


def no_op(item: int) -> tuple[int, int]:
    """The job: its result proves which item it was, and that another process ran it."""
    return item, os.getpid()


def check(results: Iterable[Any], count: int) -> None:
    """Every item once, and none by this process.

    Raises:
        ValueError: something else came.

    """
    found = [tuple(one) for one in results]
    if sorted(item for item, _ in found) != list(range(count)):
        raise ValueError(f"expected the items 0 to {count - 1} once each, found {len(found)} results")
    if os.getpid() in {pid for _, pid in found}:
        raise ValueError("expected other processes to run the jobs, found this one")


def serve(
    version: str,
    run_map: Callable[[int], Iterable[Any] | None],
    trip: Callable[[int], Any],
    warm: Callable[[], None] | None = None,
) -> None:
    """Answer the driver until it closes the pipe.

    `run_map(n)` runs n jobs and gives their results, None where the system hands back none; `trip(item)` runs one and
    waits for it. `warm` starts processes where a system ends idle ones. Answers are seconds.
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the system itself prints is not for the driver
    _say(out, version)
    for line in sys.stdin:
        what, count = line.split()
        if warm is not None:
            warm()
        start = time.perf_counter()
        if what == "map":
            results = run_map(int(count))
            took: Any = time.perf_counter() - start
            if results is not None:
                check(results, int(count))
        else:
            took = []
            for item in range(int(count)):
                start = time.perf_counter()
                trip(item)
                took.append(time.perf_counter() - start)
        _say(out, took)


def _say(out: Any, answer: Any) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


class Peer:
    """A process that drives one system."""

    def __init__(self, python: Path, module: str, folder: Path) -> None:
        self._errors = (folder / f"{module.rpartition('.')[2]}.log").open("wb")
        self._process = subprocess.Popen(
            [str(python), "-m", module, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            # some start programs that stand beside their Python, and these look for our function
            env={**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(_ROOT)},
        )
        self.version = str(self._answer())

    def map_rate(self, count: int) -> float:
        """Jobs a second of so many, first submit to last result."""
        return float(count / self._ask("map", count))

    def trips_ms(self, count: int) -> list[float]:
        """How long one job takes, submit to result, one after another."""
        return [seconds * 1e3 for seconds in self._ask("trips", count)]

    def close(self) -> None:
        """End it and what it has started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._errors.close()

    def _ask(self, what: str, count: int) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what} {count}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        while True:
            readable, _, _ = select.select([self._process.stdout], [], [], _ANSWER_S)
            if not readable:
                raise RuntimeError(f"no answer within {_ANSWER_S} s{self._last_words()}")
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"it ended{self._last_words()}")
            with suppress(json.JSONDecodeError):  # some have something of their own to say there
                return json.loads(line)

    def _last_words(self) -> str:
        self._errors.flush()
        return ": " + Path(self._errors.name).read_text(errors="replace")[-500:]


def state_folder() -> Path:
    """Where this process may keep what its system stores."""
    return Path(sys.argv[1])


def ended(process: "subprocess.Popen[bytes]") -> None:
    """End a process that was started here."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
