"""The types of fields: a parser each, and what JSON Schema says of the same text."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, GetPydanticSchema, ValidationInfo, WithJsonSchema
from pydantic_core.core_schema import no_info_plain_validator_function, with_info_plain_validator_function

from kos_ray.model.approval import Approval
from kos_ray.model.dependency import Conditions
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.gang import GANG_MAX, GangSpec
from kos_ray.model.ids import KEY_MAX
from kos_ray.model.job import BANDS, Children, Eviction, Guarantee, MoreMemory, Notify, Retries
from kos_ray.spec import after, approval, gang, hooks, parse, results_to
from kos_ray.spec.scale import PRIORITIES
from kos_ray.spec.settings import MAX_RETRIES, Settings, current
from kos_ray.spec.units import describe, parse_amount, parse_bits, parse_bytes, parse_milliseconds, shorten

_TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
_TEXT_OR_TEXTS: dict[str, Any] = {"anyOf": [{"type": "string"}, _TEXTS]}
_AFTER: dict[str, Any] = {
    **dict.fromkeys((*after.KINDS, "of", "setup"), _TEXT_OR_TEXTS),
    "rule": {"enum": list(after.RULES)},
    "singleton": {"anyOf": [{"type": "boolean"}, {"type": "string"}]},
}


def settings_of(info: ValidationInfo) -> Settings:
    """What the validation was started with; the current settings where it was started with none."""
    return info.context if isinstance(info.context, Settings) else current()


def parse_priority(value: object, info: ValidationInfo) -> int:
    """See `band_of`."""
    return band_of(value, settings_of(info))


def band_of(value: object, settings: Settings) -> int:
    """A band: by a name, by its number, or by a weight of the settings.

    Raises:
        ValueError: it is none of them.

    """
    weights = settings.weights
    if isinstance(value, int) and not isinstance(value, bool) and (0 <= value < len(BANDS) or value in weights):
        return weights.get(value, value)
    if isinstance(value, str):
        if value.lower() in PRIORITIES:
            return PRIORITIES[value.lower()]
        if value in map(str, range(len(BANDS))):
            return int(value)
    words = ", ".join(PRIORITIES)
    listed = ", ".join(map(str, sorted(weights, reverse=True)))
    hint = parse.near(value.lower(), PRIORITIES) if isinstance(value, str) else ""
    raise ValueError(
        f"expected one of {words}, or 0 (most urgent) to {len(BANDS) - 1}, or one of the weights {listed}, "
        f"found {describe(value)}{hint}"
    )


def _parse_retry(value: object, info: ValidationInfo) -> Retries:
    found = value if isinstance(value, Mapping) else {"times": value}
    unknown = [name for name in found if name not in _RETRY]
    if unknown:
        hint = parse.near(unknown[0], list(_RETRY))
        raise ValueError(f"expected a number, or a mapping of {', '.join(_RETRY)}, found {unknown[0]!r}{hint}")
    number = parse.parse_integer(found.get("times", 0), "a number of retries", 0, MAX_RETRIES)
    limit = settings_of(info).max_retry
    if number > limit:
        raise ValueError(f"expected at most {limit} (max_retry of the settings), found {number}")
    not_on = [parse.parse_dotted(name, "the class of an exception") for name in _listed(found.get("not_on", []))]
    elapsed_ms_max = parse_milliseconds(found.get("max_elapsed", 0))
    on_oom = _parse_on_oom(found["on_oom"], number) if found.get("on_oom") is not None else None
    return Retries(times=number, not_on=tuple(not_on), elapsed_ms_max=elapsed_ms_max, on_oom=on_oom)


def _parse_on_oom(value: object, retries: int) -> MoreMemory:
    found = parse.parse_mapping(value, "a mapping of memory_factor and memory_max")
    unknown = [name for name in found if name not in _ON_OOM]
    if unknown:
        hint = parse.near(unknown[0], list(_ON_OOM))
        raise ValueError(f"on_oom: expected a mapping of {', '.join(_ON_OOM)}, found {unknown[0]!r}{hint}")
    if not retries:
        raise ValueError("on_oom: expected retries (times), found none: nothing would be tried again with more memory")
    factor = parse.number_between(1.001, 100)(found.get("memory_factor", 2))
    return MoreMemory(thousandths=round(factor * 1_000), most=parse_bytes(found.get("memory_max", 0)))


def _listed(value: object) -> list[Any]:
    """One text is a list of one."""
    return [value] if isinstance(value, str) else parse.parse_list(value, "classes of exceptions", 100)


def _parse_timeout(value: object, info: ValidationInfo) -> int:
    if value is not None:
        return parse_milliseconds(value)
    settings = settings_of(info)
    # `agent` stands before `timeout` in the schema, so it is known here
    return (info.data.get("agent") and settings.agent_timeout_ms) or settings.timeout_ms


def parse_key(value: object) -> str:
    """An idempotency key: any short text that can be printed."""
    key = parse.parse_text(value, "an idempotency key as text")
    if len(key) > KEY_MAX or not key.isprintable():
        raise ValueError(f"expected at most {KEY_MAX} printable characters, found {shorten(key)}")
    return key


def checked_key(key: str) -> str:
    """The key, if a job may have it; "" for none.

    Raises:
        InvalidSpec: it may not.

    """
    try:
        return parse_key(key) if key != "" else ""
    except ValueError as error:
        raise InvalidSpec(f"idempotency_key: {error}") from None


_GUARANTEES = [guarantee.name.lower() for guarantee in Guarantee]
_DURATION: dict[str, Any] = {
    "anyOf": [{"type": "string", "examples": ["30s", "2m", "1h30m"]}, {"type": "number", "minimum": 0}]
}
_PRIORITY = {
    "anyOf": [
        {"type": "string", "examples": list(PRIORITIES)},
        {"type": "integer", "minimum": 0},
    ]
}

Text = Annotated[str, BeforeValidator(parse.parse_actor), WithJsonSchema({"type": "string", "maxLength": 200})]
Name = Annotated[str, BeforeValidator(parse.parse_name), WithJsonSchema({"type": "string", "maxLength": 200})]
IdempotencyKey = Annotated[
    str, BeforeValidator(parse_key), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": KEY_MAX})
]
JobType = Annotated[str, BeforeValidator(parse.parse_type), WithJsonSchema({"type": "string", "maxLength": 100})]
Namespace = Annotated[
    str,
    BeforeValidator(parse.parse_namespace),
    WithJsonSchema(
        {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*){0,4}$", "maxLength": 63}
    ),
]
Priority = Annotated[int, BeforeValidator(parse_priority), WithJsonSchema(_PRIORITY)]
Run = Annotated[
    tuple[str, ...],
    BeforeValidator(parse.parse_run),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {**_TEXTS, "minItems": 1}]}),
]
Entry = Annotated[
    str, BeforeValidator(parse.parse_entry), WithJsonSchema({"type": "string", "pattern": "^[^:]+:[^:]+$"})
]
Args = Annotated[list[Any], BeforeValidator(parse.parse_args), WithJsonSchema({"type": "array"})]
Kwargs = Annotated[dict[str, Any], BeforeValidator(parse.parse_kwargs), WithJsonSchema({"type": "object"})]
Env = Annotated[
    tuple[tuple[str, str], ...],
    BeforeValidator(parse.parse_env),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number"]}}),
]


def _parse_hooks(value: object, info: ValidationInfo) -> tuple[Any, ...]:
    return hooks.parse_hooks(value, settings_of(info))


def _parse_notify(value: object) -> tuple[Notify, ...]:
    return tuple(Notify(**found) for found in hooks.parse_notify(value, commands=False))


def _parse_results_to(value: object, info: ValidationInfo) -> tuple[Any, ...]:
    return results_to.parse_results_to(value, settings_of(info))


_HOOK: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "object"}]}
Hooks = Annotated[
    tuple[Any, ...],
    GetPydanticSchema(lambda _type, _handler: with_info_plain_validator_function(_parse_hooks)),
    WithJsonSchema({"anyOf": [*_HOOK["anyOf"], {"type": "array", "items": _HOOK}]}),
]
Told = Annotated[
    tuple[Notify, ...],
    GetPydanticSchema(lambda _type, _handler: no_info_plain_validator_function(_parse_notify)),
    WithJsonSchema({"anyOf": [*_HOOK["anyOf"], {"type": "array", "items": _HOOK}]}),
]
_SINK: dict[str, Any] = {"type": "object"}
Sinks = Annotated[
    tuple[Any, ...],
    GetPydanticSchema(lambda _type, _handler: with_info_plain_validator_function(_parse_results_to)),
    WithJsonSchema({"anyOf": [_SINK, {"type": "array", "items": _SINK}]}),
]
Parents = Annotated[
    Conditions,
    # the parser is the whole of it: what the class looks like inside is nothing for editors
    GetPydanticSchema(lambda _type, _handler: no_info_plain_validator_function(after.parse_conditions)),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, _TEXTS, {"type": "object", "properties": _AFTER, "additionalProperties": False}]}
    ),
]
Timeout = Annotated[
    int, BeforeValidator(_parse_timeout), WithJsonSchema({"anyOf": [*_DURATION["anyOf"], {"type": "null"}]})
]
Duration = Annotated[int, BeforeValidator(parse_milliseconds), WithJsonSchema(_DURATION)]
_TIMES: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": MAX_RETRIES}
_ON_OOM: dict[str, Any] = {
    "memory_factor": {"type": "number", "exclusiveMinimum": 1, "maximum": 100},
    "memory_max": {"anyOf": [{"type": "string", "examples": ["8GiB"]}, {"type": "integer", "minimum": 0}]},
}
_RETRY: dict[str, Any] = {
    "times": _TIMES,
    "not_on": _TEXT_OR_TEXTS,
    "max_elapsed": _DURATION,
    "on_oom": {"type": "object", "properties": _ON_OOM, "additionalProperties": False},
}
Retry = Annotated[
    Retries,
    GetPydanticSchema(lambda _type, _handler: with_info_plain_validator_function(_parse_retry)),
    WithJsonSchema({"anyOf": [_TIMES, {"type": "object", "properties": _RETRY, "additionalProperties": False}]}),
]
PromisedRuns = Annotated[
    Guarantee,
    BeforeValidator(parse.parse_guarantee),
    WithJsonSchema({"enum": [word for name in _GUARANTEES for word in (name, name.replace("_", "-"))]}),
]
Gives = Annotated[
    Eviction,
    BeforeValidator(parse.parse_eviction),
    WithJsonSchema({"enum": [eviction.name.lower() for eviction in Eviction]}),
]
Counts = Annotated[
    tuple[tuple[str, int], ...],
    BeforeValidator(parse.parse_counts),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}}),
]
Tags = Annotated[tuple[str, ...], BeforeValidator(parse.parse_tags), WithJsonSchema(_TEXTS)]
Count = Annotated[
    int | None,
    BeforeValidator(parse.parse_count),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": parse.MAX_COUNT}),
]
ChildrenEnd = Annotated[
    Children, BeforeValidator(parse.parse_children), WithJsonSchema({"enum": [kind.name.lower() for kind in Children]})
]
AtMost = Annotated[
    int | None,
    BeforeValidator(parse.parse_limit),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": parse.MAX_COUNT}),
]
Gang = Annotated[
    GangSpec | None,
    GetPydanticSchema(lambda _type, _handler: no_info_plain_validator_function(gang.parse_gang)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": GANG_MAX},
                {
                    "type": "object",
                    "properties": {
                        "size": {"type": "integer", "minimum": 1, "maximum": GANG_MAX},
                        "min": {"type": "integer", "minimum": 1, "maximum": GANG_MAX},
                        "mode": {"enum": list(gang.MODES)},
                        "on_failure": {"enum": list(gang.ON_FAILURE)},
                    },
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
Asked = Annotated[
    Approval | None,
    GetPydanticSchema(lambda _type, _handler: no_info_plain_validator_function(approval.parse_approval)),
    WithJsonSchema(approval.SCHEMA),
]
Amount = Annotated[
    int,
    BeforeValidator(parse_amount),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}),
]
Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    WithJsonSchema({"anyOf": [{"type": "string", "examples": ["512MB", "4GiB"]}, {"type": "integer", "minimum": 0}]}),
]
BitRate = Annotated[
    int,
    BeforeValidator(parse_bits),
    WithJsonSchema({"anyOf": [{"type": "string", "examples": ["1Gbit"]}, {"type": "integer", "minimum": 0}]}),
]
Custom = Annotated[
    dict[str, int],
    BeforeValidator(parse.parse_custom),
    WithJsonSchema({"type": "object", "additionalProperties": {"anyOf": [{"type": "number"}, {"type": "string"}]}}),
]
Factor = Annotated[
    float,
    BeforeValidator(parse.number_between(1, 100)),
    WithJsonSchema({"type": "number", "minimum": 1, "maximum": 100}),
]
Share = Annotated[
    float, BeforeValidator(parse.number_between(0, 1)), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})
]
Instant = Annotated[
    datetime, BeforeValidator(parse.parse_instant), WithJsonSchema({"type": "string", "format": "date-time"})
]
Cron = Annotated[
    str, BeforeValidator(parse.parse_cron), WithJsonSchema({"type": "string", "examples": ["0 */6 * * *"]})
]
Names = Annotated[tuple[str, ...], BeforeValidator(parse.parse_names), WithJsonSchema({**_TEXTS, "uniqueItems": True})]
Flag = Annotated[bool, BeforeValidator(parse.parse_flag), WithJsonSchema({"type": "boolean"})]
