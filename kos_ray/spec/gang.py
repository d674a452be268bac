"""Gangs as people write them: `gang: 4`, or `gang: {size: 4, min: 3, mode: quorum, on_failure: replace}`."""

from typing import Any

from kos_ray.model.gang import GANG_MAX, SHRINK_NEEDS, GangMode, GangSpec, OnFailure
from kos_ray.spec.parse import near, parse_integer, parse_mapping
from kos_ray.spec.units import describe

MODES = {mode.name.lower(): mode for mode in GangMode}
ON_FAILURE = {what.name.lower(): what for what in OnFailure}
_FIELDS = ["size", "min", "mode", "on_failure"]


def parse_gang(value: object) -> GangSpec | None:
    """How many members a gang has, how many of them it needs, and what becomes of it when one is lost.

    A number is its size. Of a mapping, `min` alone means a quorum.

    Raises:
        ValueError: it is none of that.

    """
    if value is None or isinstance(value, GangSpec):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return GangSpec(size=parse_integer(value, "the members of a gang", 1, GANG_MAX))
    found = dict(parse_mapping(value, f"a number of members, or a mapping with {', '.join(_FIELDS)}"))
    for name in found:
        if name not in _FIELDS:
            raise ValueError(f"expected {', '.join(_FIELDS)}, found {name!r}{near(str(name), _FIELDS)}")
    size = parse_integer(found["size"], "size: the members of a gang", 1, GANG_MAX) if "size" in found else 0
    least = parse_integer(found["min"], "min: so many of them", 1, size or GANG_MAX) if "min" in found else 0
    mode = _word(found.get("mode", "quorum" if least else "all"), MODES, "mode")
    if (mode is GangMode.QUORUM) != bool(least):
        raise ValueError(f"expected min with mode quorum and nowhere else, found mode {mode.name.lower()}, min {least}")
    on_failure = _word(found.get("on_failure", "replace"), ON_FAILURE, "on_failure")
    return GangSpec(size=size, least=least, mode=mode, on_failure=on_failure)


def check_size(gang: GangSpec, count: int) -> None:
    """Refuse an array that cannot be cut into gangs.

    Raises:
        ValueError: with what was expected.

    """
    size = gang.size or count
    if count % size:
        raise ValueError(f"expected a whole number of gangs of {size}, found {count} items")
    if size > GANG_MAX:
        raise ValueError(f"expected gangs of at most {GANG_MAX} members, found {size}")
    if gang.least > size:
        raise ValueError(f"expected min of at most {size}, the members of a gang, found {gang.least}")


def check_shrinks(gang: GangSpec | None) -> None:
    """Refuse to shrink what has no least size.

    Raises:
        ValueError: with what was expected.

    """
    if gang is None or not gang.least:
        found = "no gang" if gang is None else "a gang without min"
        raise ValueError(f"expected a least size with preemption shrink, {SHRINK_NEEDS}, found {found}")


def _word(value: object, words: dict[str, Any], field: str) -> Any:
    word = value.lower().replace("-", "_") if isinstance(value, str) else None
    if word in words:
        return words[word]
    hint = near(word, words) if word else ""
    raise ValueError(f"{field}: expected one of {', '.join(words)}, found {describe(value)}{hint}")
