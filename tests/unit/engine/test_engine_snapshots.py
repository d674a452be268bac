"""Snapshots of agents in the engine: what is kept, what an agent goes back to, and that another scheduler knows it."""

from dataclasses import replace
from typing import Any

import pytest
from agents_build import CARRIER, COUNTER, Keeper, running
from engine_build import NODE, Hands, ended

from kos_ray.engine.inbox import AgentWish
from kos_ray.journal.verify import verify
from kos_ray.model.agent_snapshots import AgentsUnsaved, contents
from kos_ray.model.agents import Phase
from kos_ray.model.errors import Refused
from kos_ray.model.events import CheckpointsStored
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd, JobState
from kos_ray.model.payload import inline
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain


def save(hands: Keeper, text: str, why: str = "step") -> str:
    """The carrier's attempt saves a state; its id."""
    job, payload = hands.carrier, inline(text.encode())
    hands.number += 1
    hands.engine.post(
        CheckpointsStored(
            node=NODE.id,
            keys=(job.key,),
            attempts=(job.attempt,),
            numbers=(hands.number,),
            payloads=(payload,),
            at_us=(hands.time_us,),
            whys=((0, why),) if why else (),
        )
    )
    hands.tick()
    return contents(payload)[0][:12]


def listed(hands: Keeper) -> list[dict[str, Any]]:
    return list(hands.wish("snapshots")["snapshots"])


def current(hands: Keeper) -> str:
    (found,) = [one["id"] for one in listed(hands) if one["current"]]
    return str(found)


def began_with(hands: Hands) -> bytes | None:
    """What the last attempt of the carrier was handed."""
    *_, launch = [launch for _, orders in hands.sent for launch in orders.launches if launch.kind.single_use]
    return dict(launch.restored).get(0)


def rows_of(hands: Keeper) -> list[str]:
    found = hands.journal.connection.execute("SELECT hash FROM snapshots").fetchall()
    return sorted(hash_[:12] for (hash_,) in found)


def comes_back(hands: Keeper, end: AttemptEnd = AttemptEnd.STOPPED) -> None:
    hands.end(end)
    hands.say()
    assert hands.phase is Phase.RUNNING


def test_each_save_is_a_snapshot_with_the_one_before_as_its_parent() -> None:
    hands = running()
    one, two = save(hands, "one"), save(hands, "two", "schedule")
    found = listed(hands)
    assert [(x["id"], x["parent"], x["why"], x["size"]) for x in found] == [
        (one, "", "step", 3),
        (two, one, "schedule", 3),
    ]
    assert [x["current"] for x in found] == [False, True]
    assert rows_of(hands) == sorted([one, two])
    assert hands.engine.state.agents.by_key[COUNTER.key].lineage.saves == 2


def test_the_same_bytes_are_the_same_snapshot() -> None:
    hands = running()
    one = save(hands, "one")
    save(hands, "one")
    assert [x["id"] for x in listed(hands)] == [one]
    two = save(hands, "two")
    save(hands, "one")
    assert [x["id"] for x in listed(hands)] == [two, one]
    assert current(hands) == one
    save(hands, "three")
    assert listed(hands)[-1]["parent"] == one


def test_the_newest_are_kept_and_the_others_are_freed() -> None:
    hands = Keeper()
    hands.wish("start", replace(COUNTER, snapshots_kept=3))
    hands.say()
    ids = [save(hands, f"state {number}") for number in range(5)]
    assert [x["id"] for x in listed(hands)] == ids[-3:]
    assert rows_of(hands) == sorted(ids[-3:])
    hands.wish("rollback", snapshot=ids[2])
    comes_back(hands)
    more = [save(hands, f"branch {number}") for number in range(4)]
    assert [x["id"] for x in listed(hands)] == more[-3:]
    assert verify(hands.journal).differences == ()


def test_what_an_agent_goes_on_from_is_kept_however_old_it_is() -> None:
    hands = Keeper()
    hands.wish("start", replace(COUNTER, snapshots_kept=2))
    hands.say()
    one, _ = save(hands, "one"), save(hands, "two")
    hands.wish("rollback", snapshot=one)  # it ends, and saves meanwhile
    for number in range(3):
        save(hands, f"late {number}", "suspend")
    comes_back(hands)
    assert began_with(hands) == inline(b"one")
    assert current(hands) == one


