"""The scheduler's belief against what an agent holds, after a greeting."""

from dataclasses import replace

from engine_build import NODE, Hands, array, ended

from kos_ray.engine.reconcile import counted_ends, node_events, renewed, still_to_do, undelivered
from kos_ray.model.events import AttemptsEntered, CancelRequested, NodeCondition, NodeLost, NodesJoined
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd
from kos_ray.model.protocol import PROTOCOL, Holding, Renew, Renewed, Report
from kos_ray.model.reasons import Reason


def holding(**fields: object) -> Holding:
    return Holding(node=NODE.id, incarnation="first", protocol=PROTOCOL, **fields)


def launched(jobs: int = 2) -> Hands:
    hands = Hands()
    hands.greet()
    hands.submit(array(count=jobs))
    return hands


def test_a_node_is_new_known_changed_or_born_again() -> None:
    state = launched().engine.state
    assert node_events(state, NODE) == []
    renamed = replace(NODE, name="other")
    assert node_events(state, renamed) == [NodesJoined(nodes=(renamed,))]
    reborn = replace(NODE, incarnation="second")
    lost, joined = node_events(state, reborn)
    assert lost == NodeLost(node="n", cause="its node agent was started anew")
    assert joined == NodesJoined(nodes=(reborn,))


def test_a_lease_is_for_the_agent_that_the_ledger_has() -> None:
    """One that was replaced, or whose node counts as lost, is told no time: what it runs ends."""
    state = launched().engine.state
    assert renewed(state, Renew(node=NODE.id, incarnation="first")) == Renewed(epoch=1, lease_ms=30_000)
    for node, incarnation in ((NODE.id, "before"), ("gone", "first")):
        assert renewed(state, Renew(node=node, incarnation=incarnation)) == Renewed(epoch=1, lease_ms=0)


def test_a_silent_node_that_answers_a_greeting_is_used_again() -> None:
    hands = launched(1)
    hands.engine.post(NodeCondition(node=NODE.id, silent=True))
    hands.tick()
    hands.submit(array("b"), request="b")
    assert hands.engine.why(JobKey(2)) is Reason.NODE_SILENT
    hands.greet(NODE, session=2, queued=(1,), queued_attempts=(1,))
    hands.tick()
    assert not hands.engine.state.nodes[NODE.id].silent
    assert hands.engine.why(JobKey(2)) is not Reason.NODE_SILENT


def test_what_the_agent_never_got_goes_back() -> None:
    state = launched().engine.state
    (event,) = undelivered(state, holding(queued=(1,), queued_attempts=(1,)))
    assert (event.keys, event.attempts, event.ends) == ((2,), (1,), (AttemptEnd.UNDELIVERED,))
    assert undelivered(state, holding(queued=(1,), queued_attempts=(1,), entered=(2,), entered_attempts=(1,))) == []


def test_what_the_agent_has_reported_was_delivered() -> None:
    state = launched(1).engine.state
    report = Report(node="n", incarnation="first", number=1, ended=(ended(1),))
    assert undelivered(state, holding(reports=(report,))) == []


def test_an_older_attempt_at_the_agent_is_a_stray() -> None:
    state = launched(1).engine.state
    orders = still_to_do(state, holding(entered=(1, 7), entered_attempts=(3, 1)))
    (stop,) = orders.stops
    assert (stop.keys, stop.attempts) == ((1, 7), (3, 1))
    assert orders.recalls == ()


def test_a_stop_that_was_lost_is_said_again() -> None:
    hands = launched()
    hands.engine.post(CancelRequested(request_id="c", keys=(1,)))
    hands.tick()
    hands.sent.clear()
    hands.greet(session=2, entered=(1, 2), entered_attempts=(1, 1))
    hands.tick()
    stops = [stop for _, orders in hands.sent for stop in orders.stops]
    assert [(stop.keys, stop.attempts, stop.grace_ms) for stop in stops] == [((1,), (1,), 2_000)]
    assert hands.sent[0][1].complete, "slots are told first"


def test_a_recall_that_was_lost_is_said_again() -> None:
    hands = launched(1)
    hands.engine.state.jobs[1].recall_asked = True
    (recall,) = still_to_do(hands.engine.state, holding(queued=(1,), queued_attempts=(1,))).recalls
    assert (recall.keys, recall.attempts) == ((1,), (1,))


def test_only_the_first_end_of_the_current_attempt_counts() -> None:
    state = launched().engine.state
    stale, current, again = ended(1, attempt=0, result=b"0"), ended(1, result=b"1"), ended(1, result=b"2")
    assert counted_ends(state, [stale, current, again]) == {1: b"1"}
    assert counted_ends(state, [ended(1, node="elsewhere")]) == {}
    assert counted_ends(state, [NodeLost(node="n", cause=""), current]) == {}
    assert counted_ends(state, [AttemptsEntered(node="n", keys=(1,), attempts=(1,), entered_us=(1,))]) == {}


def test_two_greetings_of_one_node_in_one_tick_are_taken_one_after_the_other() -> None:
    hands = launched(1)
    hands.greet(replace(NODE, incarnation="second"), session=2)
    hands.greet(replace(NODE, incarnation="third"), session=3)
    hands.tick()
    assert hands.engine.state.nodes[NODE.id].node.incarnation == "third"
    assert hands.launched()[-1] == ("a.0", 3)
    assert hands.sent[-1][1].session == 3
