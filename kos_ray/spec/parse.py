"""Parsers of single fields: from what is written to the model's own values.

Each raises `ValueError` with "expected ..., found ..."; `explain` and `load` add file, line and path. What depends on
settings is in `fields`.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import Children, Eviction, Guarantee
from kos_ray.spec.units import describe, parse_amount, shorten
from kos_ray.timing import cron

MAX_COUNT = 1_000_000
MAX_NAME = 200

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+@/-]*", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}(?:/[A-Za-z0-9][A-Za-z0-9_-]{0,62}){0,4}", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}(?:\.[0-9]+)?", re.ASCII)
_ENTRY = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def is_job_id(text: str) -> bool:
    """Whether a reference is a public id (a UUID, with `.index` for an item) and no name."""
    return _UUID.fullmatch(text) is not None


def near(name: object, known: Mapping[str, object] | list[str]) -> str:
    """`; did you mean "x"?`, or an empty string where nothing is near."""
    found = get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f'; did you mean "{found[0]}"?' if found else ""


def parse_text(value: object, form: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str):
        quote = "; put it in quotes" if isinstance(value, bool | int | float) else ""
        raise ValueError(f"expected {form}, found {describe(value)}{quote}")  # noqa: TRY004 - pydantic reports it
    if not value:
        raise ValueError(f"expected {form}, found an empty text")
    if wrong := _not_sendable(value):
        raise ValueError(f"expected {form}, found {wrong} in {shorten(value)}")
    return value


def _not_sendable(text: str) -> str:
    """What no command, no environment and no UTF-8 can hold, "" where it is as it should be."""
    if "\0" in text:
        return "a zero character"
    return "half of a surrogate pair" if not text.isascii() and _SURROGATE.search(text) else ""


def parse_list(value: object, form: str, limit: int = 100_000) -> list[Any]:
    """A list of at most `limit` entries."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected {form}, found {describe(value)}")  # noqa: TRY004 - pydantic reports it
    if len(value) > limit:
        raise ValueError(f"expected at most {limit} entries, found {len(value)}")
    return list(value)


def parse_mapping(value: object, form: str) -> dict[Any, Any]:
    """A mapping."""
    if not isinstance(value, dict):
        raise ValueError(f"expected {form}, found {describe(value)}")  # noqa: TRY004 - pydantic reports it
    return value


def parse_name(value: object) -> str:
    """A job's name: unique in its namespace, and never to be taken for an id or for an item of an array."""
    name = parse_text(value, 'a name such as "train-3"')
    if len(name) > MAX_NAME:
        raise ValueError(f"expected a name of at most {MAX_NAME} characters, found {len(name)}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"expected a name of letters, digits and _ . : + @ / -, found {shorten(name)}")
    if is_job_id(name):
        raise ValueError(f"expected a name, found {shorten(name)}, which looks like a job's id")
    tail = name.rpartition(".")
    if tail[1] and tail[2].isdigit():
        raise ValueError(f"expected a name that does not end in a dot and a number (an array's item), found {name!r}")
    return name


def parse_type(value: object) -> str:
    """A job type: a label of few values."""
    name = parse_text(value, 'a job type such as "training"')
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise ValueError(f"expected at most 100 letters, digits and _ . : + @ / -, found {shorten(name)}")
    return name


def parse_namespace(value: object) -> str:
    """A namespace: a tenant's name, short enough for a label; `a/b` stands below `a`."""
    name = parse_text(value, "a namespace")
    if not _NAMESPACE.fullmatch(name) or len(name) > 63:
        raise ValueError(f"expected at most 63 letters, digits, - and _, with / between levels, found {shorten(name)}")
    return name


def parse_run(value: object) -> tuple[str, ...]:
    """A command: a text goes to the shell, a list is a program and its arguments."""
    form = 'a command: a text for the shell, or a list such as ["python", "train.py"]'
    if isinstance(value, str):
        if not value.strip():
            raise ValueError(f"expected {form}, found an empty text")
        return ("sh", "-c", parse_text(value, form))
    words = parse_list(value, form)
    if not words:
        raise ValueError(f"expected {form}, found an empty list")
    for index, word in enumerate(words):
        wrong = _not_sendable(word) if isinstance(word, str) else f"{describe(word)}; put it in quotes"
        if wrong:
            raise ValueError(f"expected a text as word {index} of the command, found {wrong}")
    if not words[0]:
        raise ValueError(f"expected {form}, found an empty program name")
    return tuple(words)


def parse_entry(value: object) -> str:
    """`module:function`."""
    entry = parse_text(value, '"module:function"')
    if not _ENTRY.fullmatch(entry):
        raise ValueError(f'expected "module:function", found {shorten(entry)}')
    return entry


def parse_dotted(value: object, form: str) -> str:
    """A Python name, dotted or not."""
    text = parse_text(value, form)
    if len(text) > 1_000 or not all(part.isidentifier() for part in text.split(".")):
        raise ValueError(f"expected {form}, found {shorten(text)}")
    return text


def is_entry(text: str) -> bool:
    """Whether a text is `module:function`."""
    return _ENTRY.fullmatch(text) is not None


def parse_env(value: object) -> tuple[tuple[str, str], ...]:
    """Environment variables, sorted."""
    form = "a mapping of names to texts"
    result = {}
    for name, text in parse_mapping(value, form).items():
        if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            raise ValueError(f"expected letters, digits and _ in a variable's name, found {describe(name)}")
        # a number means the same to everybody; true and null do not
        plain = isinstance(text, int | float) and not isinstance(text, bool)
        if not isinstance(text, str) and not plain:
            raise ValueError(f"expected a text for {name}, found {describe(text)}; put it in quotes")
        if wrong := _not_sendable(str(text)):
            raise ValueError(f"expected a text for {name}, found {wrong}")
        result[name] = str(text)
    return tuple(sorted(result.items()))


def parse_count(value: object) -> int:
    """The number of items of an array."""
    return parse_integer(value, "a number of items", 1, MAX_COUNT)


def parse_children(value: object) -> Children:
    """What becomes of a job's children."""
    words = {kind.name.lower(): kind for kind in Children}
    return words[one_of(*words)(value)]


def parse_limit(value: object) -> int:
    """How many items of an array."""
    return parse_integer(value, "a number of items", 1, MAX_COUNT)


def parse_integer(value: object, form: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"expected {form} from {low} to {high}, found {describe(value)}")
    return value


def number_between(low: float, high: float) -> Callable[[object], float]:
    """A parser of numbers in a range."""

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"expected a number from {low:g} to {high:g}, found {describe(value)}")
        return float(value)

    return parse


