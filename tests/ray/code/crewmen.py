"""Agents of the tests that share a role."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import kos_ray as kos
from kos_ray import effects


@kos.agent(resources={"cpu": 0.1}, roles=("clerk",), snapshot_every=1)
class Clerk:
    """Files papers, but for those that it does not take."""

    def __init__(self, name: str, declines: str = "") -> None:
        self.name = name
        self.declines = declines
        self.filed = 0
        #: where a letter came from
        self.folder = ""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"folder": _Saved(self.folder, self.name)}

    def file(self, paper: str = "") -> tuple[str, int]:
        if self.declines:
            raise kos.Decline(self.declines, f"not {paper or 'this'}")
        self.filed += 1
        return self.name, self.filed

    def hold(self, seconds: float) -> tuple[str, int]:
        time.sleep(seconds)
        return self.name, os.getpid()

    def forward(self, paper: str) -> list[str]:
        found = kos.context().role("helper").file(paper)
        return [self.name, found[0]]

    def who(self) -> tuple[str, int]:
        return self.name, os.getpid()

    def post(self, folder: str) -> tuple[str, int]:
        """Put a letter into a database, and say in files of its own how far it is: it goes on when it is let.

        It says that it has begun, tries its effect, says whether it was taken or refused, and returns.
        """
        self.folder, own = folder, Path(folder) / self.name
        own.with_suffix(".begun").touch()
        _wait_for(own.with_suffix(".try"))
        fence = kos.context().fence
        try:
            with closing(sqlite3.connect(Path(folder) / "letters.db")) as letters, effects.sql(letters):
                letters.execute("CREATE TABLE IF NOT EXISTS letters (clerk TEXT, fence INTEGER)")
                letters.execute("INSERT INTO letters VALUES (?, ?)", (self.name, fence))
            said = "taken"
        except effects.StaleFence as error:
            said = f"refused: {error}"
        self.filed += 1
        own.with_suffix(".said").write_text(said)
        _wait_for(own.with_suffix(".end"))
        return self.name, fence


class _Saved:
    """A folder, in which it is told when it is saved."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder = folder
        self.name = name

    def __reduce__(self) -> Any:
        if self.folder:
            (Path(self.folder) / f"{self.name}.saved").touch()
        return str, (self.folder,)


def _wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.01)
