"""An agent that does as a file says: one of its hooks is broken for so many times, in one of three ways."""

import json
import os
import time
from pathlib import Path
from typing import Any


class Frail:
    """Counts; has every hook that there is."""

    def __init__(self, plan: str, start: int = 0) -> None:
        self.plan = plan
        self.count = start
        self._may("__init__")

    def _may(self, hook: str) -> None:
        """Break, if this hook is to break now."""
        file = Path(self.plan)
        told = json.loads(file.read_text())
        if told["hook"] != hook or not told["times"]:
            return
        partial = file.with_suffix(".part")
        partial.write_text(json.dumps(told | {"times": told["times"] - 1}))
        partial.replace(file)
        if told["how"] == "raises":
            raise ValueError("no")
        if told["how"] == "dies":
            os._exit(1)
        time.sleep(1_000)

    def add(self, number: int) -> int:
        self.count += number
        return self.count

    def pid(self) -> int:
        return os.getpid()

    def stay(self, file: str) -> None:
        """Run until a file is there."""
        Path(f"{file}.begun").touch()
        while not Path(file).exists():
            time.sleep(0.005)

    def snapshot(self) -> Any:
        self._may("snapshot")
        return self.count

    def restore(self, state: Any) -> None:
        self._may("restore")
        self.count = state

    def pre_start(self) -> None:
        self._may("pre_start")

    def post_start(self) -> None:
        self._may("post_start")

    def on_resume(self) -> None:
        self._may("on_resume")

    def on_suspend(self) -> None:
        self._may("on_suspend")

    def on_shutdown(self) -> None:
        self._may("on_shutdown")


def _load() -> type:
    """What a module does that never comes to its end."""
    time.sleep(1_000)
    return Frail


class Stuck:
    """In the place of a class: its code does not come up."""

    def __reduce__(self) -> Any:
        return _load, ()
