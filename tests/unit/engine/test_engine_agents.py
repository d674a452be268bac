"""Agents in the engine: the registry, their carriers and messages, through restarts of the scheduler and of them."""

from dataclasses import replace
from typing import Any

import pytest
from agents_build import CARRIER, COUNTER, MESSAGE, Keeper, begun, running
from engine_build import NODE, Hands, array
from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.engine.agents import plain_agents
from kos_ray.engine.inbox import AgentWish, ScheduleWish
from kos_ray.journal.verify import verify
from kos_ray.model.agents import LEGAL_PHASES, AgentCarried, AgentsSaid, AgentWanted, Phase, Wanted
from kos_ray.model.errors import Refused
from kos_ray.model.events import HoldRequested, JobsSubmitted
from kos_ray.model.hashing import spec_hash
from kos_ray.model.job import AttemptEnd, JobState
from kos_ray.model.protocol import Submit
from kos_ray.model.reasons import Reason
from kos_ray.model.schedule import Schedule
from kos_ray.scheduler.explain import explain
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain


def test_an_agent_is_known_and_carried_from_one_frame_on() -> None:
    hands = Keeper()
    assert hands.wish("register", COUNTER)["job"] == 0
    assert hands.phase is Phase.REGISTERED
    hands.wish("start")
    assert hands.phase is Phase.STARTING
    frames = [frame for frame in hands.journal.frames() if any(isinstance(one, AgentCarried) for one in frame.events)]
    (frame,) = frames
    assert {type(event) for event in frame.events} == {AgentWanted, JobsSubmitted, AgentCarried}
    assert verify(hands.journal).differences == ()


def test_started_twice_it_has_one_carrier() -> None:
    hands = running()
    job = hands.standing.job
    assert hands.wish("start")["job"] == job
    assert hands.wish("start", COUNTER)["job"] == job
    assert len(hands.engine.state.agents.of_job) == 1


def test_another_one_of_its_name_is_refused_unless_it_is_to_replace_it() -> None:
    hands = running()
    other = replace(COUNTER, roles=("counter",))
    assert isinstance(hands.wish("register", other), Refused)
    hands.wish("register", other, replace=True)
    assert hands.standing.agent.roles == ("counter",)
    assert hands.phase is Phase.RUNNING


def test_messages_run_only_where_it_runs_and_as_many_as_it_handles() -> None:
    hands = running()
    first, second = hands.message(1), hands.message(2)
    assert hands.state_of(first) is JobState.LAUNCHED
    assert hands.engine.state.jobs[first].kind.receiver == "counter"
    assert hands.state_of(second) is JobState.READY
    assert hands.engine.why(second) is Reason.AGENT_BUSY
    hands.end(AttemptEnd.SUCCEEDED, hands.engine.state.jobs[first])
    assert hands.state_of(second) is JobState.LAUNCHED


def test_messages_wait_while_it_is_away_and_are_told_why() -> None:
    hands = begun()
    key = hands.message()
    job = hands.engine.state.jobs[key]
    assert hands.engine.why(key) is Reason.AGENT_AWAY
    told = explain(hands.engine.state, job, hands.time_us)
    assert told.nodes[0].lacks == "agent counter is starting"
    hands.say()
    assert hands.state_of(key) is JobState.LAUNCHED


def test_a_message_to_nobody_is_refused() -> None:
    hands = running()
    spec = replace(MESSAGE, receiver="nobody")
    assert "there is no agent 'nobody'" in str(hands.submit(array("x", spec=spec), request="x", spec=spec))


def test_suspended_it_gives_its_room_back_and_keeps_its_mail() -> None:
    hands = running()
    hands.wish("suspend")
    (stop,) = [stop for _, orders in hands.sent for stop in orders.stops]
    assert stop.grace_ms == 9_000
    key = hands.message()
    hands.end(AttemptEnd.STOPPED)
    assert hands.phase is Phase.SUSPENDED
    assert hands.state_of(key) is JobState.READY
    hands.wish("resume")
    assert hands.phase is Phase.STARTING
    hands.say()
    assert hands.state_of(key) is JobState.LAUNCHED
    assert hands.carrier.attempt == 2


