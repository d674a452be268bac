"""Gangs and bundles from the text to the event: what may be written, what is refused and where."""

import pytest

from kos_ray.engine.gangs import gangs_of
from kos_ray.model.errors import InvalidSpec, Refused
from kos_ray.model.events import NewGang
from kos_ray.model.gang import GangMode, GangSpec, OnFailure, owner_of
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey
from kos_ray.model.job import Demands, Eviction, Spec
from kos_ray.model.protocol import Array
from kos_ray.model.resources import Resources
from kos_ray.model.where import Where
from kos_ray.spec.gang import parse_gang
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import Draft, lower

BUNDLE = """
name: train
jobs:
  - {id: driver, run: drive, resources: {cpu: 2}, bundle: trio, gang: {on_failure: abort}}
  - {id: other, run: x}
  - {id: worker, run: work, count: 2, bundle: trio}
"""


def drafts(text: str) -> list[Draft]:
    return lower([load_text(text, "doc.yaml")])


def admitted(found: list[Draft]) -> tuple[NewGang, ...]:
    """The gangs that a request with these drafts has, its keys from 10 on."""
    arrays = [
        Array(id=draft.name or f"a{i}", count=draft.count, spec=spec_hash(draft.spec), args=draft.args, gang=draft.gang)
        for i, draft in enumerate(found)
    ]
    return gangs_of(arrays, JobKey(10), {spec_hash(draft.spec): draft.spec for draft in found})


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (4, GangSpec(size=4)),
        ({"size": 4}, GangSpec(size=4)),
        ({"min": 3}, GangSpec(least=3, mode=GangMode.QUORUM)),
        ({"size": 4, "min": 3, "mode": "quorum"}, GangSpec(size=4, least=3, mode=GangMode.QUORUM)),
        ({"mode": "best-effort"}, GangSpec(mode=GangMode.BEST_EFFORT)),
        ({"size": 2, "on_failure": "Abort"}, GangSpec(size=2, on_failure=OnFailure.ABORT)),
        ({"on_failure": "compensate"}, GangSpec(on_failure=OnFailure.COMPENSATE)),
    ],
)
def test_a_gang_as_it_is_written(written: object, found: GangSpec) -> None:
    assert parse_gang(written) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: x\ngang: 0", "doc.yaml:2: gang: expected the members of a gang from 1 to 1024, found 0"),
        ("run: x\ngang: {sise: 4}", "found 'sise'; did you mean"),
        ("run: x\ngang: {size: 4, mode: al}", "mode: expected one of all, quorum, best_effort, found 'al'"),
        ("run: x\ngang: {size: 4, min: 5}", "min: so many of them"),
        ("run: x\ngang: {size: 4, mode: quorum}", "expected min with mode quorum and nowhere else"),
        ("run: x\ngang: {size: 4, min: 2, mode: all}", "expected min with mode quorum and nowhere else"),
        ("run: x\ngang: {mode: all}", "expected a size of the gang, or count, found neither"),
        ("run: x\ncount: 5\ngang: 2", "expected a whole number of gangs of 2, found 5 items"),
        ("run: x\ncount: 2\ngang: {min: 3}", "expected min of at most 2"),
        ("run: x\ncount: 4\ngang: 2\nat_most: 1", "expected no at_most with a gang"),
        ("run: x\ngang: 2\nafter: {singleton: true}", "expected no singleton with a gang"),
        ("run: x\nbundle: b\ngang: 2", "expected no size with a bundle"),
        (
            "- {run: x, bundle: b, gang: {on_failure: abort}}\n- {run: y, bundle: b, gang: {min: 1}}",
            "doc.yaml:2: [1].gang: expected the same of one bundle",
        ),
        (
            "- {run: x, bundle: b, gang: {min: 3}}\n- {run: y, bundle: b}",
            "expected min of at most 2, the bundle's members",
        ),
        ("- {run: x, bundle: b, namespace: n}\n- {run: y, bundle: b}", "expected one namespace"),
        ("run: x\npreemption: shrink", "doc.yaml:1: expected a least size with preemption shrink, gang: {min: ...}"),
        ("run: x\ngang: 4\npreemption: shrink", "gang: {min: ...}, found a gang without min"),
        (
            "- {run: x, bundle: b}\n- run: y\n  bundle: b\n  preemption: shrink",
            "doc.yaml:4: [1].preemption: expected a least size with preemption shrink, gang: {min: ...}, found no gang",
        ),
        (
            "run: x\ngang: {size: 4, min: 2}\nguarantee: at_most_once\npreemption: shrink",
            "expected preemption cancel or never with at_most_once, whose code is never entered twice, found shrink",
        ),
        (
            "run: x\nresources: {cpu: {min: 2, max: 8}}",
            "doc.yaml:2: resources.cpu: expected a number such as 1 or 0.5, found a range; write what would do instead",
        ),
    ],
)
def test_what_makes_no_gang_is_refused_at_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        load_text(text, "doc.yaml")
    assert message in str(refused.value)


