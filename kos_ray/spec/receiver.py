"""Whom a message is for, as people write it: an agent's name, or a mapping with what it must be and have."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from kos_ray.model.dispatch import To
from kos_ray.spec.parse import near, parse_actor, parse_env, parse_name, parse_names
from kos_ray.spec.units import describe

_NAMES: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_FIELDS: dict[str, Callable[[object], Any]] = {
    "role": parse_name,
    "capabilities": parse_names,
    "skills": parse_names,
    "models": parse_names,
    "config": parse_env,
    "fallback": parse_names,
    "affinity": parse_name,
}


def parse_receiver(value: object) -> str | To:
    """An agent's name, or who may be chosen."""
    if not isinstance(value, dict):
        return parse_actor(value)
    return parse_to(value)


def parse_to(said: dict[str, Any]) -> To:
    """Who may be chosen: `role`, `capabilities`, `skills`, `models`, `config`, `fallback` (roles), `affinity`."""
    found: dict[str, Any] = {}
    for name, content in said.items():
        if name not in _FIELDS:
            raise ValueError(f"expected a known field, found {name!r}{near(name, list(_FIELDS))}")
        try:
            found[name] = _FIELDS[name](content)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if not (found.get("role") or found.get("capabilities") or found.get("skills")):
        raise ValueError(f"expected a role, capabilities or skills that it is to have, found {describe(said)}")
    return To(**found | {"config": tuple(sorted(found.get("config", ())))})


Receiver = Annotated[
    Any,
    BeforeValidator(parse_receiver),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "maxLength": 200},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "role": {"type": "string"},
                        **dict.fromkeys(("capabilities", "skills", "models", "fallback"), _NAMES),
                        "config": {"type": "object"},
                        "affinity": {"type": "string"},
                    },
                },
            ]
        }
    ),
]
