"""Where a job may run, as people write it: labels as in Ray's label selectors, other jobs by name, tag or type."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetPydanticSchema, WithJsonSchema, model_validator
from pydantic_core.core_schema import no_info_plain_validator_function

from kos_ray.model.where import Neighbours, Selector, Strategy, Where
from kos_ray.spec.parse import (
    integer_between,
    near,
    parse_actor,
    parse_integer,
    parse_list,
    parse_mapping,
    parse_namespace,
    parse_text,
)
from kos_ray.spec.strict import Strict
from kos_ray.spec.units import describe

#: how jobs are named by others' rules, and how each is checked
_WORDS = {"job": parse_actor, "tag": parse_actor, "type": parse_actor, "namespace": parse_namespace}
_IN = re.compile(r"(!|not\s+)?in\s*\(([^()]*)\)")
_MAX_WEIGHT = 1_000
_TEXTS: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_BY_WORDS: dict[str, Any] = {
    "type": "object",
    "properties": {**dict.fromkeys(_WORDS, _TEXTS), "by": {"type": "string"}},
    "additionalProperties": False,
}


def parse_selectors(value: object) -> tuple[Selector, ...]:
    """`{zone: a, gpu: [A100, H100], disk: "!slow", net: "!in(a, b)", ssd: true, slow: false}`.

    `true` or "*": the label is there; `false` or "!*": it is not.
    """
    found = []
    for name, text in parse_mapping(value, "a mapping of labels to values").items():
        label = parse_text(name, "a label's name")
        try:
            found.append(_selector(label, text))
        except ValueError as error:
            raise ValueError(f"{label}: {error}") from None
    return tuple(sorted(found))


def _selector(label: str, value: object) -> Selector:
    if isinstance(value, bool):
        return Selector(label, negated=not value)
    if isinstance(value, int | float):
        return Selector(label, (str(value),))
    if isinstance(value, list | tuple):
        values = [_value(one) for one in parse_list(value, "a list of values", 1_000)]
        if not values:
            raise ValueError("expected at least one value, found an empty list; use true where any value will do")
        return Selector(label, tuple(sorted(values)))
    text = parse_text(
        value, 'a value such as "a", a list of them, "!a", "in(a, b)", "!in(a, b)", true or false'
    ).strip()
    match = _IN.fullmatch(text)
    if match:
        values = [part.strip() for part in match[2].split(",")]
        if not all(values):
            raise ValueError(f"expected values with commas between them in in(...), found {text!r}")
        return Selector(label, tuple(sorted(values)), negated=bool(match[1]))
    negated = text.startswith("!")
    text = text[1:].strip() if negated else text
    if text == "*":
        return Selector(label, negated=negated)
    return Selector(label, (_value(text),), negated=negated)


def _value(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return parse_text(value, "a label's value as text")


def parse_neighbours(value: object) -> tuple[Neighbours, ...]:
    """`tag:web`, a list of such words, `{tag: web, by: zone}`, or a list of both.

    A text without a colon is a job's name. Words of one mapping go together: near one of them, apart from all.
    """
    parts = parse_list(value, "a list", 1_000) if isinstance(value, list | tuple) else [value]
    found = []
    for part in parts:
        if isinstance(part, Mapping):
            fields = dict(part)
            by = parse_text(fields.pop("by"), "the name of a label") if "by" in fields else ""
            words = tuple(sorted(_words(fields)))
            if not words:
                raise ValueError(f"expected one of {', '.join(_WORDS)} beside by, found none")
            found.append(Neighbours(words, by=by))
        else:
            text = parse_text(part, 'a job such as "cache" or "tag:web"')
            kind, sign, name = text.partition(":")
            words = tuple(_words({kind: name} if sign and kind in _WORDS else {"job": text}))
            found.append(Neighbours(words))
    return tuple(found)


def _words(fields: Mapping[str, object]) -> Iterator[str]:
    for kind, names in fields.items():
        if kind not in _WORDS:
            raise ValueError(f"expected {', '.join(_WORDS)} or by, found {describe(kind)}{near(kind, list(_WORDS))}")
        for name in names if isinstance(names, list | tuple) else (names,):
            try:
                yield f"{kind}:{_WORDS[kind](name)}"
            except ValueError as error:
                raise ValueError(f"{kind}: {error}") from None


def parse_strategy(value: object) -> Strategy:
    """`pack`, `spread` or `fgd`."""
    words = {found.name.lower(): found for found in Strategy if found is not Strategy.DEFAULT}
    word = value.lower() if isinstance(value, str) else ""
    if word not in words:
        raise ValueError(f"expected one of {', '.join(words)}, found {describe(value)}{near(word, words)}")
    return words[word]


def parse_percent(value: object) -> int:
    """`"30%"`, or a whole number of percent."""
    text = value.removesuffix("%").strip() if isinstance(value, str) else value
    try:
        return parse_integer(int(text) if isinstance(text, str) else text, "a share", 0, 100)
    except ValueError:
        raise ValueError(f'expected a share such as "30%", found {describe(value)}') from None


def _names(value: object) -> tuple[str, ...]:
    parts = value if isinstance(value, list | tuple) else [value]
    return tuple(sorted({parse_actor(part) for part in parts}))


_PERCENT: dict[str, Any] = {"anyOf": [{"type": "string", "examples": ["30%"]}, {"type": "integer", "minimum": 0}]}
_WORDS_OR_WORD: list[dict[str, Any]] = [{"type": "string"}, _BY_WORDS]
_Labels = Annotated[
    tuple[Selector, ...],
    # the parser is the whole of it: what the classes look like inside is nothing for editors
    GetPydanticSchema(lambda _type, _handler: no_info_plain_validator_function(parse_selectors)),
    WithJsonSchema({"type": "object"}),
]
_Jobs = Annotated[
    tuple[Neighbours, ...],
    GetPydanticSchema(lambda _type, _handler: no_info_plain_validator_function(parse_neighbours)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                _BY_WORDS,
                {"type": "array", "items": {"anyOf": [{"type": "string"}, _BY_WORDS]}},
            ]
        }
    ),
]
_Nodes = Annotated[tuple[str, ...], BeforeValidator(_names), WithJsonSchema(_TEXTS)]
_Chosen = Annotated[
    Strategy, BeforeValidator(parse_strategy), WithJsonSchema({"enum": ["pack", "spread", "fgd"], "type": "string"})
]
_Weight = Annotated[
    int,
    BeforeValidator(integer_between(1, _MAX_WEIGHT, "a weight")),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": _MAX_WEIGHT}),
]


class Wish(Strict):
    """What a job would rather have, and how much: the node with the largest sum of weights is taken."""

    labels: _Labels = Field(default=(), description="Labels that it would rather have.")
    near: _Jobs = Field(default=(), description="Jobs that it would rather be near to.")
    apart: _Jobs = Field(default=(), description="Jobs that it would rather be apart from.")
    weight: _Weight = Field(default=1, description="How much each of them counts.")


def _wishes(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


class WhereSpec(Strict):
    """Where a job may run, and where it would rather."""

    labels: _Labels = Field(
        default=(),
        description="Labels that the node has: `{zone: a, gpu: [A100, H100], disk: '!slow', net: '!in(a, b)', "
        "ssd: true}`; true: the label is there, false: it is not.",
    )
    nodes: _Nodes = Field(default=(), description="Names of nodes, or of their hosts: one of these.")
    not_nodes: _Nodes = Field(default=(), description="And none of these.")
    near: _Jobs = Field(
        default=(),
        description='Jobs that run where it starts: a name, "tag:T", "type:T", "namespace:N", a list of them (all), or '
        "`{tag: [a, b], by: zone}`: one of these, on a node with the same value of a label.",
    )
    apart: _Jobs = Field(
        default=(), description="Jobs that do not run there, and do not start there while it does; written as `near`."
    )
    data: _Jobs = Field(
        default=(), description="Jobs whose results it reads: rather where they have run last; written as `near`."
    )
    prefer: Annotated[tuple[Wish, ...], BeforeValidator(_wishes)] = Field(
        default=(),
        description="What it would rather have: `{labels: ..., near: ..., apart: ..., weight: 5}`, or a list.",
    )
    battery: Annotated[int, BeforeValidator(parse_percent), WithJsonSchema(_PERCENT)] = Field(
        default=0, description='Of nodes that run on battery, only those with more than this: "30%".'
    )
    strategy: _Chosen = Field(
        default=Strategy.DEFAULT,
        description="Among the nodes that fit: pack (the fullest), spread (the emptiest), or fgd (the one that is "
        "fragmented the least); the namespace's or the cluster's where nothing is said.",
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "WhereSpec":
        both = sorted(set(self.nodes) & set(self.not_nodes))
        if both:
            raise ValueError(f"expected a node either under nodes or under not_nodes, found {both[0]!r} under both")
        return self

    def lower(self) -> Where:
        """The model's value."""
        labels, jobs = list(self.labels), list(self.near)
        jobs += [replace(rule, apart=True) for rule in self.apart]
        jobs += [replace(rule, past=True, weight=1) for rule in self.data]
        for wish in self.prefer:
            labels += [replace(one, weight=wish.weight) for one in wish.labels]
            jobs += [replace(rule, weight=wish.weight) for rule in wish.near]
            jobs += [replace(rule, weight=wish.weight, apart=True) for rule in wish.apart]
        return Where(
            labels=tuple(labels),
            nodes=self.nodes,
            not_nodes=self.not_nodes,
            jobs=tuple(jobs),
            strategy=self.strategy,
            battery=self.battery,
        )
