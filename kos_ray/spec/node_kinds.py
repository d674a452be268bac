"""Kinds of nodes that could be added, as people write them: `{large: {resources: {cpu: 32, gpu: 8}, at_most: 4}}`."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from kos_ray.model.errors import InvalidSpec
from kos_ray.spec.explain import explain, join
from kos_ray.spec.parse import integer_between, parse_text
from kos_ray.spec.places import Source, read_text
from kos_ray.spec.schema import ResourceSpec
from kos_ray.spec.strict import Strict
from kos_ray.spec.units import describe

_MANY = 1_000


class NodeKindSpec(Strict):
    """One kind."""

    resources: ResourceSpec = Field(description="What each has.")
    at_most: Annotated[int, BeforeValidator(integer_between(0, _MANY))] = Field(
        default=_MANY, description="How many more there may be."
    )


def load_node_kinds(path: str | Path) -> dict[str, dict[str, Any]]:
    """The kinds in a file, by name: `resources` as the model's amounts, and `at_most`.

    Raises:
        InvalidSpec: it cannot be read or accepted.

    """
    source = Source(str(path), read_text(path))
    if not isinstance(source.data, dict):
        raise source.problem((), f"expected a mapping of names to kinds of nodes, found {describe(source.data)}")
    found: dict[str, dict[str, Any]] = {}
    for name, data in source.data.items():
        try:
            kind = NodeKindSpec.model_validate(data)
            found[parse_text(name, "a name")] = {"resources": kind.resources.lower().amounts, "at_most": kind.at_most}
        except ValidationError as error:
            raise InvalidSpec(join(explain(source, error, (name,), data, NodeKindSpec))) from None
        except ValueError as error:
            raise source.problem((name,), str(error)) from None
    return found
