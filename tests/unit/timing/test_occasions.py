"""Conditions on events as people write them."""

import json
from typing import Any

import pytest

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.occasion import Occasion, Trigger
from kos_ray.timing.occasions import check_trigger, holds, is_for


def about(data: Any, name: str = "n", **fields: Any) -> Occasion:
    return Occasion(id="1", name=name, data=json.dumps(data), **fields)


@pytest.mark.parametrize(
    ("condition", "data", "expected"),
    [
        ("temp > 30", {"temp": 30.5}, True),
        ("temp > 30", {"temp": 30}, False),
        ("temp >= 30", {"temp": 30}, True),
        ("temp < -1.5", {"temp": -2}, True),
        ("temp <= 2", {"temp": 3}, False),
        ("temp > 30", {"temp": "31"}, False),
        ("temp > 0", {"temp": True}, False),
        ("temp > 30", {}, False),
        ("temp > 30", [1], False),
        ("temp > 30", None, False),
        ("order.total == 5", {"order": {"total": 5}}, True),
        ("room == kitchen", {"room": "kitchen"}, True),
        ("room == 'living room'", {"room": "living room"}, True),
        ("room != kitchen", {}, True),
        ("code == 5", {"code": "5"}, True),
        ("open == true", {"open": True}, True),
        ("path ~ *.csv", {"path": "/a/b.csv"}, True),
        ("path ~ *.csv", {"path": "/a/b.CSV"}, False),
        ("text says turn on the lights", {"text": "Please, turn ON the lights!"}, True),
        ("text says turn on the lights", {"text": "turn on all the lights"}, False),
        ("text says light", {"text": "lights"}, False),
        ("key == k", {"other": 1}, True),
        ("key == own", {"key": "own"}, True),
    ],
)
def test_a_condition(condition: str, data: Any, *, expected: bool) -> None:
    assert holds([condition], about(data, key="k")) is expected


def test_all_conditions_and_any_name() -> None:
    trigger = Trigger(events=("file.*", "order.paid"), where=("a == 1", "b == 2"))
    assert is_for(trigger, about({"a": 1, "b": 2}, "file.created"))
    assert is_for(trigger, about({"a": 1, "b": 2}, "order.paid"))
    assert not is_for(trigger, about({"a": 1, "b": 3}, "file.created"))
    assert not is_for(trigger, about({"a": 1, "b": 2}, "order.paid.twice"))


@pytest.mark.parametrize("text", ["", "temp", "temp >", "> 3", "temp > hot", "temp is 3", "a b == 3"])
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(InvalidSpec, match="expected a"):
        check_trigger(Trigger(events=("a",), where=(text,)))
