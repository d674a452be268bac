"""Approval as people write it: `approval: {ask: "Deploy?", by: [ann], timeout: 2d, otherwise: reject}`, or a text."""

from typing import Any

from kos_ray.model.approval import Approval
from kos_ray.spec.parse import near, parse_list, parse_mapping, parse_text
from kos_ray.spec.units import parse_milliseconds

OTHERWISE = ("reject", "approve")
_FIELDS = ["ask", "by", "timeout", "otherwise"]
_TEXT_MAX = 1_000
SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": _TEXT_MAX},
        {
            "type": "object",
            "properties": {
                "ask": {"type": "string", "minLength": 1, "maxLength": _TEXT_MAX},
                "by": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
                "timeout": {"anyOf": [{"type": "string", "examples": ["2d"]}, {"type": "number", "minimum": 0}]},
                "otherwise": {"enum": list(OTHERWISE)},
            },
            "required": ["ask"],
            "additionalProperties": False,
        },
    ]
}


def parse_approval(value: object) -> Approval | None:
    """What somebody is asked before a job starts; a text alone is what is asked.

    Raises:
        ValueError: it is none.

    """
    if value is None or isinstance(value, Approval):
        return value
    found = {"ask": value} if isinstance(value, str) else dict(parse_mapping(value, f"a text, or {', '.join(_FIELDS)}"))
    for name in found:
        if name not in _FIELDS:
            raise ValueError(f"expected {', '.join(_FIELDS)}, found {name!r}{near(str(name), _FIELDS)}")
    ask = parse_text(found.get("ask", ""), "ask: what is asked, as text").strip()
    if not 0 < len(ask) <= _TEXT_MAX:
        raise ValueError(f"ask: expected what is asked, in 1 to {_TEXT_MAX} signs, found {len(ask)}")
    by = found.get("by", [])
    names = [by] if isinstance(by, str) else parse_list(by, "by: names of people", 100)
    otherwise = found.get("otherwise", OTHERWISE[0])
    if otherwise not in OTHERWISE:
        raise ValueError(f"otherwise: expected {' or '.join(OTHERWISE)}, found {otherwise!r}")
    if otherwise == "approve" and not found.get("timeout"):
        raise ValueError("otherwise: expected a timeout beside it, found none: nobody would be waited for in vain")
    return Approval(
        ask=ask,
        by=tuple(parse_text(name, "by: a name") for name in names),
        timeout_ms=parse_milliseconds(found.get("timeout", 0)),
        approve=otherwise == "approve",
    )
