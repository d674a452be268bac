"""The JSON Schema of job documents: what editors complete and check while people type.

It is made from the schemas' own fields. An editor's check is a help; `kos validate` is the judge, which also knows what
JSON Schema cannot say: cycles, settings, fields that exclude each other.
"""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from kos_ray.spec.forms import known_forms
from kos_ray.spec.load import Workflow


def document_schema() -> dict[str, Any]:
    """The schema of a document: one job in any form, a list of jobs, or a workflow."""
    forms: list[type[BaseModel]] = [form for _, form in known_forms()]
    documents: list[type[BaseModel]] = [*forms, Workflow]
    # one call for all, so that they share their definitions
    asked: list[tuple[type[BaseModel], JsonSchemaMode]] = [(form, "validation") for form in documents]
    references, definitions = models_json_schema(asked, ref_template="#/$defs/{model}")
    one = [references[form, "validation"] for form in forms]
    found: dict[str, Any] = definitions["$defs"]
    for definition in found.values():
        _tidy(definition)
    found["Job"] = {"anyOf": one, "description": "A job in any of the forms."}
    jobs = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Job"}}
    found["Workflow"]["properties"]["jobs"] |= jobs
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A document for kos submit: a job, a list of jobs, or a workflow",
        "anyOf": [{"$ref": "#/$defs/Workflow"}, {"$ref": "#/$defs/Job"}, jobs],
        "$defs": dict(sorted(found.items())),
    }


def _tidy(schema: dict[str, Any]) -> None:
    """Drop what pydantic adds and nobody reads: titles of fields, and defaults in the model's own units."""
    for field in schema.get("properties", {}).values():
        for word in ("title", "default"):
            field.pop(word, None)
