"""Messages and settings come back from plain data as they were."""

import msgpack
import pytest

from kos_ray.model.ids import JobKey, SpecKey
from kos_ray.model.job import Demands, SlotKind, Spec
from kos_ray.model.policy import Discipline, Namespace, Policy
from kos_ray.model.protocol import LaunchOrder, Orders
from kos_ray.model.resources import Resources
from kos_ray.model.wire import from_plain, to_plain

_KIND = SlotKind(resources=Resources.of({"CPU": 1}))
_LAUNCH = LaunchOrder(
    kind=_KIND,
    slots=1,
    keys=(JobKey(1),),
    attempts=(1,),
    ranks=(3,),
    specs=(SpecKey(1),),
    ids=("id",),
    args=(b"args",),
    inputs=((0, (b"one", (b"of", b"many"))),),
)


@pytest.mark.parametrize(
    "value",
    [
        Orders(cluster_id="c", epoch=1, new_specs=((SpecKey(1), Spec(entry="m:f")),), launches=(_LAUNCH,)),
        Spec(entry="m:f", demands=Demands(licences=(("matlab", 10_000),), concurrency=(("db", 1),))),
        Policy(namespaces=(Namespace(name="a", discipline=Discipline.LIFO), Namespace(name="b"))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_round_trip(value: object) -> None:
    """Also what may be one of two things, or missing."""
    plain = msgpack.unpackb(msgpack.packb(to_plain(value)), use_list=False, strict_map_key=False)
    found = from_plain(type(value), plain)
    assert found == value


def test_an_enumeration_that_may_be_missing_stays_one() -> None:
    """What compares it by identity must not get a bare number."""
    plain = msgpack.unpackb(
        msgpack.packb(to_plain(Namespace(name="a", discipline=Discipline.LIFO))), use_list=False, strict_map_key=False
    )
    assert from_plain(Namespace, plain).discipline is Discipline.LIFO
