"""Every identifier of the documents that kos_ray was asked for: does it act, is it refused, when will it come?

`spec_names.yaml` has a row for each, and this test finds the identifiers in copies of the documents: all words of code
blocks, code in running text, first cells of tables, and what bullets begin with. Words that name nothing (of languages,
sample values, prose in drawings) are listed as such, so that nothing can be left out without somebody writing it down.

A row says `acts` (with the test that proves it), `mapped` (to what is called otherwise here, with its test), `refused`
(with the message that the code gives, and its test), or `later` (with the room that it belongs to, which
ARCHITECTURE.md knows).
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from kos_ray.model.errors import InvalidSpec
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import lower
from kos_ray.spec.settings import Settings, load_settings

HERE = Path(__file__).parent
TOP = HERE.parents[1]
NAMES: dict[str, Any] = yaml.safe_load((HERE / "spec_names.yaml").read_text(encoding="utf-8"))
DOCUMENTS = {path.name[:3]: path.read_text(encoding="utf-8") for path in sorted((HERE / "documents").glob("*.txt"))}
KINDS = {"acts", "mapped", "refused", "later"}
ROWS = [(number, name, row) for number, names in NAMES["documents"].items() for name, row in names.items()]

#: documents beside the examples, for what those do not ask for
MORE = [
    "{type: testing, scope: local, status: active}",
    "{type: testing, scope: local, execution: {assignedTo: worker-1}}",
]

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[-.][A-Za-z_][A-Za-z0-9_]*)*")
_COMMENT = re.compile(r"(?:^|(?<=\s))(?://|#).*$", re.MULTILINE)
_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_ROW = re.compile(r"^\|\s*([^|\n]+?)\s*\|", re.MULTILINE)
_BULLET = re.compile(r"^\s*- (?:\*\*(?P<bold>[^*]+?):?\*\*|(?P<plain>[^\n:*`]+?):|(?P<name>\w+_\w+)$)", re.MULTILINE)


def identifiers(text: str) -> set[str]:
    """What a document names: words of code, and texts that stand where names stand."""
    blocks = _FENCE.findall(text)
    prose = _FENCE.sub("", text)
    found = {word for block in blocks for word in _WORD.findall(_COMMENT.sub("", block))}
    found |= {word for code in _CODE.findall(prose) for word in _WORD.findall(code)}
    found |= {_plain(cell) for cell in _ROW.findall(prose) if not set(cell) <= set("-: ")}
    found |= {_plain(next(filter(None, match.groups()))) for match in _BULLET.finditer(prose)}
    return found - {""}


def _plain(text: str) -> str:
    """Without signs that only decorate."""
    return re.sub(r"[^\w ()/&.,-]+", "", text).replace("\ufe0f", "").strip()


@pytest.mark.parametrize("number", DOCUMENTS)
def test_every_identifier_has_a_row(number: str) -> None:
    rows, others = set(NAMES["documents"][number]), set(NAMES["no_names"][number])
    assert not rows & others
    missing = identifiers(DOCUMENTS[number]) - rows - others
    assert not missing, f"rows are missing for {sorted(missing)}"


@pytest.mark.parametrize("number", DOCUMENTS)
def test_no_row_is_made_up(number: str) -> None:
    text = _plain(re.sub(r"[^\w ()/&.,-]+", " ", DOCUMENTS[number])).lower()
    for name in NAMES["documents"][number]:
        assert re.sub(r"[^\w ()/&.,-]+", " ", name).lower() in text, name


@pytest.mark.parametrize(("number", "name", "row"), ROWS, ids=[f"{number}-{name}" for number, name, _ in ROWS])
def test_every_row_says_one_thing_and_its_test_exists(number: str, name: str, row: dict[str, str]) -> None:
    kinds = set(row) & KINDS
    assert len(kinds) == 1, row
    assert set(row) - kinds <= {"test"}, row
    path, _, function = row["test"].partition("::")
    assert function in _functions(TOP / path), row["test"]


@pytest.mark.parametrize("where", sorted({row["later"] for _, _, row in ROWS if "later" in row}))
def test_what_is_to_come_has_its_room(where: str) -> None:
    """Nobody is sent to a room that the house's own page does not know."""
    page = (TOP / "ARCHITECTURE.md").read_text(encoding="utf-8")
    known = set(re.findall(r"`(\w+)/`", page))
    rooms = [part.split("(")[0].split(",")[0].strip() for part in re.split(r"\band\b(?![^(]*\))", where)]
    assert rooms
    assert set(rooms) <= known, f"{where}: the rooms are {sorted(known)}"


@pytest.mark.parametrize("message", sorted({row["refused"] for _, _, row in ROWS if "refused" in row}))
def test_every_refusal_is_one_that_the_code_gives(message: str) -> None:
    assert any(message in given for given in _given()), message


@cache
def _given() -> tuple[str, ...]:
    """What the code says to the examples, to the settings files, and to a few documents more."""
    examples = TOP / "configs" / "examples"
    settings = load_settings(examples / "handlers.yaml")
    texts = [path.read_text(encoding="utf-8") for path in (examples / "forms").glob("*.[jy]*")] + MORE
    found = [_refusal(text, settings) for text in texts]
    for path in (
        TOP / "configs" / "scheduler.yaml",
        TOP / "configs" / "scheduler_config.yaml",
        examples / "queue-redis.yaml",
    ):
        found += [f"not supported yet: {key}" for key in load_settings(path).not_yet]
    return tuple(found)


def _refusal(text: str, settings: Settings) -> str:
    try:
        lower([load_text(text, "x", settings)])
    except InvalidSpec as refused:
        return str(refused)
    return ""


@cache
def _functions(path: Path) -> frozenset[str]:
    return frozenset(_names(ast.parse(path.read_text(encoding="utf-8")))) if path.is_file() else frozenset()


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
