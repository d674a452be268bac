"""Writes what is generated from the schemas: the JSON Schema for editors, and the tables of `docs/jobs.md`.

`python -m kos_ray.spec.reference` from the top of the repository writes both; tests tell when they are out of date.
"""

import json
import re
from pathlib import Path
from types import UnionType
from typing import Any, get_args

from pydantic import BaseModel

from kos_ray.spec.foreign import Action, Network, Requirements
from kos_ray.spec.forms import known_forms
from kos_ray.spec.load import Workflow
from kos_ray.spec.schedule import ScheduleSpec
from kos_ray.spec.schema import BackoffSpec, Common, JobSpec, ResourceSpec, json_schema
from kos_ray.spec.settings import QueueSettings, SettingsFile
from kos_ray.spec.where import WhereSpec, Wish

SCHEMA_FILE = Path("configs/job.schema.json")
GUIDE_FILE = Path("docs/jobs.md")
_BLOCK = re.compile(r"(<!-- fields: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_PARTS: tuple[type[BaseModel], ...] = (
    ResourceSpec,
    WhereSpec,
    Wish,
    ScheduleSpec,
    BackoffSpec,
    Action,
    Requirements,
    Network,
    Workflow,
    SettingsFile,
    QueueSettings,
)


def schema_text() -> str:
    """The content of `configs/job.schema.json`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def guide_text(text: str) -> str:
    """The guide with all of its tables written anew.

    Raises:
        KeyError: a table is asked for that there is none of.

    """
    listed: list[type[BaseModel]] = [*(form for _, form in known_forms()), *_PARTS]
    models = {model.__name__: model for model in listed}
    return _BLOCK.sub(lambda match: f"{match[1]}{_table(models[match[2]])}{match[3]}", text)


def _table(model: type[BaseModel]) -> str:
    """The fields of a model; of the forms of jobs, those that are not common to all."""
    shared = Common.model_fields if issubclass(model, Common) and model is not JobSpec else {}
    rows = ["| field | written | meaning |", "|---|---|---|"]
    schema = json_schema()["$defs"].get(model.__name__, {}).get("properties", {})
    for name, field in model.model_fields.items():
        if name in shared and field.description == shared[name].description:
            continue
        written = field.alias or name
        mark = " **(required)**" if field.is_required() else ""
        form = _form(schema[written]) if written in schema else _kind(field.annotation)
        rows.append(f"| `{written}` | {form} | {_cell(field.description or '')}{mark} |")
    return "\n".join([*rows, ""])


def _form(schema: dict[str, Any]) -> str:
    """What is written, in a word or two."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_form(one) for one in schema["anyOf"] if one.get("type") != "null"))
    if "$ref" in schema:
        return f"a mapping, see {schema['$ref'].rpartition('/')[2]}"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{word}`" for word in schema.get("enum", [schema.get("const")]))
    words = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "array": "list",
        "object": "mapping",
    }
    return words.get(str(schema.get("type")), "anything")


def _kind(annotation: Any) -> str:
    """The same, for what is in no JSON Schema."""
    kinds = {bool: "true or false", int: "number or text", float: "number or text", str: "text", dict: "mapping"}
    if isinstance(annotation, UnionType):
        annotation = get_args(annotation)[0]
    annotation = getattr(annotation, "__origin__", annotation)
    return kinds.get(annotation, "value" if annotation is Any else "mapping")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write both files."""
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
    GUIDE_FILE.write_text(guide_text(GUIDE_FILE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
