"""Which occasions something is for: names with stars, and conditions on their data.

    temp > 30        level >= 2.5      room == kitchen       status != ok
    path ~ *.csv     (the whole text, where * stands for any text and ? for one sign)
    text says turn on the lights       (these words, in this order, whatever stands around them)

A field may have dots: `order.total > 100`. `key`, `id`, `name` and `source` are the occasion's own.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.occasion import Occasion, Trigger

_OWN = ("key", "id", "name", "source")
_CONDITION = re.compile(r"(?P<field>[\w.-]+)\s*(?P<op><=|>=|==|!=|<|>|~|\bsays\b)\s*(?P<value>.*\S)\s*", re.DOTALL)
_NAME = re.compile(r"[\w*?][\w.*?:/-]*")
_WORDS = re.compile(r"\w+")


class Condition(NamedTuple):
    """One that was read; a value is a number where it is written as one."""

    field: str
    op: str
    value: str | float

    def holds(self, found: object) -> bool:
        """Whether it holds for what an occasion has there; what is not there fulfils nothing but `!=`."""
        if self.op in ("==", "!="):
            return _same(found, self.value) == (self.op == "==")
        if self.op == "~":
            return isinstance(found, str) and fnmatchcase(found, str(self.value))
        if self.op == "says":
            return isinstance(found, str) and _says(found, str(self.value))
        if isinstance(found, bool) or not isinstance(found, int | float) or not isinstance(self.value, float):
            return False
        return {
            "<": found < self.value,
            "<=": found <= self.value,
            ">": found > self.value,
            ">=": found >= self.value,
        }[self.op]


@lru_cache(maxsize=4_096)
def read_condition(text: str) -> Condition:
    """A condition as people write it.

    Raises:
        InvalidSpec: nobody can read it; with what was expected and what was found.

    """
    found = _CONDITION.fullmatch(text.strip())
    if not found:
        expected = "expected a condition such as 'temp > 30', 'path ~ *.csv' or 'text says hello'"
        raise InvalidSpec(f"{expected}, found {text!r}")
    value: str | float = found["value"].strip("\"'") or found["value"]
    try:
        value = value if found["op"] in ("~", "says") else float(value)
    except ValueError:
        if found["op"] in ("<", "<=", ">", ">="):
            raise InvalidSpec(f"expected a number behind {found['op']}, found {value!r} in {text!r}") from None
    return Condition(found["field"], found["op"], value)


def check_name(name: str) -> str:
    """A name of an event, in which * stands for any text.

    Raises:
        InvalidSpec: it is none.

    """
    if not _NAME.fullmatch(name):
        raise InvalidSpec(f"expected an event's name such as file.created or sensor.*, found {name!r}")
    return name


def check_trigger(trigger: Trigger) -> None:
    """Refuse one that nobody can read.

    Raises:
        InvalidSpec: with what was expected and what was found.

    """
    if not trigger.events:
        raise InvalidSpec("expected the name of an event, found none")
    for name in trigger.events:
        check_name(name)
    for text in trigger.where:
        read_condition(text)


def is_for(trigger: Trigger, occasion: Occasion) -> bool:
    """Whether a trigger is about an occasion: any of its names, and all of its conditions."""
    return any(fnmatchcase(occasion.name, name) for name in trigger.events) and holds(trigger.where, occasion)


def holds(conditions: Iterable[str], occasion: Occasion) -> bool:
    """Whether all conditions hold for an occasion."""
    wanted = [read_condition(text) for text in conditions]
    if not wanted:
        return True
    data = data_of(occasion)
    return all(one.holds(field_of(occasion, data, one.field)) for one in wanted)


def data_of(occasion: Occasion) -> Any:
    """What its data says, None where it has none."""
    return json.loads(occasion.data) if occasion.data else None


def field_of(occasion: Occasion, data: Any, field: str) -> Any:
    """What an occasion has in a field, None where it has none: what stands in its data goes before what is its own."""
    found = data
    for part in field.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return getattr(occasion, field) if found is None and field in _OWN else found


def told_of(occasion: Occasion) -> str:
    """What a job is told of the event that it was made for, as JSON."""
    told = {"id": occasion.id, "name": occasion.name, "key": occasion.key, "at_us": occasion.at_us}
    return json.dumps({**told, "source": occasion.source, "data": data_of(occasion)})


def told_together(id_: str, texts: Sequence[str]) -> str:
    """What it is told of a fire: of several events the last one, with all of them as `events`."""
    events = [json.loads(text) for text in texts]
    several = {"events": events} if len(events) > 1 else {}
    return json.dumps({**events[-1], "id": id_, **several})


def _same(found: object, value: str | float) -> bool:
    if isinstance(found, bool):
        return str(found).lower() == str(value).lower()
    if isinstance(found, int | float):
        return found == value
    return isinstance(found, str) and (found == value or _number(found) == value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _says(text: str, phrase: str) -> bool:
    """Whether the words of a phrase stand in a text one after another, in whatever case."""
    words, wanted = _WORDS.findall(text.casefold()), _WORDS.findall(phrase.casefold())
    return any(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1))
