"""Whom a message is given to, what is recorded of it, and what becomes of one that nobody takes."""

from dataclasses import replace
from typing import Any

import pytest

from kos_ray.model import decisions as d
from kos_ray.model.agents import AgentSet, AgentVerified, Phase
from kos_ray.model.dispatch import Needs, To, declined_of, less
from kos_ray.model.events import CancelRequested, HoldRequested, NodesJoined, PriorityChanged
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import AttemptEnd, Guarantee, JobState
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.explain import explain, why
from kos_ray.scheduler.needs import unmet
from kos_ray.scheduler.skill import UNKNOWN, Skill
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.scheduler.state import State
from tests.properties.crews import NODE, Crews, crew_agent


def choice(crews: Crews, key: int) -> d.Assign:
    return crews.choices[JobKey(key)][-1]


def reason(crews: Crews, key: int) -> Reason:
    return why(crews.stepped, crews.stepped.jobs[JobKey(key)])


def done(crews: Crews, count: int, *, ran_us: int = 1_000, **said: Any) -> list[str]:
    """So many messages, one after another; who handled each."""
    found = []
    for _ in range(count):
        (key,) = crews.send(**said)
        crews.enter()
        found.append(choice(crews, key).agent)
        crews.end(key, ran_us=ran_us)
    return found


def test_equals_take_turns_and_it_is_told() -> None:
    crews = Crews(*(crew_agent(name) for name in "abc"))
    assert done(crews, 7) == ["a", "b", "c", "a", "b", "c", "a"]
    last = crews.choices[JobKey(10)][0]
    assert last.reason == Reason.ITS_TURN
    assert [(one.agent, one.reason) for one in last.others] == [
        ("b", Reason.CHOSEN_LATELY),
        ("c", Reason.CHOSEN_LATELY),
    ]


def test_who_is_faster_has_more_and_who_has_less_to_do_is_asked_first() -> None:
    crews = Crews(crew_agent("slow"), crew_agent("fast"))
    for name, ran_us in (("slow", 8_000), ("fast", 1_000)) * 3:
        (key,) = crews.send(receiver=name)
        crews.send(to=To(role="nobody"))  # something is learnt once any message is for a role
        crews.enter()
        crews.now_us += ran_us
        crews.end(key, ran_us=ran_us)
    first, second, third = crews.send(3)
    # two at the fast one are done sooner than one at the slow one
    assert [choice(crews, key).agent for key in (first, second, third)] == ["fast", "fast", "slow"]
    assert choice(crews, first).reason == Reason.LEAST_DELAY
    assert (choice(crews, second).load, choice(crews, second).run_us) == (1, 1_000)
    (other,) = choice(crews, first).others
    assert (other.agent, other.reason, other.delay_us > choice(crews, first).delay_us) == ("slow", Reason.SLOWER, True)


def test_who_fails_is_asked_less_and_what_is_old_counts_less() -> None:
    good, bad, new = Skill(), Skill(), UNKNOWN
    for _ in range(30):
        good.note(1_000)
        bad.note(0)
    assert bad.bound < new.bound < good.bound
    for _ in range(90):
        bad.note(1_000)
    assert bad.bound > new.bound
    few = Skill()
    few.note(1_000)
    assert few.bound < good.bound
    assert (good.run_us, few.run_us) == (1_000, 1_000)


def test_who_does_it_well_is_chosen_before_who_does_not() -> None:
    crews = Crews(crew_agent("bad"), crew_agent("good"))
    for name, end in (("bad", AttemptEnd.FAILED), ("good", AttemptEnd.SUCCEEDED)) * 4:
        (key,) = crews.send(receiver=name)
        crews.send(to=To(role="nobody"))
        crews.enter()
        crews.end(key, end)
    assert done(crews, 4) == ["good"] * 4
    (other,) = crews.choices[max(crews.choices)][-1].others
    assert (other.agent, other.reason) == ("bad", Reason.SLOWER)