def test_it_goes_back_and_what_it_was_is_saved_and_it_can_go_forward_again() -> None:
    hands = running()
    one, two = save(hands, "one"), save(hands, "two")
    said = hands.wish("rollback", snapshot=one[:4], note="nonsense")
    assert (said["snapshot"], said["phase"]) == (one, "running")
    assert [stop for _, orders in hands.sent for stop in orders.stops], "it is asked to go"
    last = save(hands, "last", "suspend")
    assert [x["id"] for x in listed(hands) if x["next"]] == [one]
    comes_back(hands)
    assert began_with(hands) == inline(b"one")
    assert hands.standing.note == "nonsense"
    branch = save(hands, "branch")
    parents = {x["id"]: x["parent"] for x in listed(hands)}
    assert parents == {one: "", two: one, last: two, branch: one}
    hands.wish("rollback", snapshot=last)
    comes_back(hands)
    assert began_with(hands) == inline(b"last")
    assert len(hands.standing.crashes) == 0
    assert verify(hands.journal).differences == ()


def test_one_that_is_suspended_stays_so_and_comes_back_with_it() -> None:
    hands = running()
    one, _ = save(hands, "one"), save(hands, "two")
    hands.wish("suspend")
    hands.end(AttemptEnd.STOPPED)
    hands.wish("rollback", snapshot=one)
    assert hands.phase is Phase.SUSPENDED
    hands.wish("resume")
    hands.say()
    assert began_with(hands) == inline(b"one")
    assert current(hands) == one


def test_one_that_has_crashed_starts_again_with_it_after_its_pause() -> None:
    hands = running()
    one, _ = save(hands, "one"), save(hands, "two")
    hands.end(AttemptEnd.CRASHED)
    hands.wish("rollback", snapshot=one)
    assert hands.phase is Phase.CRASHED
    hands.time_us = hands.carrier.due_us
    hands.tick()
    assert began_with(hands) == inline(b"one")


def test_one_that_was_given_up_tries_again_with_it() -> None:
    hands = running()
    one, _ = save(hands, "one"), save(hands, "poison")
    for _ in range(3):
        hands.end(AttemptEnd.CRASHED)
        if hands.phase is Phase.CRASHED:
            hands.time_us = hands.carrier.due_us
            hands.tick()
    assert hands.phase is Phase.FAILED
    assert began_with(hands) == inline(b"poison")
    hands.wish("rollback", snapshot=one)
    assert hands.phase is Phase.STARTING
    assert began_with(hands) == inline(b"one")
    hands.end(AttemptEnd.CRASHED)
    assert hands.phase is Phase.CRASHED, "what it died of before counts no more"


def of(kind: str, *, restart: bool) -> Keeper:
    """One of a kind, which runs."""
    hands = Keeper()
    spec = replace(CARRIER, carries=replace(CARRIER.carries, restart=restart))
    hands.wish("start", replace(COUNTER, spec=spec, kind=kind))
    hands.wish("start")  # an ephemeral one would wait for a message
    hands.say()
    assert hands.phase is Phase.RUNNING
    return hands


@pytest.mark.parametrize("verb", ["start", "rollback"])
def test_one_that_is_not_to_start_again_by_itself_keeps_its_state_when_it_dies(verb: str) -> None:
    hands = of("persistent", restart=False)
    one, two = save(hands, "one"), save(hands, "two")
    hands.end(AttemptEnd.CRASHED)
    assert hands.phase is Phase.FAILED
    assert hands.carrier.state is JobState.HELD
    hands.time_us += 600_000_000
    hands.tick()
    assert hands.phase is Phase.FAILED, "not by itself"
    hands.wish(verb, snapshot=one)
    assert hands.phase is Phase.STARTING
    assert began_with(hands) == inline(b"one" if verb == "rollback" else b"two")
    assert {found["id"] for found in listed(hands)} == {one, two}
    hands.say()
    hands.end(AttemptEnd.CRASHED)
    assert hands.phase is Phase.FAILED
    hands.wish("stop")
    assert hands.phase is Phase.STOPPED
    assert not listed(hands)


