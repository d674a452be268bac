"""A mutation tool: small changes of the syntax tree, at places that are drawn by a seed.

The operators are the usual ones of mutation testing (comparison, condition, boolean and arithmetic operators, constants
by one, arguments swapped, statements dropped, loops left early). Places are inside functions: a constant of a module is
a setting. What nobody's promise depends on is left out: docstrings, assertions (for the type checker), texts of errors
and for people, failpoints, what raises, `__repr__` and such.
"""

import ast
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.seeding.bugs import BadBug, Bug, planted

#: from where as many are drawn each
ROOMS: dict[str, tuple[str, ...]] = {
    "scheduler": ("kos_ray/scheduler/*.py",),
    "journal": ("kos_ray/journal/*.py",),
    "engine": ("kos_ray/engine/*.py",),
    "agent": ("kos_ray/runtime/agent/*.py", "kos_ray/runtime/node_agent.py"),
    "worker": ("kos_ray/worker/*.py",),
}

_OTHER: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "-", ast.Sub: "+", ast.Mult: "//", ast.FloorDiv: "*"}
#: calls that nothing depends on
_SAID = frozenset({"reach", "print", "warn", "warning", "info", "debug", "error", "exception", "log"})
#: functions that are for people, or for other tools
_FOR_PEOPLE = frozenset({"__repr__", "__str__", "__hash__", "story", "_stories", "_story"})


_LEFT_OUT = (ast.Assert, ast.Raise, ast.JoinedStr, ast.arguments, ast.FunctionDef, ast.AsyncFunctionDef)


class Site(NamedTuple):
    """One change that could be made: the text from `start` to `end` (places in the source) becomes `new`."""

    start: int
    end: int
    new: str
    what: str


class _Source:
    """A source, and where its nodes stand in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._lines = [0]
        for line in text.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    def start(self, node: ast.AST) -> int:
        return self._at(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        return self._at(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def of(self, node: ast.AST) -> str:
        return self.text[self.start(node) : self.end(node)]

    def _at(self, line: int, column: int) -> int:
        begin = self._lines[line - 1]
        text = self.text[begin : self._lines[line]].encode()
        return begin + len(text[:column].decode())


def sites(text: str) -> list[Site]:
    """All changes that could be made to a source, in the order of their places."""
    source = _Source(text)
    found = [
        site
        for function in ast.walk(ast.parse(text))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name not in _FOR_PEOPLE
        for statement in function.body
        for node in _within(statement)
        for site in _of(source, node)
    ]
    return sorted(set(found))


def _within(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is below it, without what is left out."""
    if isinstance(
        node, ast.Assert | ast.Raise | ast.JoinedStr | ast.arguments | ast.FunctionDef | ast.AsyncFunctionDef
    ):
        return
    if isinstance(node, ast.Expr) and (isinstance(node.value, ast.Constant) or _said(node.value)):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.AnnAssign) and child is node.annotation):
            yield from _within(child)


def _said(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    return name in _SAID


def _of(source: _Source, node: ast.AST) -> Iterator[Site]:
    """What could be changed at one node."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield from _between(source, node.left, node.comparators[0], _OTHER[type(node.ops[0])], "comparison")
    elif isinstance(node, ast.BoolOp):
        other = "or" if isinstance(node.op, ast.And) else "and"
        yield from _between(source, node.values[0], node.values[1], other, "boolean operator")
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        yield from _between(source, node.left, node.right, _ARITHMETIC[type(node.op)], "arithmetic operator")
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        place = source.start(node.test), source.end(node.test)
        yield Site(*place, f"not ({source.of(node.test)})", "condition negated")
    elif isinstance(node, ast.Constant):
        yield from _constant(source, node)
    elif isinstance(node, ast.Call):
        yield from _swapped(source, node)
    elif isinstance(node, ast.stmt):
        yield from _statement(source, node)


def _swapped(source: _Source, node: ast.Call) -> Iterator[Site]:
    if len(node.args) < 2 or any(isinstance(argument, ast.Starred) for argument in node.args):
        return
    first, second = node.args[:2]
    if source.of(first) != source.of(second):
        between = source.text[source.end(first) : source.start(second)]
        new = source.of(second) + between + source.of(first)
        yield Site(source.start(first), source.end(second), new, "arguments swapped")


def _statement(source: _Source, node: ast.stmt) -> Iterator[Site]:
    place = source.start(node), source.end(node)
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if called or isinstance(node, ast.Assign | ast.AugAssign):
        yield Site(*place, "pass", "statement dropped")
    elif isinstance(node, ast.Continue | ast.Break):
        yield Site(*place, "break" if isinstance(node, ast.Continue) else "continue", "loop left otherwise")
    elif isinstance(node, ast.Return) and node.value is None:
        yield Site(*place, "pass", "early return dropped")


def _between(source: _Source, left: ast.expr, right: ast.expr, new: str, what: str) -> Iterator[Site]:
    """Another operator between two operands; where brackets or comments stand between, none."""
    start, end = source.end(left), source.start(right)
    if not set("()#\n") & set(source.text[start:end]):
        yield Site(start, end, f" {new} ", what)


def _constant(source: _Source, node: ast.Constant) -> Iterator[Site]:
    place = source.start(node), source.end(node)
    if isinstance(node.value, bool):
        yield Site(*place, str(not node.value), "constant turned")
    elif isinstance(node.value, int):
        yield Site(*place, str(node.value + 1), "constant by one")
        if node.value > 0:
            yield Site(*place, str(node.value - 1), "constant by one")


def draw(root: Path, count: int, seed: int, *, avoid: frozenset[str] = frozenset()) -> Iterator[Bug]:
    """So many bugs, from each room in turn; the same ones for the same sources and seed.

    One that is no Python is drawn again, as is one whose digest is in `avoid`.
    """
    chance = random.Random(seed)
    rooms = {
        room: [
            (path, site)
            for pattern in patterns
            for path in sorted(root.glob(pattern))
            for site in sites(path.read_text(encoding="utf-8"))
        ]
        for room, patterns in ROOMS.items()
    }
    taken: set[str] = set(avoid)
    number = 0
    while number < count:
        places = rooms[list(ROOMS)[number % len(ROOMS)]]
        path, site = places[chance.randrange(len(places))]
        bug = _as_bug(path, root, site, number + 1)
        try:
            planted(bug, path.read_text(encoding="utf-8"))
        except BadBug:
            continue
        if bug.digest not in taken:
            taken.add(bug.digest)
            number += 1
            yield bug


def _as_bug(path: Path, root: Path, site: Site, number: int) -> Bug:
    """With as many whole lines around it as make its old text the only one."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    first, last = text.count("\n", 0, site.start), text.count("\n", 0, site.end)
    line = first + 1
    while True:
        begin, end = sum(map(len, lines[:first])), sum(map(len, lines[: last + 1]))
        old = text[begin:end]
        if text.count(old) == 1 or (first == 0 and last == len(lines) - 1):
            break
        first, last = max(0, first - 1), min(len(lines) - 1, last + 1)
    new = text[begin : site.start] + site.new + text[site.end : end]
    was = " ".join(text[site.start : site.end].split())
    return Bug(
        name=f"drawn_{number:02}_{path.stem}_{line}",
        file=path.relative_to(root).as_posix(),
        breaks=f"line {line}, {site.what}: `{was[:60]}` is `{' '.join(site.new.split())[:60]}`",
        old=old,
        new=new,
    )
