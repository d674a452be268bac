"""What people say of nodes, through the engine: merged, journaled, kept, and what named neighbours become."""

from dataclasses import replace
from typing import Any

from kos_ray.engine.inbox import NodesWish
from kos_ray.engine.wishes import advised, standings
from kos_ray.model.events import JobsSubmitted, NodesMarked
from kos_ray.model.ids import NodeId
from kos_ray.model.node import HOST, Mark, Node
from kos_ray.model.where import Neighbours, Where
from tests.unit.engine.engine_build import NODE, SPEC, Hands, array, ended

LABELLED = replace(NODE, labels=((HOST, "h"), ("zone", "x")))


def say(hands: Hands, *names: str, by: str = "ann", **change: Any) -> Any:
    hands.engine.wish(NodesWish("r", names, change, by), hands.answers.append)
    hands.tick()
    return hands.answers[-1]


def test_what_is_said_later_is_added_to_what_was_said() -> None:
    hands = Hands()
    assert say(hands, "h", cordoned=True, note="fan") == (Mark(name="h", cordoned=True, note="fan", by="ann"),)
    say(hands, "h", labels=[("a", "1"), ("b", "2")])
    (mark,) = say(hands, "h", labels=[("b", ""), ("c", "3")], by="bob")
    assert (mark.labels, mark.cordoned, mark.by) == ((("a", "1"), ("b", ""), ("c", "3")), True, "bob")
    hands.engine.wish(NodesWish("r", ("n",), {"cordoned": True}), hands.answers.append)
    hands.engine.wish(NodesWish("r", ("n",), {"note": "two of one tick"}), hands.answers.append)
    hands.tick()
    assert hands.answers[-1] == (Mark(name="n", cordoned=True, note="two of one tick"),)


def test_it_is_there_after_a_restart_and_for_a_node_of_that_host() -> None:
    hands = Hands()
    say(hands, "h", cordoned=True, note="fan", labels=[("zone", "y"), ("new", "1")])
    again = Hands(hands.journal, now_us=hands.time_us)
    again.greet(LABELLED)
    again.tick()
    (found,) = standings(again.engine.state)
    assert (found.state, found.note, found.by) == ("cordoned", "fan", "ann")
    assert found.labels == ((HOST, "h"), ("new", "1"), ("zone", "y"))
    say(again, "h", cordoned=False, labels=[("zone", ""), ("new", "")])
    assert standings(again.engine.state)[0].labels == ((HOST, "h"),)


def test_a_name_that_no_node_has_is_shown_as_well() -> None:
    hands = Hands()
    say(hands, "gone", cordoned=True)
    assert [(found.name, found.state) for found in standings(hands.engine.state)] == [("gone", "absent")]
    say(hands, "gone", cordoned=False)
    assert standings(hands.engine.state) == ()


def test_of_a_node_and_its_host_both_are_heard() -> None:
    hands = Hands()
    hands.greet(LABELLED)
    say(hands, "h", cordoned=True, note="host")
    say(hands, "n", labels=[("zone", "z")])
    (found,) = standings(hands.engine.state)
    assert (found.cordoned, found.note, dict(found.labels)["zone"]) == (True, "host", "z")


def test_a_drained_node_is_told_to_stop_what_it_runs() -> None:
    hands = Hands()
    hands.greet(LABELLED)
    hands.submit()
    say(hands, "n", cordoned=True, draining=True)
    stops = [stop for _, orders in hands.sent for stop in orders.stops]
    assert [stop.keys for stop in stops] == [(1,)]
    marked = [event for frame in hands.journal.frames() for event in frame.events if isinstance(event, NodesMarked)]
    assert marked == [NodesMarked(request_id="r", marks=hands.answers[-1], by="ann")]


def test_named_neighbours_are_found_live_or_over() -> None:
    hands = Hands()
    hands.greet(Node(NodeId("a"), "a", SPEC.resources, incarnation="1"))
    hands.submit(array("x", name="over"), request="1")
    hands.report(ended(1, node="a"), node=Node(NodeId("a"), "a", SPEC.resources, incarnation="1"))
    hands.tick()
    hands.submit(array("y", 3, name="live"), request="2")
    rules = tuple(Neighbours((f"job:{name}",), past=True, weight=1) for name in ("over", "live", "nobody"))
    spec = replace(SPEC, where=Where(jobs=rules))
    hands.submit(array("z", spec=spec), request="3", spec=spec)
    event = [found for frame in hands.journal.frames() for found in frame.events if isinstance(found, JobsSubmitted)][
        -1
    ]
    assert event.neighbours == (("default", "over", 1, 1), ("default", "live", 2, 3))
    assert event.ran_on == (("default", "over", "a"),)
    state = hands.engine.state
    assert state.left["default\0job:over"] == {"a": None}
    assert [state.jobs[key].job_class.name.words for key in (2, 3, 4)] == [("default\0job:live",)] * 3


def test_advice_is_about_what_waits_for_room() -> None:
    hands = Hands()
    hands.submit(array("x", 5))
    small, large = ({"resources": (("CPU", cpus * 10_000),), "at_most": most} for cpus, most in ((2, 2), (8, 0)))
    kinds = {"small": small, "large": large}
    assert advised(hands.engine.state, kinds) == {"add": {"small": 2}, "waiting": 1}
