"""Event sources of others: classes that are found by an entry point and run in the process of `kos event plugin`."""

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from kos_ray.intake import Emit
from kos_ray.model.errors import Refused

ENTRY_POINTS = "kos_ray.event_sources"

#: a source's `run`: it tells events until it has no more
Run = Callable[[Emit], Any]


def load_source(name: str, words: Sequence[str]) -> Run:
    """The method `run` of a source of that name, made with these words.

    Raises:
        Refused: none is installed, it cannot be imported or made, or it has no `run`.

    """
    known = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in known:
        installed = ", ".join(sorted(known)) or "none"
        raise Refused(f"expected the name of an entry point of {ENTRY_POINTS}, found {name!r}; installed: {installed}")
    try:
        found = known[name].load()(*words)
    except Exception as error:  # noqa: BLE001 - it is anybody's code
        raise Refused(f"{known[name].value} cannot be made: {type(error).__name__}: {error}") from None
    run: Run | None = getattr(found, "run", None)
    if run is None:
        raise Refused(f"expected a class with the method run, found {known[name].value} without it")
    return run


class Lines:
    """A sample: each line of a file, or of what a program writes into a pipe, is an event.

    Its entry point stands in `pyproject.toml`, as those of others do:

        [project.entry-points."kos_ray.event_sources"]
        lines = "kos_ray.intake.plugins:Lines"
    """

    def __init__(self, path: str, name: str = "line") -> None:
        self._path = path
        self._name = name

    def run(self, emit: Emit) -> None:
        """Tell each line once: its number and its text are its id."""
        for number, text in self._lines():
            emit(self._name, {"number": number, "text": text}, id=f"{self._path}:{number}:{text}"[:500], source="lines")

    def _lines(self) -> Iterator[tuple[int, str]]:
        with Path(self._path).open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.rstrip("\n")