def test_an_ephemeral_one_is_over_when_it_dies() -> None:
    hands = of("ephemeral", restart=False)
    save(hands, "one")
    hands.end(AttemptEnd.CRASHED)
    assert hands.phase is Phase.FAILED
    assert not hands.standing.job
    assert not listed(hands)


def test_one_that_comes_up_is_asked_to_go_and_comes_back_with_it() -> None:
    hands = running()
    one, _ = save(hands, "one"), save(hands, "two")
    hands.wish("restart")
    hands.end(AttemptEnd.STOPPED)
    assert hands.phase is Phase.STARTING
    hands.wish("rollback", snapshot=one)
    comes_back(hands)
    assert began_with(hands) == inline(b"one")


def test_a_request_that_comes_again_changes_nothing() -> None:
    hands = running()
    one, two = save(hands, "one"), save(hands, "two")
    for _ in range(2):
        hands.engine.wish(AgentWish("same", "rollback", COUNTER.key, snapshot=one), hands.answers.append)
        hands.tick()
        assert hands.answers[-1]["snapshot"] == one
        if hands.carrier.attempt == 1:
            comes_back(hands)
    assert hands.phase is Phase.RUNNING
    assert hands.carrier.state is JobState.RUNNING, "it is not asked to go again"
    assert [x["id"] for x in listed(hands)] == [one, two]


def test_a_scheduler_that_dies_at_once_leaves_it_to_the_next_one() -> None:
    hands = running()
    one, _ = save(hands, "one"), save(hands, "two")
    hands.wish("rollback", snapshot=one)
    expected = state_to_plain(hands.engine.state)["agents"]
    assert state_to_plain(state_from_plain(state_to_plain(hands.engine.state)))["agents"] == expected
    again = Keeper.__new__(Keeper)
    Hands.__init__(again, hands.journal, hands.time_us)
    again.number = hands.number
    assert state_to_plain(again.engine.state)["agents"] == expected
    job = again.carrier
    again.greet(entered=(job.key,), entered_attempts=(job.attempt,))
    again.tick()
    assert [stop.keys for _, orders in again.sent for stop in orders.stops] == [(job.key,)], "the stop is said again"
    comes_back(again)
    assert began_with(again) == inline(b"one")


def test_the_next_attempt_begins_with_it_however_often_that_is_not_delivered() -> None:
    hands = running()
    one, _ = save(hands, "one"), save(hands, "two")
    hands.wish("rollback", snapshot=one)
    hands.end(AttemptEnd.STOPPED)
    hands.end(AttemptEnd.UNDELIVERED)
    assert hands.carrier.attempt == 3
    assert began_with(hands) == inline(b"one")


def test_what_an_attempt_says_that_counts_no_more_is_no_snapshot() -> None:
    hands = running()
    one = save(hands, "one")
    job = hands.carrier
    hands.engine.post(ended(job.key, job.attempt, AttemptEnd.CRASHED))
    stale = CheckpointsStored(
        node=NODE.id,
        keys=(job.key,),
        attempts=(1,),
        numbers=(9,),
        payloads=(inline(b"late"),),
        at_us=(1,),
        whys=((0, "suspend"),),
    )
    hands.engine.post(stale)
    hands.tick()
    assert [x["id"] for x in listed(hands)] == [one]
    assert rows_of(hands) == [one]
    assert verify(hands.journal).differences == ()


def test_what_an_agent_host_of_before_saves_is_what_it_goes_on_with() -> None:
    hands = running()
    save(hands, "one")
    save(hands, "plain", why="")
    comes_back(hands, AttemptEnd.LOST)
    assert began_with(hands) == inline(b"plain")
    assert len(listed(hands)) == 1