def test_resumed_before_it_was_down_it_comes_back() -> None:
    hands = running()
    hands.wish("suspend")
    hands.wish("resume")
    hands.end(AttemptEnd.STOPPED)
    assert hands.phase is Phase.STARTING


def test_restarted_it_is_stopped_and_comes_back_by_itself() -> None:
    hands = running()
    hands.wish("restart")
    assert [stop for _, orders in hands.sent for stop in orders.stops]
    hands.end(AttemptEnd.STOPPED)
    assert hands.phase is Phase.STARTING
    assert hands.standing.crashes == type(hands.standing.crashes)()


def test_stopped_it_is_over_and_starts_anew_with_another_carrier() -> None:
    hands = running()
    job = hands.standing.job
    hands.wish("stop")
    hands.end(AttemptEnd.STOPPED)
    assert hands.phase is Phase.STOPPED
    assert isinstance(hands.wish("resume"), Refused)
    hands.wish("start")
    assert hands.phase is Phase.STARTING
    assert hands.standing.job != job


def test_it_dies_and_comes_back_later_each_time_until_it_dies_too_often() -> None:
    hands = running()
    pauses = []
    for _ in range(2):
        hands.end(AttemptEnd.CRASHED)
        assert hands.phase is Phase.CRASHED
        pauses.append(hands.carrier.due_us - hands.time_us)
        hands.time_us = hands.carrier.due_us
        hands.tick()
        assert hands.phase is Phase.REBOOTING
        hands.say()
        assert hands.phase is Phase.RUNNING
    assert pauses == [1_000_000, 2_000_000]
    hands.end(AttemptEnd.CRASHED)
    assert hands.phase is Phase.FAILED
    assert hands.engine.why(hands.standing.job) is Reason.CRASH_LOOP
    hands.wish("start")
    assert hands.phase is Phase.STARTING
    hands.end(AttemptEnd.CRASHED)
    assert hands.phase is Phase.CRASHED


def test_crashes_of_long_ago_do_not_count() -> None:
    hands = running()
    for _ in range(5):
        hands.end(AttemptEnd.CRASHED)
        hands.time_us += 61_000_000
        hands.tick()
        hands.say()
        assert hands.phase is Phase.RUNNING


def test_however_many_nodes_are_lost_under_it_it_comes_back() -> None:
    hands = running()
    for _ in range(hands.engine.state.policy.losses_max + 2):
        hands.end(AttemptEnd.LOST)
        assert hands.phase is Phase.REBOOTING
        hands.say()
        assert hands.phase is Phase.RUNNING


def test_a_scheduler_that_was_away_says_the_stop_again_with_the_agents_own_grace() -> None:
    hands = running()
    hands.wish("suspend")
    job = hands.carrier
    hands.greet(session=2, entered=(job.key,), entered_attempts=(job.attempt,))
    hands.tick()
    *_, stop = [stop for _, orders in hands.sent for stop in orders.stops]
    assert (stop.grace_ms, stop.reason) == (9_000, Reason.PAUSED_BY_USER)


def test_one_that_is_not_to_be_started_again_has_failed() -> None:
    hands = Keeper()
    assert CARRIER.carries is not None
    once = replace(COUNTER, spec=replace(CARRIER, carries=replace(CARRIER.carries, restart=False)))
    hands.wish("start", once)
    hands.say()
    hands.end(AttemptEnd.CRASHED)
    assert hands.phase is Phase.FAILED
    hands.wish("start")
    assert hands.phase is Phase.STARTING


def test_what_an_earlier_attempt_says_does_not_count() -> None:
    hands = running()
    job = hands.carrier
    hands.end(AttemptEnd.CRASHED)
    hands.engine.post(AgentsSaid(node=NODE.id, keys=(job.key,), attempts=(1,), ready=(True,)))
    hands.tick()
    assert hands.phase is Phase.CRASHED


def test_gone_it_takes_no_messages_though_its_end_is_not_known() -> None:
    hands = running()
    hands.say(ready=False)
    assert hands.engine.why(hands.message()) is Reason.AGENT_AWAY


