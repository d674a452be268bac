"""The errors of pydantic in our words: `expected ..., found ...`, at the place in the data where they belong."""

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kos_ray.spec.parse import near
from kos_ray.spec.places import Source
from kos_ray.spec.units import describe

#: more than this helps nobody
MAX_PROBLEMS = 20


def explain(
    source: Source, error: ValidationError, path: Sequence[str | int], data: Any, model: type[BaseModel]
) -> list[str]:
    """The messages `file:line: path: expected ..., found ...` of one error about `data`, which stands at `path`."""
    return [source.message((*path, *place), text) for place, text in problems(error, data, model)]


def problems(error: ValidationError, data: Any, model: type[BaseModel]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The place in `data` and the text `expected ..., found ...` of each thing that is wrong."""
    for detail in error.errors(include_url=False):
        yield tuple(_real(detail, data)), _message(detail, model)


def join(messages: Sequence[str]) -> str:
    """One message of many, cut."""
    more = len(messages) - MAX_PROBLEMS
    return "\n".join([*messages[:MAX_PROBLEMS], *([f"... and {more} more"] if more > 0 else [])])


def field_names(model: type[BaseModel]) -> list[str]:
    """The fields of a model as they are written."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _real(detail: ErrorDetails, data: Any) -> Iterator[str | int]:
    """The steps of an error's path that exist in the data."""
    for step in detail["loc"]:
        if isinstance(data, list | tuple):
            there = isinstance(step, int) and step < len(data)
        else:
            there = isinstance(data, dict) and step in data
        if not there:
            return
        yield step if isinstance(step, int) else str(step)
        data = data[step]


def _message(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind, loc = detail["type"], detail["loc"]
    if kind == "extra_forbidden":
        fields = field_names(_model_at(model, loc[:-1]))
        hint = near(loc[-1], fields) or f"; the fields are {', '.join(fields)}"
        return f"expected a known field, found {str(loc[-1])!r}{hint}"
    if kind == "missing":
        return f"expected the field {str(loc[-1])!r}, found nothing"
    if kind == "invalid_key":
        return f"expected a field's name, found {str(loc[-1])!r}"
    if kind == "model_type":
        return f"expected a mapping, found {describe(detail['input'])}"
    return detail["msg"].removeprefix("Value error, ")


def _model_at(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel]:
    """The model of the mapping at `path`."""
    for step in path:
        if isinstance(step, int):
            continue  # of a list of models: the model is known already
        by_name = {field.alias or name: field for name, field in model.model_fields.items()}
        annotation = by_name[str(step)].annotation
        kinds = [annotation, *get_args(annotation)]
        model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return model
