"""Repeat rules of others, asked in a process of their own, which is killed when it takes too long.

    python:module:function      a callable `next(after)`, which every process of the scheduler's machine can import
    plugin:NAME [WORD...]       a class found by an entry point of `kos_ray.repeat_rules`, made with these words, which
                                has the method `next`

Both get an instant (a datetime, UTC) and give the first one behind it that they want, or None where there is none.
`python -m kos_ray.plugins.rules` answers one question, a line of JSON on standard input, and ends.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from kos_ray.model.errors import Refused
from kos_ray.model.schedule import Foreseen

ENTRY_POINTS = "kos_ray.repeat_rules"
#: seconds that one answer may take, with the start of the process
ANSWER_S = 10.0
#: instants of an answer behind those that are over, and at most
AHEAD = 16
_ANSWER_MAX = 10_000
_SAID_MAX = 300
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Next = Callable[[datetime], datetime | None]


class Fibonacci:
    """A sample: behind a beginning, pauses of 1, 1, 2, 3, 5, ... times `unit_s`.

    Its entry point stands in `pyproject.toml`, as those of others do:

        [project.entry-points."kos_ray.repeat_rules"]
        fibonacci = "kos_ray.plugins.rules:Fibonacci"
    """

    def __init__(self, begin: str, unit_s: str = "60") -> None:
        self._begin = datetime.fromisoformat(begin)
        self._unit = timedelta(seconds=float(unit_s))

    def next(self, after: datetime) -> datetime | None:
        """The first of its instants behind one."""
        at, (pause, following) = self._begin, (1, 1)
        while at <= after:
            at += pause * self._unit
            pause, following = following, pause + following
        return at


class Rules:
    """The engine's port to such rules: threads wait for processes. `hand_over` as of plug-ins."""

    def __init__(self, hand_over: Callable[[Callable[[], None]], object]) -> None:
        self._hand_over = hand_over
        self._answer: Callable[[Foreseen], None] = lambda _: None
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="kos-rules")

    def listen(self, answer: Callable[[Foreseen], None]) -> None:
        """Where answers go to."""
        self._answer = answer

    def ask(self, key: str, rule: str, after_us: int, until_us: int) -> None:
        """See `engine.ports.Rules`."""
        self._threads.submit(self._asked, key, rule, after_us, until_us)

    def _asked(self, key: str, rule: str, after_us: int, until_us: int) -> None:
        instants, failed = foresee(rule, after_us, until_us)
        found = Foreseen(key=key, rule=rule, after_us=after_us, instants=instants, failed=failed)
        self._hand_over(lambda: self._answer(found))

    def end(self) -> None:
        """The scheduler ends."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def foresee(rule: str, after_us: int, until_us: int) -> tuple[tuple[int, ...], str]:
    """A rule's instants behind one, some of them behind `until_us` where there are so many; or what went wrong."""
    question = json.dumps({"rule": rule, "after_us": after_us, "until_us": until_us})
    command = [sys.executable, "-m", "kos_ray.plugins.rules"]
    try:
        done = subprocess.run(command, input=question, capture_output=True, text=True, timeout=ANSWER_S, check=False)
    except subprocess.TimeoutExpired:
        return (), f"it did not answer within {ANSWER_S:g} s"
    try:
        said: dict[str, Any] = json.loads(done.stdout.rpartition("\n")[2])
        return tuple(said["instants"]), said["failed"]
    except (ValueError, KeyError, TypeError):
        return (), f"its process ended with exit code {done.returncode}: {done.stderr.strip()[-_SAID_MAX:]}"


def load_rule(text: str) -> Next:
    """The callable of a rule.

    Raises:
        Refused: it is not installed, or cannot be imported or made.

    """
    kind, _, name = text.partition(":")
    try:
        if kind == "python":
            module, _, function = name.partition(":")
            found: Next = getattr(import_module(module), function)
        else:
            word, *words = name.split()
            found = _entry(word).load()(*words).next
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 - it is anybody's code
        raise Refused(f"{text} cannot be loaded: {type(error).__name__}: {error}") from None
    return found


def _entry(name: str) -> EntryPoint:
    known = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in known:
        words = ", ".join(sorted(known)) or "none"
        raise Refused(f"expected the name of an entry point of {ENTRY_POINTS}, found {name!r}; installed: {words}")
    return known[name]


def answered(question: dict[str, Any]) -> dict[str, Any]:
    """Instants that the rule of a question names, or what is wrong with it."""
    try:
        instants = _named(load_rule(question["rule"]), question["after_us"], question["until_us"])
    except Refused as refused:
        return {"instants": [], "failed": str(refused)}
    except Exception as error:  # noqa: BLE001 - it is anybody's code
        return {"instants": [], "failed": f"it raised {error!r}"}
    return {"instants": instants, "failed": ""}


def _named(following: Next, after_us: int, until_us: int) -> list[int]:
    instants: list[int] = []
    while len(instants) < _ANSWER_MAX and not (len(instants) >= AHEAD and instants[-AHEAD] > until_us):
        at = following(_EPOCH + timedelta(microseconds=after_us))
        if at is None:
            break
        at_us = round(((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) / timedelta(microseconds=1))
        if at_us <= after_us:
            raise Refused(f"expected an instant behind {_EPOCH + timedelta(microseconds=after_us)}, found {at}")
        instants.append(at_us)
        after_us = at_us
    return instants


if __name__ == "__main__":
    found_ = answered(json.loads(sys.stdin.readline()))
    print("\n" + json.dumps(found_), end="")
