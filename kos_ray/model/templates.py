"""Templates of paths: a text in which `{id}` and the like stand for what a job has."""

import string
from collections.abc import Mapping


def fields(template: str) -> list[str]:
    """The names that stand in braces, in their order.

    Raises:
        ValueError: the braces are not closed, or there is more in them than a name.

    """
    found = []
    for _, name, form, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        more = (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
        if more:
            raise ValueError(f"expected {{{name}}} without a form or conversion, found {{{name}{more}}}")
        found.append(name)
    return found


def filled(template: str, values: Mapping[str, str]) -> str:
    """The template with a value for each name.

    Raises:
        ValueError: see `fields`; or a name has no value.

    """
    for name in fields(template):
        if name not in values:
            raise ValueError(f"expected {{{'}, {'.join(values)}}}, found {{{name}}}")
    return template.format_map(values)
