"""What a request says of dependencies and of arrays as a whole: checked before anything is kept."""

from collections.abc import Sequence

from kos_ray.model.dependency import Rule
from kos_ray.model.errors import Refused
from kos_ray.model.events import ArrayLimits
from kos_ray.model.job import After
from kos_ray.model.protocol import Array

#: a key is part of every message about its jobs
_KEY_MAX = 200
#: an enum takes as long to go through as the rest of a check
_KINDS = frozenset(int(kind) for kind in After)
_RULES = frozenset(int(rule) for rule in Rule)


def check_conditions(array: Array) -> None:
    """Refuse what has no meaning.

    Raises:
        Refused: with what was expected.

    """
    name = array.name or array.id
    if any(kind not in _KINDS for _, kind in array.after):
        raise Refused(f"job {name}: after: expected kinds {sorted(_KINDS)}, found {[kind for _, kind in array.after]}")
    if array.rule not in _RULES:
        raise Refused(f"job {name}: rule: expected 0 to {max(Rule)}, found {array.rule}")
    if array.rule and array.inputs:
        raise Refused(
            f"job {name}: its arguments are results of other jobs, which must all have succeeded: "
            f"expected no rule, found {Rule(array.rule).name.lower()}"
        )
    if len(array.singleton) > _KEY_MAX or "\0" in array.singleton:
        raise Refused(f"job {name}: singleton: expected at most {_KEY_MAX} characters, none of them NUL")
    if array.at_most < 0 or array.max_failures < 0:
        raise Refused(
            f"job {name}: expected at_most and max_failures of 0 or more, "
            f"found {array.at_most} and {array.max_failures}"
        )


def check_pairs(array: Array, ref: str, count: int) -> None:
    """Refuse an array whose items have not each one parent in another array.

    Raises:
        Refused: with both sizes.

    """
    if count != array.count:
        raise Refused(
            f"job {array.name or array.id}: corr: expected as many items as {ref} has ({_size(count)}), "
            f"found {_size(array.count)}"
        )


def _size(count: int) -> str:
    return "one job" if count < 0 else str(count)


def limits_of(arrays: Sequence[Array]) -> tuple[ArrayLimits, ...]:
    """What holds for the items of arrays together, of those that have limits."""
    return tuple(
        [
            ArrayLimits(
                index=index,
                group=array.group or array.id,
                at_most=array.at_most,
                max_failures=array.max_failures,
            )
            for index, array in enumerate(arrays)
            if array.at_most or array.max_failures
        ]
    )