def test_removed_only_when_it_is_over_and_its_mail_only_when_that_is_wanted() -> None:
    hands = running()
    assert isinstance(hands.wish("remove"), Refused)
    hands.wish("stop")
    hands.end(AttemptEnd.STOPPED)
    key = hands.message()
    assert "1 messages wait" in str(hands.wish("remove"))
    hands.wish("remove", force=True)
    assert COUNTER.key not in hands.engine.state.agents.by_key
    assert key not in hands.engine.state.jobs


def test_two_wishes_of_one_round_are_not_mixed_up() -> None:
    hands = running()
    for number, verb in enumerate(("stop", "suspend")):
        hands.engine.wish(AgentWish(f"two{number}", verb, COUNTER.key), hands.answers.append)
    hands.tick()
    assert isinstance(hands.answers[-1], Refused)
    assert not isinstance(hands.answers[-2], Refused)


def test_another_scheduler_knows_all_of_it() -> None:
    hands = running()
    hands.message()
    hands.end(AttemptEnd.CRASHED)
    expected = state_to_plain(hands.engine.state)["agents"]
    assert expected
    for state in (Hands(hands.journal).engine.state, state_from_plain(state_to_plain(hands.engine.state))):
        assert state_to_plain(state)["agents"] == expected
        assert state.agents.of_job == hands.engine.state.agents.of_job


def test_what_people_see_of_it() -> None:
    hands = running()
    for number in range(3):
        hands.message(number)
    (plain,) = plain_agents(hands.engine.state)
    assert plain["phase"] == "running"
    assert (plain["node"], plain["attempt"], plain["messages"]) == ("n", 1, 3)
    assert tuple(plain["methods"]) == ("add",)


ENDS = (AttemptEnd.CRASHED, AttemptEnd.UNPREPARED, AttemptEnd.LOST, AttemptEnd.STOPPED)
#: what happens most is most of it, so that lives are long
STEPS = ("start", "stop", "suspend", "suspend", "resume", "restart", "ready", "ready", "away", "later", "later", *ENDS)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(STEPS), min_size=10, max_size=40))
def test_it_makes_no_move_that_is_not_in_the_table(steps: list[Any]) -> None:
    hands = Keeper()
    hands.wish("register", COUNTER)
    before = hands.phase
    for number, step in enumerate(["start", "ready", *steps]):
        job = hands.engine.state.jobs.get(hands.standing.job)
        here = job is not None and job.node is not None
        if number % 4 == 0:
            hands.message(number)
        if step == "later":
            hands.time_us += 30_000_000
            hands.tick()
        elif step in ("ready", "away"):
            if here and job.state in (JobState.LAUNCHED, JobState.RUNNING):
                hands.say(ready=step == "ready")
        elif not isinstance(step, AttemptEnd):
            hands.wish(step)
        elif here:
            hands.end(step)
        now = hands.phase
        assert now is before or now in LEGAL_PHASES[before], f"{before.name} to {now.name} by {step}"
        running = [one for one in hands.engine.state.jobs.values() if one.entry.spec.receiver and one.node]
        assert len(running) <= 1
        before = now
    assert verify(hands.journal).differences == ()


@pytest.mark.parametrize("verb", ["start", "restart", "resume", "suspend"])
def test_who_wants_it_to_live_while_it_is_stopped_is_told_so(verb: str) -> None:
    hands = running()
    hands.wish("stop")
    assert "is being stopped" in str(hands.wish(verb))
    assert "is being stopped" in str(hands.wish("start", COUNTER))
    assert not isinstance(hands.wish("stop"), Refused)
    hands.end(AttemptEnd.STOPPED)
    hands.wish("start")
    assert hands.phase is Phase.STARTING


def test_one_whose_launch_never_arrives_has_not_crashed() -> None:
    hands = begun()
    for _ in range(3):
        hands.end(AttemptEnd.UNDELIVERED)
    assert hands.carrier.state is JobState.BACKOFF
    assert hands.phase is Phase.STARTING


