"""Single jobs in columns: they come to the same as arrays of one job each, and are checked as those are."""

from dataclasses import replace
from typing import Any

import pytest
from engine_build import SPEC, Hands, array

from kos_ray.model.errors import Refused
from kos_ray.model.events import JobsSubmitted
from kos_ray.model.hashing import spec_hash
from kos_ray.model.job import Spec
from kos_ray.model.protocol import Accepted, Array, Singles, Submit

OTHER = replace(SPEC, namespace="other", band=1)
SPECS = tuple((spec_hash(spec), spec) for spec in (SPEC, OTHER))
MANY = Singles(
    ids=("a", "b", "c"), hashes=(spec_hash(SPEC), spec_hash(OTHER)), specs=(0, 1, 0), args=(b"\0x", b"", b"\0y")
)


def send(hands: Hands, singles: Singles, request: str = "r", **fields: Any) -> Any:
    submit = Submit(request_id=request, **{"arrays": (), "specs": SPECS, **fields}, singles=singles)
    hands.engine.submit(submit, hands.answers.append)
    hands.tick()
    return hands.answers[-1]


def submitted(hands: Hands) -> list[JobsSubmitted]:
    return [event for frame in hands.journal.frames() for event in frame.events if isinstance(event, JobsSubmitted)]


def test_they_are_what_arrays_of_one_job_each_would_be() -> None:
    ours, theirs = Hands(), Hands()
    assert send(ours, MANY) == Accepted(first=1, job_count=3, epoch=1)
    arrays = tuple(
        Array(id=id_, count=-1, spec=MANY.hashes[spec], args=(args,))
        for id_, spec, args in zip(MANY.ids, MANY.specs, MANY.args, strict=True)
    )
    theirs.engine.submit(Submit(request_id="r", arrays=arrays, specs=SPECS), theirs.answers.append)
    theirs.tick()
    assert submitted(ours) == submitted(theirs)
    assert send(ours, MANY) == Accepted(first=1, job_count=3, epoch=1), "said again, it is answered again"
    assert len(ours.engine.state.jobs) == 3


def test_a_spec_that_nobody_knows_is_asked_for() -> None:
    assert send(Hands(), MANY, specs=SPECS[:1]) == Accepted(unknown_specs=(spec_hash(OTHER),))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ids": ("a", "b", "a")}, "every array needs an id of its own"),
        ({"ids": ("a", "b", "")}, "every array needs an id of its own"),
        ({"ids": (), "specs": (), "args": ()}, "a request holds 1 to 20000 jobs, found 0"),
        ({"args": (b"",)}, "expected columns of one length, and no arrays; found 3 ids, 3 specs, 1 arguments"),
        ({"specs": (0, 2, 0)}, "expected specs 0 to 1, found"),
        ({"specs": (0, -1, 0)}, "expected specs 0 to 1, found"),
        ({"ids": ("a", "old", "c")}, "the name 'old' is taken in namespace 'other'"),
        ({"ids": ("a", "b", "named")}, "the name 'named' is taken in namespace 'default'"),
        ({"ids": ("many.1", "b", "c")}, "the name 'many.1' is taken in namespace 'default'"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(change: dict[str, Any], words: str) -> None:
    hands = Hands()
    hands.submit(array("old", name="named"), array("many", count=2), request="before")
    answer = send(hands, replace(MANY, **change))
    assert isinstance(answer, Refused)
    assert words in str(answer)
    assert len(hands.engine.state.jobs) == 3
    assert send(hands, MANY).first == 4, "and the same request may come again, mended"


def test_arrays_beside_them_are_refused() -> None:
    answer = send(Hands(), MANY, arrays=(array("x"),))
    assert "and no arrays; found 3 ids, 3 specs, 3 arguments and 1 arrays" in str(answer)


def test_a_name_of_another_namespace_is_free() -> None:
    hands = Hands()
    hands.submit(array("old", name="b"), request="before")
    assert send(hands, MANY).first == 2


def test_requests_of_one_tick_see_them() -> None:
    hands = Hands()
    known: tuple[tuple[str, Spec], ...] = SPECS
    hands.engine.submit(Submit(request_id="1", arrays=(), specs=known, singles=MANY), hands.answers.append)
    for number, sent in enumerate((array("j", after=(("c", 0),)), array("k", name="a"), array("b")), 2):
        hands.engine.submit(Submit(request_id=str(number), arrays=(sent,), specs=known), hands.answers.append)
    hands.engine.submit(
        Submit(request_id="5", arrays=(), specs=known, singles=replace(MANY, ids=("x", "c", "z"))), hands.answers.append
    )
    hands.tick()
    first, second, *refused = hands.answers
    assert (first, second) == (Accepted(first=1, job_count=3, epoch=1), Accepted(first=4, job_count=1, epoch=1))
    assert [str(one).split(":")[0] for one in refused] == [
        "the name 'a' is taken in namespace 'default'",
        "every array needs an id of its own",
        "every array needs an id of its own",
    ]
    assert hands.engine.state.jobs[4].dependency.after == ((3, 1, 0),)
