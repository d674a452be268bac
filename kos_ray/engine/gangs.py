"""Gangs of a request: checked before anything is kept, and what members are told of theirs while they run."""

from collections.abc import Mapping, Sequence

from kos_ray.model.errors import Refused
from kos_ray.model.events import NewGang
from kos_ray.model.gang import GANG_MAX, SHRINK_NEEDS, GangMode, GangSpec
from kos_ray.model.ids import JobKey
from kos_ray.model.job import Eviction, Spec
from kos_ray.model.protocol import Array

_Ranges = tuple[tuple[int, int], ...]


def gangs_of(arrays: Sequence[Array], first: JobKey, specs: Mapping[str, Spec]) -> tuple[NewGang, ...]:
    """The gangs that a request's arrays are cut into, and its bundles. `first` is the request's first key.

    Raises:
        Refused: with what was expected; nothing was kept.

    """
    shrinking = {hash_ for hash_, spec in specs.items() if spec.eviction is Eviction.SHRINK}
    for array in arrays if shrinking else ():
        if array.gang is None and array.spec in shrinking:
            raise _cannot_shrink(array)
    if all(array.gang is None for array in arrays):
        return ()
    found: list[NewGang] = []
    bundles: dict[str, list[tuple[Array, int]]] = {}
    key = int(first)
    for array in arrays:
        gang = array.gang
        if gang is not None:
            _check(array, gang, specs[array.spec])
        if gang is not None and gang.bundle:
            bundles.setdefault(gang.bundle, []).append((array, key))
        elif gang is not None:
            _check_shrinks(array, gang, specs[array.spec])
            found += _cut(array, gang, key)
        key += abs(array.count)
    return (*found, *(_bundle(name, members, specs) for name, members in bundles.items()))


def _check(array: Array, gang: GangSpec, spec: Spec) -> None:
    """Refuse what keeps members apart that are to start together."""
    if gang.mode is GangMode.BEST_EFFORT:
        return
    if array.at_most or array.singleton:
        word = "at_most" if array.at_most else "singleton"
        raise Refused(f"job {_name(array)}: expected no {word} with a gang, whose members start together")
    if spec.where.alternatives or (spec.where.gpu_memory and not dict(spec.resources.amounts).get("GPU")):
        word = "any" if spec.where.alternatives else "gpu_memory without gpu"
        raise Refused(
            f"job {_name(array)}: resources: expected no {word} in a gang, whose members' slots are chosen alike"
        )
    together = gang.least or gang.size or abs(array.count)
    for key, most in spec.demands.concurrency:
        if most < together:
            raise Refused(
                f"job {_name(array)}: concurrency: expected {together} or more of {key}, as its gang, found {most}"
            )


def _check_shrinks(array: Array, gang: GangSpec, spec: Spec) -> None:
    if spec.eviction is Eviction.SHRINK and gang.mode is not GangMode.QUORUM:
        raise _cannot_shrink(array)


def _cannot_shrink(array: Array) -> Refused:
    what = "no gang" if array.gang is None else "a gang without min"
    return Refused(f"job {_name(array)}: expected a least size with preemption shrink, {SHRINK_NEEDS}, found {what}")


def _cut(array: Array, gang: GangSpec, key: int) -> list[NewGang]:
    count = abs(array.count)
    size = gang.size or count
    if size < 1 or count % size:
        raise Refused(f"job {_name(array)}: gang: expected a whole number of gangs of {size}, found {count} items")
    return [
        _gang(f"{array.id}.{start // size}" if size < count else array.id, array, gang, ((key + start, size),))
        for start in range(0, count, size)
    ]


def _bundle(name: str, members: Sequence[tuple[Array, int]], specs: Mapping[str, Spec]) -> NewGang:
    said = {array.gang for array, _ in members if array.gang is not None and array.gang != GangSpec(bundle=name)}
    namespaces = {specs[array.spec].namespace for array, _ in members}
    if len(said) > 1 or len(namespaces) > 1:
        what = "gang" if len(said) > 1 else "namespace"
        raise Refused(f"bundle {name}: expected one {what} of all its jobs, found {max(len(said), len(namespaces))}")
    array, _ = members[0]
    gang = next(iter(said), GangSpec(bundle=name))
    for other, _ in members:
        _check_shrinks(other, gang, specs[other.spec])
    return _gang(array.id, array, gang, tuple((key, abs(array.count)) for array, key in members))


def _gang(name: str, array: Array, gang: GangSpec, ranges: _Ranges) -> NewGang:
    size = sum(count for _, count in ranges)
    if size > GANG_MAX:
        raise Refused(f"job {_name(array)}: expected gangs of at most {GANG_MAX} members, found {size}")
    if gang.mode is GangMode.QUORUM and not 1 <= gang.least <= size:
        raise Refused(f"job {_name(array)}: gang: expected min of 1 to {size}, found {gang.least}")
    least = {GangMode.ALL: size, GangMode.BEST_EFFORT: 0}.get(gang.mode, gang.least)
    return NewGang(name=name, ranges=ranges, least=least, mode=gang.mode, on_failure=gang.on_failure)


def _name(array: Array) -> str:
    return array.name or array.id
