"""The collector does not walk over what lives for long; what is in no cycle goes all the same."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from kos_ray.engine import garbage


class _Thing:
    pass


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_what_lives_is_out_of_sight() -> None:
    things = [_Thing() for _ in range(1_000)]
    garbage.begin()
    begun = gc.get_freeze_count()
    assert begun >= len(things)
    more = [_Thing() for _ in range(1_000)]
    garbage.keep()
    assert gc.get_freeze_count() >= begun + len(more)
    assert not any(isinstance(found, _Thing) for found in gc.get_objects())


def test_it_goes_when_nobody_holds_it() -> None:
    thing = _Thing()
    there = weakref.ref(thing)
    garbage.begin()
    del thing
    assert there() is None


def test_cycles_from_before_go_first() -> None:
    thing = _Thing()
    thing.itself = thing  # type: ignore[attr-defined]
    there = weakref.ref(thing)
    del thing
    garbage.begin()
    assert there() is None


def test_nothing_is_looked_at_meanwhile() -> None:
    with garbage.waiting():
        assert not gc.isenabled()
        with garbage.waiting():
            pass
        assert not gc.isenabled(), "it was off before"
    assert gc.isenabled()