def parse_guarantee(value: object) -> Guarantee:
    """What is promised about running the code."""
    words = {guarantee.name.lower(): guarantee for guarantee in Guarantee}
    word = value.lower().replace("-", "_") if isinstance(value, str) else None
    if word in words:
        return words[word]
    hint = near(word, words) if word else ""
    raise ValueError(f"expected one of {', '.join(words)}, found {describe(value)}{hint}")


def parse_eviction(value: object) -> Eviction:
    """What happens to a job whose room is wanted for another one."""
    words = {eviction.name.lower(): eviction for eviction in Eviction}
    word = value.lower() if isinstance(value, str) else None
    if word in words:
        return words[word]
    hint = near(word, words) if word else ""
    raise ValueError(f"expected one of {', '.join(words)}, found {describe(value)}{hint}")


def parse_counts(value: object) -> tuple[tuple[str, int], ...]:
    """Whole numbers of one or more by name, in the order of names."""
    found = {}
    for name, count in parse_mapping(value, "a mapping of names to numbers").items():
        text = parse_text(name, "a name")
        try:
            found[text] = parse_integer(count, "a number", 1, MAX_COUNT)
        except ValueError as error:
            raise ValueError(f"{text}: {error}") from None
    return tuple(sorted(found.items()))


def parse_tags(value: object) -> tuple[str, ...]:
    """A list of tags."""
    return tuple(parse_text(tag, "a tag as text") for tag in parse_list(value, "a list of tags", 1_000))


def parse_custom(value: object) -> dict[str, int]:
    """Resources of the user's own, in 1/10 000."""
    amounts = {}
    for name, amount in parse_mapping(value, "a mapping of resource names to numbers").items():
        text = parse_text(name, "a resource's name")
        if text.lower() in ("cpu", "gpu", "memory"):
            raise ValueError(f"expected a resource of your own, found {text!r}; write it beside `custom`")
        try:
            amounts[text] = parse_amount(amount)
        except ValueError as error:
            raise ValueError(f"{text}: {error}") from None
    return amounts


def parse_args(value: object) -> list[Any]:
    """Positional arguments."""
    return parse_list(value, "a list of arguments")


def parse_kwargs(value: object) -> dict[str, Any]:
    """Named arguments."""
    result = parse_mapping(value, "a mapping of argument names to values")
    for name in result:
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"expected a Python name, found {describe(name)}")
    return result


def parse_instant(value: object) -> datetime:
    """An instant with its time zone: `2025-06-30T12:00:00Z`; YAML reads it itself, JSON leaves a text."""
    form = "an instant with a time zone, such as 2025-06-30T12:00:00Z"
    found = value
    if isinstance(value, str) and len(value) <= 40:
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            found = value
    if not isinstance(found, datetime):
        raise ValueError(f"expected {form}, found {describe(value)}")  # noqa: TRY004 - pydantic reports it
    if found.tzinfo is None:
        raise ValueError(f"expected {form}, found {value} without one")
    return found


def parse_cron(value: object) -> str:
    """A cron expression of five fields."""
    form = 'a cron expression of five fields such as "0 */6 * * *"'
    text = parse_text(value, form)
    if len(text) > 200 or len(text.split()) != 5:
        raise ValueError(f"expected {form}, found {shorten(text)}")
    try:
        cron.parse_cron(text)
    except InvalidSpec as error:
        raise ValueError(f"expected {form}: {error}") from None
    return text


def parse_actor(value: object) -> str:
    """The name of an agent, of a role, of an issuer."""
    text = parse_text(value, "a name as text")
    if len(text) > MAX_NAME or not text.isprintable():
        raise ValueError(f"expected a name of at most {MAX_NAME} printable characters, found {shorten(text)}")
    return text


def parse_names(value: object) -> tuple[str, ...]:
    """A list of names, each once."""
    names = tuple(parse_actor(name) for name in parse_list(value, "a list of names", 1_000))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"expected every name once, found {shorten(twice)} twice")
    return names


def parse_flag(value: object) -> bool:
    """A truth value, and no word for it."""
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, found {describe(value)}")  # noqa: TRY004 - pydantic reports it
    return value


def one_of(*words: str) -> Callable[[object], str]:
    """A parser that takes these words only."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            hint = near(value, list(words)) if isinstance(value, str) else ""
            expected = " or ".join(words) if len(words) < 3 else f"one of {', '.join(words)}"
            raise ValueError(f"expected {expected}, found {describe(value)}{hint}")
        return value

    return parse


def integer_between(low: int, high: int, form: str = "a whole number") -> Callable[[object], int]:
    """A parser of whole numbers in a range."""
    return lambda value: parse_integer(value, form, low, high)
