"""The tour of README.md, word for word: its files are written, its commands typed, and the answers are those it shows.

`python -m tests.acceptance.test_tour` writes the answers into README.md anew.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
SECTION = re.compile(r"^## Five minutes\n(.*?)(?=^## )", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: a file's block begins with a comment that is its name
FILE = re.compile(r"# ([\w-]+\.(?:py|yaml))\n")
#: how the tour shows the home of whoever takes it
HOME = "~"

pytestmark = pytest.mark.ray


@dataclass(frozen=True)
class Rule:
    """Something that is another one each time, and why."""

    why: str
    pattern: str
    instead: str


RULES = (
    Rule("how far a command saw it get is a matter of time", r"(?m)^\d+/\d+ ended: .*\n", ""),
    Rule("jobs and arrays get new ids", r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b", "JOB-ID"),
    Rule("so do clusters", r"\b[0-9a-f]{32}\b", "CLUSTER-ID"),
    Rule("and nodes, which are shown whole or in short", r"\b(?:[0-9a-f]{56}|[0-9a-f]{12})\b", "NODE-ID"),
    Rule("machines have names", r"\S+ \(head\)", "HOST (head)"),
    Rule("and addresses; ports are drawn", r"\b\d+\.\d+\.\d+\.\d+:\d+\b", "ADDRESS"),
    Rule("times of day", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?: UTC)?", "MOMENT"),
    Rule("processes have numbers", r"\bprocess \d+", "process PID"),
    Rule("processes have numbers", r"(?<=NODE-ID  )\d+(?= +MOMENT)", "PID"),
    Rule("how long things last", r"\b\d+(?:\.\d+)? (?:µs|ms|s|m|min|h)\b(?: \d+ (?:s|m|min)\b)?", "TIME"),
    Rule("what follows from it", r"\d+\.\d+ (times|jobs at once)", r"N \1"),
    Rule("what follows from it", r"\d+% of its CPUs", "N% of its CPUs"),
    Rule("which of equal jobs took longest", r"(?m)^\* ", "  "),
    Rule("which of equal jobs took longest", r"→ report/count\.\d", "→ report/count.N"),
    Rule("which of equal jobs started first", r"(?m)^ +report/count\.\d", " report/count.N"),
    Rule("memory, and files that grow in pages", r"\d+(?:\.\d+)? [KMGT]?i?B\b", "SIZE"),
    Rule("what fell into one commit is a matter of time", r"frames +\d+, up to event \d+", "frames N, up to event N"),
    Rule("what fell into one commit is a matter of time", r"event \d+, epoch", "event N, epoch"),
    Rule("columns are as wide as what stands in them", r"(?m)(?<=\S) {2,}(?=\S)| +$", " "),
    Rule("columns are as wide as what stands in them", r"(?m)^ +", " "),
)


def plain(text: str) -> str:
    """What is the same each time."""
    for rule in RULES:
        text = re.sub(rule.pattern, rule.instead, text)
    return re.sub(r"(?m) +$", "", text)


class Visitor:
    """Somebody with a home, an empty folder and nothing else."""

    def __init__(self, place: Path) -> None:
        self.home, self.folder = place / "home", place / "tour"
        self.home.mkdir()
        self.folder.mkdir()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {name: os.environ[name] for name in ("PYTHONPATH", "LANG") if name in os.environ}
        self._env = {**kept, "PATH": path, "HOME": str(self.home)}

    def write(self, block: str) -> None:
        """Save a file of the tour."""
        named = FILE.match(block)
        assert named, f"the tour's files begin with a comment that is their name, this one does not:\n{block}"
        (self.folder / named[1]).write_text(block)

    def type(self, command: str) -> str:
        """What a terminal shows for a command."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout.replace(str(self.home), HOME)


def take(text: str, visitor: Visitor) -> str:
    """The tour with the answers that this visitor got."""

    def visit(block: re.Match[str]) -> str:
        kind, content = block.groups()
        if kind != "console":
            visitor.write(content)
            return block[0]
        commands = re.findall(r"^\$ (.*)$", content, re.MULTILINE)
        return "".join(["```console\n", *(f"$ {command}\n{visitor.type(command)}" for command in commands), "```"])

    return BLOCK.sub(visit, text)


def section() -> str:
    """The tour in README.md."""
    found = SECTION.search(README.read_text(encoding="utf-8"))
    assert found, "README.md has no tour"
    return found[1]


def travel(then: Callable[[str], None], place: Path) -> None:
    """Take the tour; whatever happens, no cluster stays."""
    visitor = Visitor(place)
    try:
        then(take(section(), visitor))
    finally:
        visitor.type("kos down")


def test_the_tour_is_as_it_is_told(tmp_path: Path) -> None:
    def compare(seen: str) -> None:
        told = section()
        difference = unified_diff(plain(told).splitlines(), plain(seen).splitlines(), "README.md", "seen", lineterm="")
        assert plain(told) == plain(seen), "\n".join(difference)

    assert {"up", "submit", "ls", "get", "logs", "result", "graph", "run", "cancel", "down"} <= set(
        re.findall(r"\bkos (\w+)", section())
    ), "the tour leaves something out"
    travel(compare, tmp_path)


def main() -> None:
    """Write what is seen today into README.md."""

    def write(seen: str) -> None:
        text = README.read_text(encoding="utf-8")
        seen = re.sub(RULES[0].pattern, "", seen)
        README.write_text(text.replace(section(), seen), encoding="utf-8")

    with tempfile.TemporaryDirectory() as place:
        travel(write, Path(place))


if __name__ == "__main__":
    main()