def test_affinity_is_for_an_agent_or_its_tags_where_it_takes_hardly_longer() -> None:
    crews = Crews(crew_agent("a"), crew_agent("b", tags=("near",)))
    for wanted in ("b", "near"):
        (key,) = crews.send(to=To(role="writer", affinity=wanted))
        assert choice(crews, key).agent == "b"
        crews.enter()
        crews.end(key)
    held = [*crews.send(2, receiver="b")]
    crews.enter()
    assert choice(crews, crews.send(to=To(role="writer", affinity="b"))[0]).agent == "a", held


def test_who_is_able_has_all_that_is_asked_for() -> None:
    has = {"capabilities": ("x", "y"), "skills": ("s",)}
    settings = Needs(models=("m",), config=(("lang", "de"),))
    crews = Crews(
        crew_agent("able", requires=settings, **has),
        crew_agent("other", roles=("reader",)),
        crew_agent("no_y", requires=settings, capabilities=("x",), skills=("s",)),
        crew_agent("no_s", requires=settings, capabilities=("x", "y")),
        crew_agent("no_m", requires=Needs(config=settings.config), **has),
        crew_agent("no_c", requires=Needs(models=("m",)), **has),
        crew_agent("no_work", requires=settings, methods=("rest",), **has),
    )
    to = To(role="writer", models=("m",), config=(("lang", "de"),), **has)
    (key,) = crews.send(to=to)
    assert choice(crews, key).agent == "able"
    crews.step(CancelRequested(request_id="", keys=(JobKey(key),)))
    crews.enter()
    (key,) = crews.send(to=To(role="writer", models=("another",)))
    assert reason(crews, key) is Reason.NOBODY_ABLE
    (key,) = crews.send(to=To(role="writer", **has, models=("m",), config=(("lang", "fr"),)))
    found = explain(crews.state, crews.state.jobs[JobKey(key)], crews.now_us)
    assert {one.agent: one.why for one in found.passed} == {
        "able": "lacks_config",
        "other": "lacks_role",
        "no_y": "lacks_capability",
        "no_s": "lacks_skill",
        "no_m": "lacks_model",
        "no_c": "lacks_config",
        "no_work": "lacks_config",
    }


def test_nobody_has_more_than_it_takes_soon_and_what_is_urgent_goes_first() -> None:
    crews = Crews(crew_agent("a"), crew_agent("b", concurrency=2))
    keys = [*crews.send(10)]
    waiting = [key for key in keys if not crews.agent_of(key)]
    assert len(waiting) == 10 - 2 * (1 + 2)
    assert reason(crews, waiting[0]) is Reason.ABLE_BUSY
    (urgent,) = crews.send(band=0)
    running = crews.enter()
    crews.end(running[0])
    assert crews.agent_of(urgent)
    assert not crews.agent_of(waiting[0])


def test_what_waits_for_one_that_dies_goes_to_another_and_what_ran_is_handled_again() -> None:
    crews = Crews(crew_agent("a"), crew_agent("b"))
    keys = [*crews.send(2, to=To(role="writer", affinity="a"))]
    crews.enter()
    assert {crews.agent_of(key) for key in keys} == {"a", "b"} or crews.agent_of(keys[1]) == "a"
    crews.dies("a")
    assert {crews.agent_of(key) for key in keys} == {"b"}
    assert all(crews.state.jobs[JobKey(key)].failures == 0 for key in keys)
    crews.dies("b")
    assert [reason(crews, key) for key in keys] == [Reason.ABLE_AWAY] * 2
    crews.wait(1)
    crews.ready("b")
    assert {crews.agent_of(key) for key in keys} == {"b"}


def test_declined_by_all_for_good_it_has_failed_and_nothing_was_charged() -> None:
    crews = Crews(crew_agent("a"), crew_agent("b"), crew_agent("c", roles=("helper",)))
    (key,) = crews.send(to=To(role="writer", fallback=("helper",)), retries=5)
    asked = []
    for _ in range(3):
        crews.enter()
        asked.append(crews.agent_of(key))
        job = crews.state.jobs[JobKey(key)]
        assert (job.failures, job.losses) == (0, 0)
        crews.end(key, AttemptEnd.DECLINED, again_ms=-1)
    assert sorted(asked[:2]) == ["a", "b"]
    assert asked[2] == "c"
    assert (crews.finished[JobKey(key)].reason, crews.finished[JobKey(key)].state) == (
        Reason.ALL_DECLINED,
        JobState.FAILED,
    )


