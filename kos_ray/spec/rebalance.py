"""The setting `rebalance` as people write it.

rebalance: true                       memory from 95 %, and batteries that are down to 15 %
rebalance: {memory: 90%}              pressed from 90 % on, calm again at 80 %
rebalance:
  memory: {high: 90%, low: 70%}
  battery: {low: 20%, high: 40%}      pressed when 20 % are left, calm again with 40 %
  after: 2                            measurements in a row, one a heartbeat
  moves_per_minute: 4
  rest: 10m
  jobs: true
"""

import re
from typing import Any

from kos_ray.model.sample import BATTERY, KINDS, WHOLE
from kos_ray.spec.parse import integer_between, near, parse_flag, parse_mapping
from kos_ray.spec.units import describe, parse_milliseconds

#: what `true` stands for
BUILT_IN: dict[str, object] = {"memory": {"high": "95%", "low": "85%"}, BATTERY: {"low": "15%", "high": "25%"}}
#: between the two, where one of them is not written
_APART = 100
_SHARE = re.compile(r"\s*(\d{1,3}(?:\.\d)?)\s*%\s*")
_WORDS = ("after", "moves_per_minute", "rest", "jobs")
_MS_US = 1_000
_DAY_US = 86_400_000_000


def parse_rebalance(value: object) -> dict[str, Any]:
    """The fields of `model.rebalance.Rebalance`.

    Raises:
        ValueError: with the place within the setting, what was expected, and what was found.

    """
    if value is False:
        return {}
    if value is True:
        value = BUILT_IN
    found: dict[str, Any] = {}
    thresholds = []
    words = (*KINDS, *_WORDS)
    for name, said in parse_mapping(value, "true, false, or a mapping such as {memory: 90%}").items():
        if name not in words:
            raise ValueError(f"expected {', '.join(words)}, found {describe(name)}{near(name, list(words))}")
        try:
            if name in KINDS:
                thresholds.append(_threshold(name, said))
            else:
                found |= _word(name, said)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if not thresholds and found:
        raise ValueError("expected a threshold beside the rest, such as memory: 90%; found none")
    return {**found, "thresholds": tuple(sorted(thresholds, key=lambda one: KINDS.index(one["kind"])))}


def _word(name: str, said: object) -> dict[str, Any]:
    if name == "after":
        text = said.removesuffix("heartbeats").removesuffix("heartbeat").strip() if isinstance(said, str) else said
        number = int(text) if isinstance(text, str) and text.isdecimal() else text
        return {"after": integer_between(1, 1_000, "a number of heartbeats")(number)}
    if name == "moves_per_minute":
        return {name: integer_between(1, 10_000, "a number of attempts")(said)}
    if name == "rest":
        rest_us = parse_milliseconds(said) * _MS_US
        if not 1_000_000 <= rest_us <= _DAY_US:
            raise ValueError(f"expected a time from 1s to 1d, found {describe(said)}")
        return {"rest_us": rest_us}
    return {name: parse_flag(said)}


def _threshold(kind: str, said: object) -> dict[str, Any]:
    """A share, or both: of a battery they say what is left, and the lower one presses."""
    first, second = ("low", "high") if kind == BATTERY else ("high", "low")
    if not isinstance(said, dict):
        said = {first: said}
    unknown = [str(name) for name in said if name not in (first, second)]
    if unknown or first not in said:
        raise ValueError(f"expected a share such as 90%, or {first} and {second}; found {describe(said)}")
    pressed = _share(first, said[first])
    step = _APART if kind == BATTERY else -_APART
    calm = _share(second, said[second]) if second in said else min(WHOLE, max(0, pressed + step))
    low, high = (pressed, calm) if kind == BATTERY else (calm, pressed)
    if not low < high:
        raise ValueError(f"expected low below high, found low {low / 10:g}% and high {high / 10:g}%")
    if kind == BATTERY:
        low, high = WHOLE - high, WHOLE - low
    return {"kind": kind, "high": high, "low": low}


def _share(name: str, said: object) -> int:
    match = _SHARE.fullmatch(said) if isinstance(said, str) else None
    if match is None or float(match[1]) > 100:
        raise ValueError(f"{name}: expected a share from 0% to 100%, found {describe(said)}")
    return round(float(match[1]) * 10)