def test_an_array_is_cut_into_gangs_and_its_processes_serve_once() -> None:
    (draft,) = drafts("run: x\ncount: 6\ngang: {size: 3, min: 2, on_failure: compensate}")
    assert draft.spec.single_use
    compensate = {"mode": GangMode.QUORUM, "on_failure": OnFailure.COMPENSATE, "least": 2}
    assert admitted([draft]) == (
        NewGang(name="a0.0", ranges=((10, 3),), **compensate),
        NewGang(name="a0.1", ranges=((13, 3),), **compensate),
    )


def test_a_gang_without_a_count_is_an_array_of_its_size() -> None:
    (draft,) = drafts("run: x\ngang: 4")
    assert (draft.count, len(draft.args)) == (4, 4)
    assert admitted([draft]) == (NewGang(name="a0", ranges=((10, 4),), least=4),)


def test_a_gang_that_shrinks_says_how_far() -> None:
    (draft,) = drafts("run: x\ngang: {size: 4, min: 2}\npreemption: shrink")
    assert draft.spec.eviction is Eviction.SHRINK
    (gang,) = admitted([draft])
    assert gang.least == 2
    (one, other) = drafts("- {run: x, bundle: b, gang: {min: 1}}\n- {run: y, bundle: b, preemption: shrink}")
    (gang,) = admitted([one, other])
    assert (gang.least, other.spec.eviction) == (1, Eviction.SHRINK)


def test_a_bundle_is_one_gang_of_different_shapes() -> None:
    found = drafts(BUNDLE)
    assert [draft.name for draft in found] == ["train/driver", "train/other", "train/worker"]
    assert admitted(found) == (
        NewGang(name="train/driver", ranges=((10, 1), (12, 2)), least=3, on_failure=OnFailure.ABORT),
    )
    assert [draft.spec.single_use for draft in found] == [True, False, True]


def test_best_effort_needs_nobody() -> None:
    (gang,) = admitted(drafts("run: x\ngang: {size: 3, mode: best_effort}"))
    assert gang.least == 0


@pytest.mark.parametrize(
    ("fields", "spec", "message"),
    [
        ({"gang": GangSpec(size=3)}, Spec(entry="m:f"), "whole number of gangs of 3, found 4"),
        ({"gang": GangSpec(least=5, mode=GangMode.QUORUM)}, Spec(entry="m:f"), "expected min of 1 to 4, found 5"),
        ({"gang": GangSpec(), "at_most": 1}, Spec(entry="m:f"), "expected no at_most with a gang"),
        ({"gang": GangSpec(), "singleton": "s"}, Spec(entry="m:f"), "expected no singleton with a gang"),
        (
            {"gang": GangSpec()},
            Spec(entry="m:f", where=Where(alternatives=(Resources.of({"CPU": 8}),))),
            "expected no any in a gang",
        ),
        (
            {"gang": GangSpec()},
            Spec(entry="m:f", where=Where(gpu_memory=1)),
            "expected no gpu_memory without gpu in a gang",
        ),
        (
            {"gang": GangSpec()},
            Spec(entry="m:f", demands=Demands(concurrency=(("db", 2),))),
            "concurrency: expected 4 or more of db, as its gang, found 2",
        ),
        ({}, Spec(entry="m:f", eviction=Eviction.SHRINK), "preemption shrink, gang: {min: ...}, found no gang"),
        ({"gang": GangSpec()}, Spec(entry="m:f", eviction=Eviction.SHRINK), "found a gang without min"),
        ({"gang": GangSpec(bundle="b")}, Spec(entry="m:f", eviction=Eviction.SHRINK), "found a gang without min"),
    ],
)
def test_the_engine_refuses_what_could_never_start_together(fields: dict, spec: Spec, message: str) -> None:
    array = Array(id="a", count=4, spec="h", args=(b"",) * 4, **fields)
    with pytest.raises(Refused, match=message):
        gangs_of([array], JobKey(1), {"h": spec})


def test_a_lost_share_is_dealt_out_and_nothing_else_moves() -> None:
    items = range(60)
    before = [owner_of(item, 4, ()) for item in items]
    once = [owner_of(item, 4, ((1, (0, 2, 3)),)) for item in items]
    twice = [owner_of(item, 4, ((1, (0, 2, 3)), (2, (0, 3)))) for item in items]
    assert [new for old, new in zip(before, once, strict=True) if old != 1] == [old for old in before if old != 1]
    assert [new for old, new in zip(once, twice, strict=True) if old != 2] == [old for old in once if old != 2]
    assert sorted(map(once.count, (0, 2, 3))) == [20, 20, 20]
    assert set(twice) == {0, 3}
