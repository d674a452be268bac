"""Where in a text a value stands: paths to lines, for YAML and for JSON.

JSON is read by the standard library and only located by the YAML parser: YAML 1.1 reads `1e3` and surrogate pairs in
another way. Inside of valid JSON a raw tab can only be white space, so tabs are replaced before locating.
"""

import json
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import yaml

from kos_ray.model.errors import InvalidSpec

Path = tuple[str | int, ...]

MAX_TEXT_BYTES = 64 * 1024 * 1024
#: values in one document, aliases expanded: what keeps a "billion laughs" file from filling the memory
MAX_VALUES = 2_000_000

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Source:
    """One text with its name: its data, and the line of every value in it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._text = text
        self._node: yaml.Node | None = None
        if len(text) > MAX_TEXT_BYTES:
            raise InvalidSpec(f"{name}:1: expected at most {MAX_TEXT_BYTES} characters, found {len(text)}")
        try:
            self.data: Any = self._read_json() if name.endswith(".json") or _is_json(text) else self._read_yaml()
        except RecursionError:
            raise InvalidSpec(f"{name}:1: nested too deeply") from None

    def line(self, path: Sequence[str | int]) -> int:
        """The line, from 1, of the value at `path`, or of the nearest value above it that exists."""
        if self._node is None:
            try:
                self._node = yaml.compose(self._text.replace("\t", " "), Loader=_Loader)
            except yaml.YAMLError:
                return 1
        node, mark = self._node, self._node.start_mark if self._node else None
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            # a value on the lines below its key is meant by the key's line
            key, node = found
            mark = (key or node).start_mark
        return mark.line + 1 if mark else 1

    def problem(self, path: Sequence[str | int], message: str) -> InvalidSpec:
        """The error `file:line: path: message`."""
        return InvalidSpec(self.message(path, message))

    def message(self, path: Sequence[str | int], message: str) -> str:
        """The text of `problem`."""
        where = dotted(path)
        return f"{self.name}:{self.line(path)}: {where + ': ' if where else ''}{message}"

    def _read_json(self) -> Any:
        def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            result = dict(pairs)
            if len(result) < len(pairs):
                names = [key for key, _ in pairs]
                twice = next(key for key in names if names.count(key) > 1)
                line = self._line_of(rf"{re.escape(json.dumps(twice))}\s*:", nth=2)
                raise InvalidSpec(f"{self.name}:{line}: the field {twice!r} is there twice in one mapping")
            return result

        def constant(name: str) -> Any:
            line = self._line_of(rf"[:\[,]\s*{name}", nth=1)
            raise InvalidSpec(f"{self.name}:{line}: expected a finite number, found {name}")

        try:
            return json.loads(self._text, object_pairs_hook=unique, parse_constant=constant)
        except json.JSONDecodeError as error:
            raise InvalidSpec(f"{self.name}:{error.lineno}: not JSON: {error.msg}") from None
        except ValueError as error:
            raise InvalidSpec(f"{self.name}:1: not JSON: {error}") from None

    def _line_of(self, pattern: str, nth: int) -> int:
        """The line on which the nth match of a pattern ends: near enough, where the parser gives no place."""
        ends = [match.end() for match in islice(re.finditer(pattern, self._text), nth)]
        return self._text.count("\n", 0, ends[-1]) + 1 if ends else 1

    def _read_yaml(self) -> Any:
        try:
            loader = _Loader(self._text)
            try:
                self._node = loader.get_single_node()
                if self._node is None:
                    return None
                self._check(self._node)
                return loader.construct_document(self._node)
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = ", ".join(part for part in (error.context, error.problem) if part)
            # what is missing at the end is missed on the line after it
            line = min(mark.line, self._text.count("\n")) + 1 if mark else 1
            raise InvalidSpec(f"{self.name}:{line}: not YAML: {what}") from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            raise InvalidSpec(f"{self.name}:1: not YAML: {str(error).splitlines()[0]}") from None

    def _check(self, root: yaml.Node) -> None:
        """Refuse duplicate fields, fields that are no text, aliases to themselves, and documents of absurd size."""
        left = MAX_VALUES
        stack: list[tuple[yaml.Node, tuple[int, ...]]] = [(root, ())]
        while stack:
            node, above = stack.pop()
            left -= 1
            if left < 0:
                raise InvalidSpec(f"{self.name}:1: expected at most {MAX_VALUES} values, found more")
            if id(node) in above:
                raise InvalidSpec(f"{self.name}:{node.start_mark.line + 1}: an alias refers to a value that holds it")
            if isinstance(node, yaml.MappingNode):
                self._check_keys(node)
            if isinstance(node, yaml.CollectionNode):
                stack.extend((child, (*above, id(node))) for child in _children(node))

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise InvalidSpec(f"{self.name}:{line}: expected a field name, found a list or mapping")
            if key.value == "on" and not key.style:
                key.tag = "tag:yaml.org,2002:str"  # YAML 1.1 reads a truth value
            if key.value in seen and key.value != "<<":
                raise InvalidSpec(
                    f"{self.name}:{line}: the field {key.value!r} is there twice (first in line {seen[key.value]})"
                )
            seen[key.value] = line


def read_text(path: str | os.PathLike[str]) -> str:
    """A file's text.

    Raises:
        InvalidSpec: it is not there, not readable, or no UTF-8.

    """
    try:
        return pathlib.Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidSpec(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidSpec(f"{path}: expected UTF-8 text, found the byte {error.object[error.start]:#04x}") from None


def dotted(path: Sequence[str | int]) -> str:
    """`("jobs", 3, "run")` as `jobs[3].run`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _is_json(text: str) -> bool:
    """Whether a text without the name of a JSON file is JSON all the same."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _children(node: yaml.CollectionNode) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield value
    else:
        yield from node.value


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    """Key node and value node one step down."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if getattr(key, "value", None) == str(step):
                return key, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    return None
