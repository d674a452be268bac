"""Planted bugs: as files name them, and in a source."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
HAND, DRAWN = HERE / "bugs.yaml", HERE / "drawn.yaml"


class BadBug(ValueError):
    """A bug that cannot be planted; the message names it, and says why."""


@dataclass(frozen=True, slots=True)
class Bug:
    """Instead of `old`, which stands once in `file` (below the root of the repository), there is `new`."""

    name: str
    file: str
    breaks: str
    old: str
    new: str

    @property
    def digest(self) -> str:
        """What it is known by in the record: another text is another bug."""
        return hashlib.sha256(f"{self.file}\0{self.old}\0{self.new}".encode()).hexdigest()[:12]

    @property
    def room(self) -> str:
        """The room of its file; a node agent's parts are `agent`, wherever they stand."""
        return (
            "agent"
            if "agent" in self.file.removeprefix("kos_ray/runtime/") and "runtime" in self.file
            else (self.file.split("/")[1])
        )


def load(path: Path) -> list[Bug]:
    """The bugs of a file.

    Raises:
        BadBug: a field is missing or not known, or a name stands twice.

    """
    found: list[Bug] = []
    for number, plain in enumerate(yaml.safe_load(path.read_text(encoding="utf-8")) or [], start=1):
        fields = set(Bug.__slots__)
        if not isinstance(plain, dict) or set(plain) != fields:
            raise BadBug(f"{path.name}: bug {number}: expected the fields {sorted(fields)}, found {plain!r}")
        found.append(Bug(**plain))
    names = [bug.name for bug in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadBug(f"{path.name}: expected every name once, found {twice} twice")
    return found


def dump(bugs: list[Bug], heading: str) -> str:
    """The text of a file of bugs."""
    lines = [f"# {line}" for line in heading.splitlines()]
    return "\n".join([*lines, yaml.safe_dump([asdict(bug) for bug in bugs], sort_keys=False, width=110)])


def planted(bug: Bug, source: str) -> str:
    """The source with the bug in it.

    Raises:
        BadBug: what it replaces does not stand there exactly once, or the result is no Python.

    """
    count = source.count(bug.old)
    if count != 1:
        raise BadBug(f"{bug.name}: expected its old text once in {bug.file}, found it {count} times: {bug.old!r}")
    changed = source.replace(bug.old, bug.new)
    try:
        compile(changed, bug.file, "exec")
    except SyntaxError as error:
        raise BadBug(f"{bug.name}: {bug.file}:{error.lineno} is no Python with it: {error.msg}") from None
    return changed


def forget_compiled(path: Path) -> None:
    """A source that is changed twice in a second, and keeps its size, would be taken for the one compiled before."""
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()


def plain(bug: Bug) -> dict[str, Any]:
    """What the record says of a bug."""
    return {"name": bug.name, "file": bug.file, "breaks": bug.breaks, "digest": bug.digest}
