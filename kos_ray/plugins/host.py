"""The process of one plug-in: `python -m kos_ray.plugins.host NAME`. Questions come in as lines of JSON.

What the plug-in prints goes to standard error, so that it cannot be taken for an answer. The process ends with its
parent, also while the plug-in hangs.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from kos_ray.model.errors import Refused
from kos_ray.plugins.load import Plugin, load

#: ranks are numbers of this size at most, and are told apart to a thousandth
_RANK_MAX = 10**12
_PARTS = 1_000
_PR_SET_PDEATHSIG = 1


def main(words: list[str]) -> int:
    """Serve one plug-in until standard input ends; with `--check`, only load it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        plugin = load(words[-1])
    except Refused as refused:
        _say(answers, {"failed": str(refused)})
        return 1
    _say(answers, {"up": True})
    if "--check" in words:
        return 0
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if "cancel" in question:
                for id_ in question["cancel"]:
                    plugin.cancel(id_)
                continue
            answer = answered(plugin, question)
        except Exception as error:  # noqa: BLE001 - it is anybody's code
            _say(answers, {"failed": f"it raised {type(error).__name__}: {error}"})
            return 1
        _say(answers, answer)
    return 0


def answered(plugin: Plugin, question: Mapping[str, Any]) -> dict[str, Any]:
    """A plug-in's answer: the ranks, in thousandths, of those tasks that it has a say about.

    Raises:
        Exception: whatever its code raises; TypeError where a rank is none, or their number is wrong.

    """
    tasks = question["tasks"]
    found = plugin.rank(tasks, question["cluster"])
    if len(found) != len(tasks):
        raise TypeError(f"expected {len(tasks)} ranks, one for each task, found {len(found)}")
    ranked = [
        (key, _checked(rank, task))
        for key, task, rank in zip(question["keys"], tasks, found, strict=True)
        if rank is not None
    ]
    return {"number": question["number"], "keys": [key for key, _ in ranked], "ranks": [rank for _, rank in ranked]}


def _checked(rank: object, task: Mapping[str, Any]) -> int:
    if isinstance(rank, bool) or not isinstance(rank, int | float) or not abs(rank) <= _RANK_MAX:
        raise TypeError(
            f"expected of schedule() a number of at most {_RANK_MAX} (the lowest goes first) or None, "
            f"found {rank!r} for the task {task['id']}"
        )
    return round(rank * _PARTS)


def _say(answers: TextIO, what: dict[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