def test_a_report_that_comes_again_late_changes_nothing() -> None:
    """It went on from a save that newer ones had followed: what had been answered since was lost."""
    hands = Keeper()
    hands.wish("start", replace(COUNTER, snapshots_kept=1))
    hands.say()
    payloads = [inline(text) for text in (b"one", b"two", b"three")]

    def report(number: int) -> None:
        said: dict[str, Any] = {"keys": (hands.carrier.key,), "attempts": (1,), "numbers": (number,)}
        payload = payloads[number - 1]
        event = CheckpointsStored(node=NODE.id, payloads=(payload,), at_us=(1,), whys=((0, "step"),), **said)
        hands.engine.post(event)
        hands.tick()

    for number in (1, 2, 3, 2, 1):
        report(number)
    assert [one["hash"] for one in listed(hands)] == [contents(payloads[2])[0]]
    assert rows_of(hands) == [contents(payloads[2])[0][:12]]
    hands.end(AttemptEnd.CRASHED)
    hands.time_us = hands.carrier.due_us
    hands.tick()
    assert began_with(hands) == payloads[2]
    expected = state_to_plain(hands.engine.state)["agents"]
    for state in (Hands(hands.journal).engine.state, state_from_plain(state_to_plain(hands.engine.state))):
        assert state_to_plain(state)["agents"] == expected


def test_stopped_its_snapshots_are_gone() -> None:
    hands = running()
    one = save(hands, "one")
    hands.wish("stop")
    assert "being stopped" in str(hands.wish("rollback", snapshot=one))
    hands.end(AttemptEnd.STOPPED)
    assert rows_of(hands) == []
    assert "its life is over" in str(hands.wish("rollback", snapshot=one))
    hands.wish("start")
    hands.say()
    assert listed(hands) == []


def test_what_cannot_be_gone_back_to_is_refused_with_what_can() -> None:
    hands = running()
    assert "has no snapshots yet" in str(hands.wish("rollback", snapshot="12"))
    ids = [save(hands, f"{number}") for number in range(17)]
    said = hands.wish("rollback", snapshot="xyz")
    assert isinstance(said, Refused)
    assert all(one in str(said) for one in ids)
    shared = next(digit for digit in "0123456789abcdef" if sum(one.startswith(digit) for one in ids) > 1)
    assert "say more digits" in str(hands.wish("rollback", snapshot=shared))
    assert isinstance(hands.wish("rollback", snapshot=""), Refused)
    assert hands.phase is Phase.RUNNING


def test_a_program_has_none() -> None:
    hands = Keeper()
    hands.wish("start", replace(COUNTER, methods=(), spec=replace(CARRIER, entry="", command=("sleep", "1"))))
    hands.say()
    for verb in ("snapshot", "snapshots", "rollback"):
        assert "is a program" in str(hands.wish(verb, snapshot="1"))


def test_one_is_taken_when_somebody_asks() -> None:
    hands = running()
    before = hands.wish("snapshot")["saves"]
    (saves,) = [orders.saves for _, orders in hands.sent if orders.saves]
    assert [(one.keys, one.attempts) for one in saves] == [((hands.standing.job,), (1,))]
    save(hands, "one", "asked")
    assert hands.wish("snapshots")["saves"] == before + 1
    hands.wish("suspend")
    assert "expected one that is running" in str(hands.wish("snapshot"))
    assert verify(hands.journal).differences == ()


def test_one_that_cannot_be_taken_is_said() -> None:
    hands = running()
    save(hands, "one")
    said = AgentsUnsaved(node=NODE.id, keys=(JobKey(hands.standing.job),), attempts=(1,), texts=("no pickle",))
    hands.engine.post(said)
    hands.tick()
    told = hands.wish("snapshots")
    assert (told["saves"], told["wrong"]) == (2, "no pickle")
    save(hands, "two")
    assert hands.wish("snapshots")["wrong"] == ""


@pytest.mark.parametrize("verb", ["suspend", "stop", "restart"])
def test_two_wishes_of_one_round_are_not_mixed_up(verb: str) -> None:
    hands = running()
    one = save(hands, "one")
    hands.engine.wish(AgentWish("a", "rollback", COUNTER.key, snapshot=one), hands.answers.append)
    hands.engine.wish(AgentWish("b", verb, COUNTER.key), hands.answers.append)
    hands.tick()
    assert "being changed by somebody else" in str(hands.answers[-1])
