"""Resources as integers: an `Amount` is 1/10 000 of a unit, as in HyperQueue and in Ray's own core.

Units are Ray's: CPU and GPU in devices, memory in bytes, custom resources in whatever they count.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

UNIT = 10_000


def to_amount(units: float) -> int:
    """Units to amount, rounded up, so that a request is never shrunk to nothing.

    Raises:
        ValueError: negative or not finite.

    """
    if not 0 <= units < float("inf"):
        raise ValueError(f"a resource must be a finite number >= 0, found {units!r}")
    scaled = units * UNIT
    nearest = round(scaled)
    if abs(scaled - nearest) < 1e-6 * max(1.0, abs(scaled)):
        return nearest
    return int(scaled) + 1


@dataclass(frozen=True, slots=True, order=True)
class Resources:
    """A vector of positive amounts, sorted by name; absent means zero."""

    amounts: tuple[tuple[str, int], ...] = ()

    def __hash__(self) -> int:
        return hash(self.amounts)

    @classmethod
    def of(cls, units: Mapping[str, float]) -> "Resources":
        """From units: `Resources.of({"CPU": 1, "memory": 2**29})`."""
        return cls.from_amounts({name: to_amount(value) for name, value in units.items()})

    @classmethod
    def from_amounts(cls, amounts: Mapping[str, int]) -> "Resources":
        """From integer amounts; zeros are dropped, a negative one raises ValueError."""
        if any(value < 0 for value in amounts.values()):
            raise ValueError(f"resources cannot be negative: {dict(amounts)}")
        return cls(tuple(sorted((n, v) for n, v in amounts.items() if v)))

    def as_units(self) -> dict[str, float]:
        """To units, whole numbers as int: the form that Ray and people read."""
        return {n: (v // UNIT if v % UNIT == 0 else v / UNIT) for n, v in self.amounts}

    def times_in(self, free: Mapping[str, int], at_most: int) -> int:
        """How many times this vector fits into `free` (amounts by name), bounded by `at_most`."""
        for name, amount in self.amounts:
            times = free.get(name, 0) // amount
            if times < at_most:
                if times <= 0:
                    return 0
                at_most = times
        return max(0, at_most)

    def fits(self, free: Mapping[str, int]) -> bool:
        """Whether it fits once."""
        for name, amount in self.amounts:  # noqa: SIM110 - asked more often than anything else
            if free.get(name, 0) < amount:
                return False
        return True

    def lacking(self, free: Mapping[str, int]) -> tuple[str, ...]:
        """The names of which `free` has too little."""
        return tuple(name for name, amount in self.amounts if free.get(name, 0) < amount)


def total(vectors: Iterable[Resources]) -> dict[str, int]:
    """The sum of vectors as amounts by name."""
    result: dict[str, int] = {}
    for vector in vectors:
        for name, amount in vector.amounts:
            result[name] = result.get(name, 0) + amount
    return result


def add(pool: dict[str, int], vector: Resources, times: int) -> None:
    """Add `vector` `times` times (negative takes away) to a pool of amounts in place."""
    for name, amount in vector.amounts:
        pool[name] = pool.get(name, 0) + amount * times
