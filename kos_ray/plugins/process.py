"""The engine's port to plug-ins: a process for each, and a thread that talks to it.

A thread may block on a plug-in that hangs; the engine never does. It ends the process when an answer is overdue, and
that frees the thread.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from kos_ray.model.ids import JobKey
from kos_ray.model.plugins import Advice, Question
from kos_ray.plugins.load import orders_graphs
from kos_ray.plugins.rules import Rules

#: bytes of one answer
_ANSWER_MAX = 1 << 20
_CHECK_S = 15.0
_HOST = "kos_ray.plugins.host"


def check(name: str) -> str:
    """Why a plug-in cannot be used, "" where it can: it is loaded once, in a process of its own."""
    command = [sys.executable, "-m", _HOST, "--check", name]
    try:
        ended = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_CHECK_S, check=False)
    except subprocess.TimeoutExpired:
        return f"it was not loaded within {_CHECK_S:g} s"
    said = _parsed(ended.stdout.partition(b"\n")[0])
    if "up" in said:
        return ""
    return str(said.get("failed") or f"its process ended with exit code {ended.returncode}")


class PluginProcesses:
    """See `engine.ports.Plugins`. `hand_over` calls what it is given where the engine lives."""

    def __init__(self, hand_over: Callable[[Callable[[], None]], object]) -> None:
        self._hand_over = hand_over
        self._answer: Callable[[Advice], None] = lambda _: None
        self._running: dict[str, _Conversation] = {}
        #: beside them: repeat rules, see `engine.ports.Rules`
        self.rules = Rules(hand_over)

    def listen(self, answer: Callable[[Advice], None]) -> None:
        """See the port."""
        self._answer = answer

    def ask(self, plugin: str, question: Question) -> None:
        """See the port."""
        self._conversation(plugin).say(question.plain())

    def orders_graphs(self, plugin: str) -> bool:
        """See the port."""
        return orders_graphs(plugin)

    def cancel(self, plugin: str, ids: tuple[str, ...]) -> None:
        """See the port."""
        self._conversation(plugin).say({"cancel": ids})

    def end(self, plugin: str) -> None:
        """See the port."""
        conversation = self._running.pop(plugin, None)
        if conversation is not None:
            conversation.end()

    def end_all(self) -> None:
        """The scheduler ends."""
        for plugin in list(self._running):
            self.end(plugin)
        self.rules.end()

    def _conversation(self, plugin: str) -> "_Conversation":
        found = self._running.get(plugin)
        if found is None:
            found = self._running[plugin] = _Conversation(plugin, self._deliver)
        return found

    def _deliver(self, advice: Advice) -> None:
        self._hand_over(lambda: self._answer(advice))


class _Conversation:
    """One plug-in's process, from its start to its end."""

    def __init__(self, plugin: str, deliver: Callable[[Advice], None]) -> None:
        self._plugin = plugin
        self._deliver = deliver
        self._ended = False
        #: what is to be said; None ends it
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", _HOST, plugin],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        threading.Thread(target=self._talk, name=f"plugin-{plugin}", daemon=True).start()

    def say(self, what: dict[str, Any]) -> None:
        """Put a line behind those that are still to be said."""
        self._lines.put(what)

    def end(self) -> None:
        """Kill the process with all that it started; its thread collects it."""
        self._ended = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._lines.put(None)

    def _talk(self) -> None:
        try:
            if self._heard(self._read()):
                while (what := self._lines.get()) is not None:
                    self._write(what)
                    if "cancel" not in what and not self._heard(self._read()):
                        break
        except OSError:
            self._failed("")
        finally:
            self.end()
            self._process.wait()

    def _write(self, what: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        self._process.stdin.flush()

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline(_ANSWER_MAX)

    def _heard(self, line: bytes) -> bool:
        """Deliver an answer; False: it was the last one."""
        said = _parsed(line)
        if "up" in said:
            self._tell(Advice(plugin=self._plugin))
            return True
        advice = _advice(self._plugin, said)
        if advice is None:
            self._failed(str(said.get("failed", "")) or ("its answer makes no sense" if line else ""))
            return False
        self._tell(advice)
        return True

    def _failed(self, why: str) -> None:
        if not why and not self._ended:
            why = f"its process ended with exit code {self._process.wait()}"
        self._tell(Advice(plugin=self._plugin, failed=why or "it was ended"))

    def _tell(self, advice: Advice) -> None:
        if not self._ended:
            self._deliver(advice)


def _advice(plugin: str, said: dict[str, Any]) -> Advice | None:
    """An answer, None where it has not the form of one."""
    number, keys, ranks = said.get("number"), said.get("keys"), said.get("ranks")
    if not isinstance(number, int) or not _integers(keys) or not _integers(ranks):
        return None
    return Advice(plugin=plugin, number=number, keys=tuple(map(JobKey, keys or ())), ranks=tuple(ranks or ()))


def _integers(found: object) -> bool:
    return isinstance(found, list) and all(type(item) is int for item in found)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
