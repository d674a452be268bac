"""What is written under `after`: names, lists by kind, a rule, a singleton, or Slurm's own text."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kos_ray.model.dependency import Conditions, Rule
from kos_ray.model.job import After
from kos_ray.spec.parse import near, parse_list, parse_text
from kos_ray.spec.units import describe, shorten

KINDS = {"ok": After.OK, "any": After.ANY, "not_ok": After.NOT_OK, "started": After.STARTED, "corr": After.CORR}
#: parents under a rule that counts how they ended: `of` them, and those of them that are setups
_OF, _SETUP = "of", "setup"
RULES = {rule.name.lower(): rule for rule in Rule}
WORDS = [*KINDS, "rule", _OF, _SETUP, "singleton"]
_SLURM = {
    "after": After.STARTED,
    "afterok": After.OK,
    "afterany": After.ANY,
    "afternotok": After.NOT_OK,
    "aftercorr": After.CORR,
}
_SINGLETON = "singleton"
#: a text is Slurm's when it begins like this; a job with such a name is written in a list
_SLURM_TEXT = re.compile(r"(?:after\w*:|singleton(?:[,?]|$))")
_FORM = f'a list of job names, a mapping of {", ".join(WORDS)}, or Slurm\'s text such as "afterok:a:b,afterany:c"'
_KEY_MAX = 200

Named = Callable[[object], Iterator[str]]


def parse_conditions(value: object, named: Named | None = None) -> Conditions:
    """A name, a list of names, a mapping, or Slurm's text. `named` gives the ids of what is no text, in Python.

    Raises:
        ValueError: with what was expected and found.

    """
    names = named or _name
    if isinstance(value, Conditions):
        return value
    if isinstance(value, str) and _SLURM_TEXT.match(value):
        return parse_slurm(value)
    groups: Mapping[Any, Any]
    if isinstance(value, list | tuple | str) or (named and not isinstance(value, Mapping)):
        groups = {"ok": value}
    elif isinstance(value, Mapping):
        groups = value
    else:
        raise ValueError(f"expected {_FORM}, found {describe(value)}")
    for word in groups:
        if word not in WORDS:
            raise ValueError(f"expected one of {', '.join(WORDS)}, found {describe(word)}{near(word, WORDS)}")
    rule = _rule(groups["rule"]) if "rule" in groups else Rule.ALL_MET
    key, by_type = _singleton(groups["singleton"]) if "singleton" in groups else ("", False)
    found: dict[str, After] = {}
    for word, kind in _kinds(groups, rule).items():
        for entry in _entries(groups[word], names):
            if entry in found:
                raise ValueError(f"expected every job once, found {shorten(entry)} twice")
            found[entry] = kind
    return Conditions(parents=tuple(found.items()), rule=rule, singleton=key, by_type=by_type)


def _kinds(groups: Mapping[Any, Any], rule: Rule) -> dict[str, After]:
    """The words under which parents stand, and the kind that each means under this rule."""
    written = [word for word in groups if word not in ("rule", _SINGLETON)]
    kinds = KINDS if rule.by_kind else {_OF: After.ANY}
    if rule is Rule.ALL_DONE_SETUP_SUCCESS:
        kinds = {**kinds, _SETUP: After.OK}
    for word in written:
        if word not in kinds:
            what = f"the rule {rule.name.lower()}" if rule or "rule" in groups else "no rule"
            raise ValueError(f"expected jobs under {' or '.join(kinds)} with {what}, found {word}")
    return {word: kinds[word] for word in written}


def _entries(parents: object, names: Named) -> Iterator[str]:
    if isinstance(parents, str):
        yield from _name(parents)
        return
    several = parents if isinstance(parents, list | tuple) else None
    if several is None and names is not _name:
        yield from names(parents)
        return
    for parent in parse_list(parents, "a list of job names"):
        yield from _name(parent) if isinstance(parent, str) else names(parent)


def _name(value: object) -> Iterator[str]:
    yield parse_text(value, "a job's name or id")


def _rule(value: object) -> Rule:
    if not isinstance(value, str) or value not in RULES:
        hint = near(value, RULES) if isinstance(value, str) else ""
        raise ValueError(f"expected a rule ({', '.join(RULES)}), found {describe(value)}{hint}")
    return RULES[value]


def _singleton(value: object) -> tuple[str, bool]:
    """The key, or that it is the job's type."""
    if isinstance(value, bool):
        return "", value
    key = parse_text(value, "true, or a key, under singleton")
    if len(key) > _KEY_MAX:
        raise ValueError(f"expected a key of at most {_KEY_MAX} characters, found {len(key)}")
    return key, False


def parse_slurm(text: str) -> Conditions:
    """`afterok:a:b,afterany:c` (all of it) or `afterok:a?afternotok:b` (one of it), as `sbatch --dependency` has it.

    Raises:
        ValueError: with what was expected and found.

    """
    if "," in text and "?" in text:
        raise ValueError(f"expected either , (all of them) or ? (one of them), found both in {shorten(text)}")
    parents: dict[str, After] = {}
    by_type = False
    for part in re.split("[,?]", text):
        word, *names = part.split(":")
        if word == _SINGLETON and not names:
            by_type = True
            continue
        if word not in _SLURM:
            known = [*_SLURM, _SINGLETON]
            raise ValueError(f"expected one of {', '.join(known)}, found {shorten(word)}{near(word, known)}")
        if not names or not all(names):
            raise ValueError(f"expected job names behind {word}:, found {shorten(part)}")
        for name in names:
            if "+" in name and _SLURM[word] is After.STARTED:
                raise ValueError(f"expected no delay behind after:, found {shorten(name)}: there are none yet")
            if parents.setdefault(name, _SLURM[word]) is not _SLURM[word]:
                raise ValueError(f"expected every job once, found {shorten(name)} twice")
    rule = Rule.ONE_MET if "?" in text else Rule.ALL_MET
    return Conditions(parents=tuple(parents.items()), rule=rule, by_type=by_type)
