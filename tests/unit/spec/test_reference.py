"""What is generated from the schemas is up to date, and true."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kos_ray.spec import reference
from kos_ray.spec.schema import json_schema

TOP = Path(__file__).parents[3]
EXAMPLES = TOP / "configs" / "examples"
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
REMEDY = "out of date: run `python -m kos_ray.spec.reference`"


def test_the_schema_for_editors_is_up_to_date() -> None:
    assert (TOP / reference.SCHEMA_FILE).read_text(encoding="utf-8") == reference.schema_text(), REMEDY


def test_the_tables_of_the_guide_are_up_to_date() -> None:
    text = (TOP / reference.GUIDE_FILE).read_text(encoding="utf-8")
    assert text.count("<!-- fields:") >= 12
    assert text == reference.guide_text(text), REMEDY


def test_the_schema_is_one_and_describes_every_field() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema == json_schema()
    for name, definition in schema["$defs"].items():
        for field, about in definition.get("properties", {}).items():
            assert about.get("description"), f"{name}.{field}"
        assert definition.get("additionalProperties", False) is False


@pytest.mark.parametrize(
    "path", [*sorted(EXAMPLES.glob("forms/*.[jy]*")), EXAMPLES / "workflow.yaml"], ids=lambda p: p.name
)
def test_the_schema_accepts_every_example(path: Path) -> None:
    VALIDATOR.validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "data",
    [
        {"run": "x", "prioritty": "high"},
        {"run": 3},
        {"run": "x", "count": 0},
        {"type": "sometimes", "action": {"module": "m", "function": "f"}},
        {"type": "testing", "scope": "global"},
        {"type": "testing", "data": {}, "network": {"maxhops": 3}},
        {"name": "w", "jobs": []},
    ],
)
def test_the_schema_refuses_what_is_wrong(data: Any) -> None:
    assert not VALIDATOR.is_valid(data)