def test_whose_code_is_to_be_entered_once_is_given_to_nobody_else_when_it_is_declined() -> None:
    crews = Crews(crew_agent("a"), crew_agent("b"))
    (key,) = crews.send(guarantee=Guarantee.AT_MOST_ONCE)
    crews.enter()
    crews.end(key, AttemptEnd.DECLINED, again_ms=50)
    assert crews.finished[JobKey(key)].reason is Reason.ALL_DECLINED


@pytest.mark.parametrize("whom", [{"receiver": "a"}, {"to": To(role="writer")}])
def test_who_was_not_available_is_asked_again_later_and_not_for_ever(whom: dict[str, Any]) -> None:
    crews = Crews(crew_agent("a"))
    (key,) = crews.send(**whom)
    pauses = []
    for _ in range(3):
        crews.enter()
        found = crews.end(key, AttemptEnd.DECLINED, again_ms=3_000)
        (later,) = [one for one in found if isinstance(one, d.RetryLater)]
        assert later.reasons == (Reason.DECLINED,)
        pauses.append(later.due_us[0] - crews.now_us)
        crews.wait(pauses[-1] / 1_000_000)
    assert pauses == [3_000_000, 3_000_000, 4_000_000]
    assert crews.state.jobs[JobKey(key)].failures == 0
    crews.enter()
    crews.end(key, AttemptEnd.DECLINED, again_ms=3_000)
    assert crews.finished[JobKey(key)].reason == Reason.ALL_DECLINED


def test_a_hot_standby_takes_over_for_good_and_the_old_one_is_refused() -> None:
    crews = Crews(crew_agent("old"), crew_agent("hot", standby="hot"))
    (key,) = crews.send()
    assert crews.agent_of(key) == "old"
    crews.enter()
    late = crews.ended(key, AttemptEnd.SUCCEEDED)
    found = crews.dies("old")
    (over,) = [one for one in found if isinstance(one, d.TakeOver)]
    assert (over.agent, over.over, over.term) == ("hot", ("old",), 1)
    assert crews.agent_of(key) == "hot"
    assert choice(crews, key).reason == Reason.STANDS_BY
    # what the old one still reports changes nothing, and when it is back it gets nothing of the role
    crews.step(late)
    assert JobKey(key) not in crews.finished
    crews.enter()
    crews.wait(1)
    crews.ready("old")
    assert crews.phase("old") is Phase.RUNNING
    crews.end(key)
    assert done(crews, 3) == ["hot"] * 3
    # until the new one goes, which is the next term
    crews.dies("hot")
    assert done(crews, 2) == ["old"] * 2
    assert [(one.agent, one.over, one.term) for one in crews.taken_over] == [("hot", ("old",), 1), ("old", ("hot",), 2)]


def test_what_is_declined_or_not_for_those_that_have_the_role_is_no_reason_to_take_it_over() -> None:
    crews = Crews(crew_agent("first"), crew_agent("hot", standby="hot", capabilities=("more",)))
    (key,) = crews.send()
    crews.enter()
    crews.end(key, AttemptEnd.DECLINED, again_ms=-1)
    (other,) = crews.send(to=To(role="writer", capabilities=("more",)))
    assert [crews.agent_of(one) for one in (key, other)] == ["hot", "hot"]
    assert done(crews, 1) == ["first"]
    assert not crews.taken_over


def test_who_waits_for_room_is_not_waited_for() -> None:
    crews = Crews(crew_agent("first"), crew_agent("hot", standby="hot"))
    crews.step(HoldRequested(request_id="", keys=(crews.carrier("first").key,), stop=True))
    crews.carry_on()
    (key,) = crews.send()
    assert crews.agent_of(key) == "hot"


