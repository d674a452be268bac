"""Members of gangs are told of each other: with their launch, and of what changes while they run."""

from dataclasses import replace
from itertools import groupby

from engine_build import NODE, SPEC, Hands, array, ended

from kos_ray.model.gang import GangMode, GangSpec, OnFailure
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd, Eviction

ALONE = replace(SPEC, single_use=True)


def started(on_failure: OnFailure) -> Hands:
    """A gang of two that runs."""
    hands = Hands()
    hands.greet()
    hands.submit(replace(array(count=2, spec=ALONE), gang=GangSpec(on_failure=on_failure)), spec=ALONE)
    hands.tick()
    return hands


def test_each_is_told_its_rank_and_the_nodes_with_its_launch() -> None:
    hands = started(OnFailure.COMPENSATE)
    (order,) = [launch for _, orders in hands.sent for launch in orders.launches]
    found = [(index, told.rank, told.size, told.round, told.nodes) for index, told in order.gangs]
    assert found == [(0, 0, 2, 1, ("n", "n")), (1, 1, 2, 1, ("n", "n"))]


def test_those_that_are_left_are_told_of_a_loss_once() -> None:
    hands = started(OnFailure.COMPENSATE)
    hands.report(ended(2, end=AttemptEnd.CRASHED))
    hands.tick()
    hands.tick()
    told = [found for _, orders in hands.sent for found in orders.gangs]
    assert [(key, attempt, gang.losses, gang.nodes) for key, attempt, gang in told] == [
        (JobKey(1), 1, ((1, (0,)),), ("n", ""))
    ]


def test_the_next_round_has_the_next_number() -> None:
    hands = started(OnFailure.REPLACE)
    hands.report(ended(2, end=AttemptEnd.RECALLED))
    hands.tick()
    hands.report(ended(1, end=AttemptEnd.STOPPED), number=2)
    hands.tick()
    rounds = [gang.round for _, orders in hands.sent for launch in orders.launches for _, gang in launch.gangs]
    assert rounds == [1, 1, 2, 2]


def test_a_request_that_is_refused_leaves_no_gang() -> None:
    hands = Hands()
    answer = hands.submit(replace(array(count=3, spec=ALONE), gang=GangSpec(size=2)), spec=ALONE)
    assert "whole number of gangs of 2" in str(answer)
    assert not hands.engine.state.gangs
    assert NODE.id not in hands.engine.state.nodes


def test_those_that_stay_do_the_share_of_who_shrank_away_until_it_is_back() -> None:
    hands, spec = Hands(), replace(ALONE, eviction=Eviction.SHRINK, band=4)
    hands.greet()
    hands.submit(replace(array(count=2, spec=spec), gang=GangSpec(mode=GangMode.QUORUM, least=1)), spec=spec)
    hands.time_us += 60_000_000
    urgent = replace(SPEC, band=0)
    hands.submit(array("urgent", spec=urgent), request="urgent", spec=urgent)
    hands.report(ended(2, end=AttemptEnd.STOPPED))
    hands.tick()
    hands.report(ended(3), number=2)
    hands.tick()
    told = [
        (rank, gang.rank, gang.losses, gang.nodes)
        for _, orders in hands.sent
        for rank, gang in [(key - 1, gang) for key, _, gang in orders.gangs]
        + [found for launch in orders.launches for found in launch.gangs]
    ]
    assert hands.launched() == [("a.0", 1), ("a.1", 1), ("urgent", 1), ("a.1", 2)]
    assert [(rank, losses, nodes) for (_, rank, losses, nodes), _ in groupby(told)] == [
        (0, (), ("n", "n")),
        (1, (), ("n", "n")),
        (0, ((1, (0,)),), ("n", "")),
        (0, (), ("n", "n")),
        (1, (), ("n", "n")),
    ]