def test_a_child_that_is_being_stopped_when_its_parent_ends_hangs_nobody() -> None:
    hands = running()
    spec = replace(CARRIER, carries=replace(CARRIER.carries, name="child"))  # type: ignore[type-var]
    child = replace(COUNTER, name="child", spec=spec, kind="cascading", parent="counter")
    for number, verb in enumerate(("start", "stop")):
        agent = child if verb == "start" else None
        hands.engine.wish(AgentWish(f"c{number}", verb, child.key, agent), hands.answers.append)
        hands.tick()
    key = hands.engine.state.agents.by_key[child.key].job
    assert hands.state_of(key) is JobState.STOPPING
    hands.wish("stop")
    hands.end(AttemptEnd.STOPPED)
    assert hands.phase is Phase.STOPPED
    hands.end(AttemptEnd.STOPPED, hands.engine.state.jobs[key])
    assert not hands.engine.state.jobs


@pytest.mark.parametrize("turn", [1, -1])
def test_a_message_and_a_removal_of_one_round_leave_no_message_to_nobody(turn: int) -> None:
    hands = Keeper()
    hands.wish("register", COUNTER)
    array_ = array("m", spec=MESSAGE)
    message = Submit(request_id="m", arrays=(array_,), specs=((spec_hash(MESSAGE), MESSAGE),))
    asks = [
        lambda: hands.engine.submit(message, hands.answers.append),
        lambda: hands.engine.wish(AgentWish("r", "remove", COUNTER.key), hands.answers.append),
    ]
    for ask in asks[::turn]:
        ask()
    hands.tick()
    assert [isinstance(answer, Refused) for answer in hands.answers[-2:]] == [False, True]
    assert bool(hands.engine.state.jobs) == (COUNTER.key in hands.engine.state.agents.by_key)


def test_a_start_that_is_asked_again_when_its_life_is_over_leaves_nothing_behind() -> None:
    hands = Keeper()
    for _ in range(2):
        hands.engine.wish(AgentWish("same", "start", COUNTER.key, COUNTER), hands.answers.append)
        hands.tick()
        if hands.standing.job:
            hands.say()
            hands.end(AttemptEnd.SUCCEEDED)
    assert hands.phase is Phase.STOPPED
    assert hands.standing.wanted is Wanted.STOPPED
    assert not hands.engine.state.agents.of_job
    assert not isinstance(hands.wish("remove"), Refused)


def test_whose_carrier_is_held_and_goes_on_can_be_suspended() -> None:
    hands = running()
    hands.engine.post(HoldRequested(request_id="h", keys=(hands.standing.job,)))
    hands.tick()
    assert hands.phase is Phase.RUNNING
    hands.wish("suspend")
    assert hands.carrier.state is JobState.STOPPING
    hands.end(AttemptEnd.STOPPED)
    assert hands.phase is Phase.SUSPENDED


def test_a_schedule_of_messages_has_the_zone_of_their_agent_where_it_names_none() -> None:
    """Noon in New York, in winter; another agent's messages have UTC, and a zone that is named goes first."""
    keeper = Keeper()
    keeper.wish("register", replace(COUNTER, timezone="America/New_York"))

    def zone(name: str, receiver: str = "counter", named: str = "") -> Any:
        spec = replace(MESSAGE, receiver=receiver)
        schedule = Schedule(name=name, rules=("0 12 * * *",), spec=spec, timezone=named)
        keeper.engine.wish(ScheduleWish(name, "set", key=schedule.key, schedule=schedule), keeper.answers.append)
        keeper.tick()
        return keeper.answers[-1]

    day_us = 86_400_000_000
    found = zone("own")
    assert (found["timezone"], found["next_us"] % day_us) == ("America/New_York", 17 * day_us // 24)
    assert zone("strange", "nobody")["timezone"] == "UTC"
    found = zone("named", named="Asia/Tokyo")
    assert (found["timezone"], found["next_us"] % day_us) == ("Asia/Tokyo", 3 * day_us // 24)
    assert keeper.engine.state.schedules.by_key["default\0own"].schedule.timezone == "America/New_York"