def test_a_warm_standby_gives_back_and_roles_that_stand_in_come_last() -> None:
    crews = Crews(
        crew_agent("first"),
        crew_agent("warm", standby="warm"),
        crew_agent("helper", roles=("helper",)),
    )
    to = To(role="writer", fallback=("helper",))
    assert done(crews, 1, to=to) == ["first"]
    crews.dies("first")
    assert done(crews, 2, to=to) == ["warm"] * 2
    crews.dies("warm")
    assert done(crews, 1, to=to) == ["helper"]
    assert crews.choices[max(crews.choices)][-1].stage == 1
    crews.wait(1)
    crews.ready("first")
    assert done(crews, 1, to=to) == ["first"]
    assert not crews.taken_over


def test_idle_it_sleeps_and_a_message_wakes_it() -> None:
    crews = Crews(crew_agent("a", idle_sleep_ms=10_000))
    assert done(crews, 1) == ["a"]
    crews.wait(9)
    assert crews.phase("a") is Phase.RUNNING
    (stop,) = [one for one in crews.wait(1) if isinstance(one, d.Stop)]
    assert stop.reason == Reason.AGENT_IDLE
    crews.carry_on()
    assert crews.phase("a") is Phase.SLEEPING
    assert why(crews.state, crews.carrier("a")) is Reason.AGENT_IDLE
    assert crews.carrier("a").node is None
    (key,) = crews.send()
    assert crews.agent_of(key) == "a"
    assert crews.phase("a") is Phase.STARTING
    crews.ready("a")
    crews.enter()
    crews.end(key)
    assert crews.finished[JobKey(key)].state == JobState.SUCCEEDED
    assert crews.carrier("a").failures == 0


def test_as_long_as_it_handles_a_message_it_does_not_sleep() -> None:
    crews = Crews(crew_agent("a", idle_sleep_ms=10_000))
    (key,) = crews.send()
    crews.enter()
    for pause, stops in ((60, 0), (9, 0), (1, 1)):
        if pause == 9:
            crews.end(key)
        assert sum(isinstance(one, d.Stop) for one in crews.wait(pause)) == stops


def test_a_message_that_comes_while_it_falls_asleep_is_not_lost() -> None:
    crews = Crews(crew_agent("a", idle_sleep_ms=10_000))
    crews.wait(10)
    (key,) = crews.send(receiver="a")
    crews.settle()
    assert crews.finished[JobKey(key)].state == JobState.SUCCEEDED


def test_what_a_message_begins_ends_after_its_work_or_sleeps() -> None:
    crews = Crews(crew_agent("once", kind="ephemeral"), crew_agent("later", kind="on_demand", idle_sleep_ms=10_000))
    assert [crews.phase(name) for name in ("once", "later")] == [Phase.REGISTERED] * 2
    keys = [*crews.send(receiver="once"), *crews.send(receiver="later")]
    crews.settle()
    crews.carry_on()
    assert {crews.finished[JobKey(key)].reason for key in keys} == {Reason.SUCCEEDED}
    assert crews.phase("once") is Phase.STOPPED
    assert Reason.AGENT_DONE in {one.reason for one in crews.finished.values()}
    crews.wait(10)
    crews.carry_on()
    assert crews.phase("later") is Phase.SLEEPING
    (again,) = crews.send(receiver="once")
    crews.settle()
    assert crews.finished[JobKey(again)].state == JobState.SUCCEEDED


def test_who_is_not_trusted_has_nothing_urgent_until_its_results_were_found_good() -> None:
    crews = Crews(crew_agent("new", trust="experimental", verify_after=2))
    (named,) = crews.send(receiver="new", band=1)
    (urgent,) = crews.send(band=0)
    assert [reason(crews, key) for key in (named, urgent)] == [Reason.NOT_TRUSTED] * 2
    crews.step(PriorityChanged(request_id="", keys=(JobKey(named),), band=3))
    crews.enter()
    crews.end(named)
    last = crews.state.next_key
    assert done(crews, 2) == ["new"] * 2
    for key, good in ((named, True), (last, False), (named, True)):  # bad: anew; and each counts once
        crews.step(AgentVerified(request_id="", key="default\0new", job=JobKey(key), good=good))
    assert crews.standing("new").verified == 0
    more = [crews.state.next_key, crews.state.next_key + 1]
    assert done(crews, 2) == ["new"] * 2
    for key in more:
        assert not crews.agent_of(urgent)
        crews.step(AgentVerified(request_id="", key="default\0new", job=JobKey(key), good=True))
    assert crews.agent_of(urgent) == "new"


def test_it_starts_when_those_run_that_go_before_it() -> None:
    crews = Crews(crew_agent("base"), crew_agent("next", after=("base",)), start=False)
    crews.start("next", ready=False)
    assert reason(crews, crews.carrier("next").key) is Reason.AGENT_BEFORE
    crews.start("base")
    crews.ready("next")
    assert crews.phase("next") is Phase.RUNNING


def test_what_its_starts_found_missing_is_named_until_it_runs() -> None:
    crews = Crews(crew_agent("a"), start=False)
    crews.start("a", ready=False)
    key = crews.carrier("a").key

    def fails(*lacks: str) -> tuple[str, str]:
        event = crews.ended(key, AttemptEnd.FAILED)
        crews.step(replace(event, errors=(replace(event.errors[0], lacks=lacks),)))
        found = explain(crews.state, crews.carrier("a"), crews.now_us)
        return found.reason, found.lacks

    both = "no node has setting TOKEN and file /words (1 node tried)"
    assert fails("setting TOKEN", "file /words") == ("no_such_setting", both)
    crews.wait(2)
    assert fails("file /words") == ("no_such_file", "no node has file /words (1 node tried)")
    crews.wait(4)
    assert fails() == ("retry_later", "")
    crews.wait(8)
    fails("file /words")
    crews.wait(16)
    crews.ready("a")
    assert crews.standing("a").lacks == {}


def test_of_several_nodes_it_is_told_what_none_of_them_has() -> None:
    crews = Crews(crew_agent("a"))
    names = [NodeId(name) for name in "xyz"]
    crews.step(NodesJoined(nodes=tuple(replace(NODE, id=name, name=name) for name in names)))
    lacks = crews.standing("a").lacks

    def told() -> str:
        found = unmet(crews.state, crews.carrier("a"), Reason.CRASH_LOOP)
        return found.text if found else ""

    lacks |= {names[0]: ("setting A", "file b"), names[1]: ("file b",), NodeId("gone"): ("setting C",)}
    assert told() == "no node has file b (2 of 4 nodes tried)"
    lacks[names[2]] = ("setting D",)
    assert told() == "x has no setting A and no file b; y has no file b; z has no setting D (3 of 4 nodes tried)"


def test_who_comes_of_an_agent_ends_with_it() -> None:
    crews = Crews(crew_agent("parent"), crew_agent("child", kind="cascading", parent="parent"))
    crews.step(CancelRequested(request_id="", keys=(crews.carrier("parent").key,)))
    crews.carry_on()
    assert [crews.phase(name) for name in ("parent", "child")] == [Phase.STOPPED] * 2
    assert Reason.PARENT_ENDED in {one.reason for one in crews.finished.values()}


def test_an_agent_that_comes_later_gets_what_waits() -> None:
    crews = Crews()
    keys = [*crews.send(3)]
    assert {reason(crews, key) for key in keys} == {Reason.NOBODY_ABLE}
    crews.step(AgentSet(request_id="", agent=crew_agent("a")))
    assert {reason(crews, key) for key in keys} == {Reason.ABLE_AWAY}
    crews.start("a")
    assert [crews.agent_of(key) for key in keys] == ["a", "a", ""]


def test_words_tell_messages_apart_that_are_for_others() -> None:
    words = {
        To(role="a").word,
        To(role="a", fallback=("b",)).word,
        To(role="a", capabilities=("b",)).word,
        To(role="a", skills=("b",)).word,
        To(role="a", models=("b",)).word,
        To(role="a", config=(("b", "c"),)).word,
        To(role="a", affinity="b").word,
    }
    assert len(words) == 7
    word = To(role="a").word
    assert declined_of(less(word, ("x", "y"))) == ("x", "y")
    assert declined_of(word) == ()


def test_after_a_snapshot_it_is_known_that_roles_were_used_though_no_such_message_is_left() -> None:
    state = State()
    state.dispatch.used = True
    assert state_from_plain(state_to_plain(state)).dispatch.used
