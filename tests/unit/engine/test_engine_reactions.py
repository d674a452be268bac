"""Reactions in the engine: one job for each event, through restarts, a full disk, what is told twice, and policies."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from engine_build import NODE, SPEC, Hands, array, ended

from kos_ray.engine.inbox import OccasionsWish, ScheduleWish
from kos_ray.journal.codec import pack
from kos_ray.journal.verify import verify
from kos_ray.model import events as e
from kos_ray.model.errors import Refused
from kos_ray.model.job import AttemptEnd
from kos_ray.model.occasion import Occasion, OccasionsNoted, Trigger
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources
from kos_ray.model.schedule import Outcome, Overlap, Schedule, ScheduleFired
from kos_ray.scheduler import reactions
from kos_ray.scheduler.machine import recover
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.scheduler.state import State

ON = Schedule(
    name="load", rules=(), spec=SPEC, on=Trigger(events=("file.*",), where=("size > 10",)), overlap=Overlap.ALLOW_ALL
)
SECOND = 1_000_000


def occasion(id_: str, name: str = "file.created", size: int = 11, **fields: Any) -> Occasion:
    return Occasion(id=id_, name=name, data=json.dumps({"size": size}), **fields)


class Telling(Hands):
    """Hands with a reaction, which tell what happens."""

    def wish(self, verb: str, schedule: Schedule = ON, **fields: Any) -> Any:
        own = {"schedule": schedule} if verb == "set" else {}
        wish = ScheduleWish(f"w{len(self.answers)}", verb, key=schedule.key, **own, **fields)
        self.engine.wish(wish, self.answers.append)
        self.tick()
        return self.answers[-1]

    def tell(self, *occasions: Occasion) -> Any:
        self.engine.wish(OccasionsWish(occasions), self.answers.append)
        self.tick()
        return self.answers[-1]

    def until_quiet(self) -> None:
        while (due := self.engine.next_due_us()) is not None and due <= self.time_us:
            self.tick()

    def fires(self) -> list[ScheduleFired]:
        return [one for frame in self.journal.frames() for one in frame.events if isinstance(one, ScheduleFired)]

    def made(self) -> Counter[str]:
        """Ids of events, and how many jobs were made for each."""
        return Counter(one.occasion for one in self.fires() if one.job)


def begun(journal: Any = None, **fields: Any) -> Telling:
    hands = Telling(journal)
    hands.wish("set", replace(ON, **fields))
    return hands


def test_an_event_and_its_job_are_in_one_frame() -> None:
    hands = begun()
    assert hands.tell(occasion("a"), occasion("b", size=9), occasion("c", "order.paid")) == {"known": []}
    (frame,) = [
        frame for frame in hands.journal.frames() if any(isinstance(one, ScheduleFired) for one in frame.events)
    ]
    kinds = [type(one) for one in frame.events]
    assert kinds == [OccasionsNoted, e.JobsSubmitted, ScheduleFired]
    assert hands.made() == {"a": 1}
    assert verify(hands.journal).differences == ()


def test_what_is_told_again_is_the_same_event_also_after_a_restart() -> None:
    hands = begun()
    assert hands.tell(occasion("a"), occasion("a"))["known"] == ["a"]
    assert hands.tell(occasion("a"))["known"] == ["a"]
    hands = Telling(hands.journal)
    assert hands.tell(occasion("a"), occasion("b"))["known"] == ["a"]
    assert hands.tell(occasion("a", namespace="other")) == {"known": []}
    assert hands.made() == {"a": 1, "b": 1}


def test_so_many_ids_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reactions, "SEEN_MAX", 2)
    hands = begun()
    hands.tell(occasion("a"), occasion("b"), occasion("c"))
    assert hands.tell(occasion("b"))["known"] == ["b"]
    assert hands.tell(occasion("a"))["known"] == []
    assert hands.made() == {"a": 1, "b": 1, "c": 1}, (
        "the request id of its job says the same, for as long as that is kept"
    )
    assert hands.fires()[-1].reason is Reason.FIRE_REFUSED


def test_killed_after_every_frame_each_event_has_one_job() -> None:
    hands = begun()
    for number in range(100):
        hands = Telling(hands.journal, now_us=hands.time_us)
        hands.tell(occasion(f"{number}"), occasion(f"{number - 1}"))
    assert hands.made() == {f"{number}": 1 for number in range(-1, 100)}


def test_a_frame_that_could_not_be_written_is_refused_and_told_again(full: list[bool]) -> None:
    hands = begun()
    full[0] = True
    assert isinstance(hands.tell(occasion("a")), Refused)
    full[0] = False
    hands.time_us += 10 * SECOND
    hands.engine.tick()
    assert hands.tell(occasion("a")) == {"known": []}
    assert hands.made() == {"a": 1}


def test_what_a_job_is_told() -> None:
    hands = begun()
    hands.greet()
    hands.tell(occasion("a", key="k", at_us=7, source="s"))
    (launch,) = [launch for _, orders in hands.sent for launch in orders.launches]
    ((index, told),) = launch.told
    assert index == 0
    assert json.loads(told) == {
        "id": "a",
        "name": "file.created",
        "key": "k",
        "at_us": 7,
        "source": "s",
        "data": {"size": 11},
    }


def ended_by(hands: Telling, key: int, end: AttemptEnd = AttemptEnd.SUCCEEDED) -> None:
    hands.report(ended(key, end=end), number=key)
    hands.engine.tick()
    hands.until_quiet()


def test_one_after_another_each_with_its_own_event() -> None:
    hands = begun(overlap=Overlap.BUFFER_ALL)
    hands.greet()
    hands.tell(occasion("a"), occasion("b"))
    hands.tell(occasion("c"))
    assert [one.outcome for one in hands.fires()] == [Outcome.SUBMITTED, Outcome.BUFFERED, Outcome.BUFFERED]
    hands = Telling(hands.journal, now_us=hands.time_us)
    hands.greet(queued=(1,), queued_attempts=(1,))
    hands.engine.tick()
    for key in (1, 2):
        ended_by(hands, key)
    assert [one.occasion for one in hands.fires() if one.job] == ["a", "b", "c"]
    launched = [json.loads(text)["id"] for _, orders in hands.sent for one in orders.launches for _, text in one.told]
    assert launched == ["b", "c"]


def test_ends_of_jobs_are_events_and_those_of_its_own_are_not() -> None:
    hands = begun(on=Trigger(events=("job.*",)))
    hands.greet(replace(NODE, resources=Resources.of({"CPU": 9})))
    hands.submit(array(name="first"))
    hands.submit(array("b", count=2), request="s")
    hands.report(ended(1), ended(2, end=AttemptEnd.FAILED))
    hands.engine.tick()
    assert hands.engine.state.schedules.reactions.ends, "they are kept with the decision that ends the jobs"
    hands = Telling(hands.journal, now_us=hands.time_us)
    hands.until_quiet()
    assert hands.made() == {"job:a": 1, "job:b.0": 1}
    told = [json.loads(one.told) for one in hands.fires()]
    assert [(one["name"], one["data"]["name"], one["data"]["state"]) for one in told] == [
        ("job.succeeded", "first", "succeeded"),
        ("job.failed", "", "failed"),
    ]
    hands.greet(replace(NODE, resources=Resources.of({"CPU": 9})), queued=(3,), queued_attempts=(1,))
    hands.engine.tick()
    hands.report(ended(4, attempt=2), number=4)
    hands.engine.tick()
    hands.until_quiet()
    assert 4 not in hands.engine.state.jobs
    assert sum(hands.made().values()) == 2


def test_pause_skips_and_nobody_listens_when_it_is_gone() -> None:
    hands = begun()
    hands.wish("pause")
    hands.tell(occasion("a"))
    assert [one.reason for one in hands.fires()] == [Reason.SCHEDULE_PAUSED]
    hands.wish("resume")
    hands.wish("set", replace(ON, on=Trigger(events=("order.*",))), replace=True)
    hands.tell(occasion("b"), occasion("c", "order.paid"))
    hands.wish("remove")
    hands.tell(occasion("d", "order.paid"))
    assert hands.made() == {"c": 1}
    assert not hands.engine.state.schedules.reactions.triggers


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (occasion("a", "file.*"), "expected the name of one event"),
        (occasion("a", "what's that"), "expected an event's name"),
        (occasion(""), "expected an id"),
        (Occasion(id="a", name="n", data="{"), "expected data as JSON"),
        (Occasion(id="a", name="n", data=f'"{"x" * 70_000}"'), "at most 65536 bytes"),
        (Occasion(id="a", name="n", data="[" * 101 + "]" * 101), "at most 100 lists and objects"),
        (Occasion(id="a", name="n", data='{"a":' * 9_000 + "1" + "}" * 9_000), "at most 100 lists and objects"),
    ],
)
def test_what_is_no_event_is_refused(wish: Occasion, said: str) -> None:
    hands = begun()
    answer = hands.tell(occasion("b"), wish)
    assert isinstance(answer, Refused)
    assert said in str(answer)
    assert not hands.fires(), "all or nothing"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"on": Trigger(events=())}, "expected the name of an event"),
        ({"on": Trigger(events=("a b",))}, "expected an event's name"),
        ({"on": Trigger(events=("a",), where=("size big",))}, "expected a condition"),
        ({"rules": ("hourly",)}, "expected either events or times"),
    ],
)
def test_a_reaction_that_cannot_be_is_refused(fields: dict[str, Any], said: str) -> None:
    answer = Telling().wish("set", replace(ON, **fields))
    assert isinstance(answer, Refused)
    assert said in str(answer)


def test_a_snapshot_and_the_frames_behind_it_are_the_same_state() -> None:
    hands = begun(overlap=Overlap.BUFFER_ALL, on=Trigger(events=("file.*", "job.*")))
    hands.greet()
    hands.submit(array(name="first"))
    hands.tell(occasion("a"), occasion("b"))
    hands.report(ended(1))
    hands.engine.tick()
    frames = list(hands.journal.frames())
    expected = state_to_plain(hands.engine.state)["schedules"]
    assert expected[2][1], "an end is to be told"
    for cut in range(len(frames) + 1):
        state = State()
        for number, frame in enumerate(frames):
            if number == cut:
                state = state_from_plain(state_to_plain(state))
            recover(state, frame.events, frame.decisions, frame.now_us)
        assert state_to_plain(state)["schedules"] == expected
        assert state.schedules.reactions == hands.engine.state.schedules.reactions


def reading(id_: str, temp: int, room: str = "kitchen") -> Occasion:
    return Occasion(id=id_, name="reading", data=json.dumps({"temp": temp, "room": room}))


def hot(*given: str) -> Telling:
    return begun(on=Trigger(events=("reading",), given=given))


def go_on(hands: Telling, seconds: int, *, restart: bool = False) -> Telling:
    """Let time pass, as the process does: a tick when something is due; with a restart at the end."""
    until_us = hands.time_us + seconds * SECOND
    if restart:
        hands = Telling(hands.journal, now_us=until_us)
    while (due := hands.engine.next_due_us()) is not None and due <= until_us:
        hands.time_us = max(hands.time_us, due)
        hands.engine.tick()
    hands.time_us = until_us
    return hands


@pytest.mark.parametrize("restart", [False, True])
def test_a_threshold_that_holds_for_so_long_fires_once_for_each_room(*, restart: bool) -> None:
    hands = hot("by room", "becomes temp > 30", "until temp < 28", "for 5m")
    hands.tell(reading("1", 31), reading("2", 31, "hall"), reading("3", 29), reading("4", 20, "hall"))
    hands = go_on(hands, 299, restart=restart)
    assert not hands.made()
    hands = go_on(hands, 2, restart=restart)
    assert hands.made() == {"1": 1}
    hands = go_on(hands, 1_000)
    hands.tell(reading("5", 33))
    assert hands.made() == {"1": 1}, "it has not been over"
    assert verify(hands.journal).differences == ()


def test_silence_is_told_once_and_a_batch_as_one() -> None:
    hands = hot("absent 10m")
    hands = go_on(hands, 3_600)
    assert not hands.made(), "nothing was there that could be missed"
    hands.tell(reading("1", 1))
    hands = go_on(hands, 3_600)
    assert hands.made() == {"1~absent": 1}
    assert json.loads(hands.fires()[0].told)["id"] == "1~absent"
    hands = hot("batch 3 or 10s")
    hands.tell(*(reading(f"{number}", number) for number in range(5)))
    hands = go_on(hands, 11)
    told = [json.loads(one.told) for one in hands.fires()]
    assert [[event["id"] for event in one["events"]] for one in told] == [["0", "1", "2"], ["3", "4"]]
    assert [one["id"] for one in told] == ["2", "4"]


def test_what_is_throttled_is_in_the_journal_with_its_reason() -> None:
    hands = hot("throttle 1 per 1h")
    hands.tell(reading("1", 1), reading("2", 1))
    hands.tell(reading("3", 1))
    assert [(one.occasion, one.outcome, one.reason) for one in hands.fires()] == [
        ("2", Outcome.SKIPPED, Reason.THROTTLED),
        ("1", Outcome.SUBMITTED, Reason.NONE),
        ("3", Outcome.SKIPPED, Reason.THROTTLED),
    ]


def test_conditions_are_forgotten_with_their_reaction_and_kept_in_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reactions, "KEYS_MAX", 2)
    hands = hot("by room", "count 2 within 1h", "debounce 5s")
    hands.tell(*(reading(f"{room}", 1, f"{room}") for room in range(3)), reading("again", 1, "2"))
    found = hands.engine.state.schedules.reactions
    assert list(found.states[ON.key]) == ["1", "2"], "of so many values; the one heard of the longest ago was forgotten"
    again = state_from_plain(state_to_plain(hands.engine.state)).schedules
    assert again.reactions == found
    assert again.next_due_us() == hands.engine.state.schedules.next_due_us() == found.next_due_us()
    hands.wish("set", replace(ON, on=Trigger(events=("reading",), given=("debounce 5s",))), replace=True)
    assert not found.states
    assert go_on(hands, 60).made() == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("sometimes",), "expected a clause such as"),
        (("count many within 1m",), "expected a clause such as"),
        (("count 0 within 1m",), "expected numbers of 1 or more"),
        (("count 2 within 1m", "absent 5m"), "expected one of becomes"),
        (("debounce 1s", "debounce 2s"), "each clause once"),
        (("for 5m",), "expected becomes beside for"),
        (("becomes hot",), "expected a condition"),
        (("sequence within 5m",), "expected two events or more"),
        (("batch 5000 or 1h",), "expected at most 1000 events"),
        (("throttle 10001 per 1h",), "expected at most 10000 events"),
        ((f"count {'9' * 5_000} within 1h",), "expected at most 1000 events"),
        (("debounce 3661d",), "expected at most 3660d"),
        ((f"absent {'9' * 400}d",), "expected at most 3660d"),
    ],
)
def test_conditions_that_cannot_be_are_refused(given: tuple[str, ...], said: str) -> None:
    answer = Telling().wish("set", replace(ON, on=Trigger(events=("a",), given=given)))
    assert isinstance(answer, Refused)
    assert said in str(answer)


@pytest.mark.parametrize("room", ["\ud800", "x" * 60_000, "\u00e4" * 499])
def test_whatever_text_stands_in_by_its_timer_can_be_written(room: str) -> None:
    hands = hot("by room", "absent 10m")
    hands.tell(reading("1", 1, room))
    pack(state_to_plain(hands.engine.state))
    hands = go_on(hands, 3_600, restart=True)
    hands = go_on(hands, 3_600)
    assert hands.made() == {"1~absent": 1}
    assert (
        max(len(value) for states in hands.engine.state.schedules.reactions.states.values() for value in states) < 600
    )


def test_data_as_deep_as_is_allowed_reaches_its_job() -> None:
    hands = begun(on=Trigger(events=("n",)))
    assert hands.tell(Occasion(id="a", name="n", data="[" * 100 + "]" * 100)) == {"known": []}
    assert hands.made() == {"a": 1}


@pytest.mark.parametrize("verb", ["set", "remove"])
@pytest.mark.parametrize("turn", [1, -1])
def test_what_is_heard_in_the_round_of_a_change_is_judged_and_kept_by_one_of_the_two(verb: str, turn: int) -> None:
    hands = hot("count 2 within 1h")
    hands.tell(reading("1", 1))
    other = replace(ON, on=Trigger(events=("reading",), given=("becomes temp > 30",)))
    change = ScheduleWish("c", verb, key=ON.key, schedule=other if verb == "set" else None, replace=True)
    for wish in (change, OccasionsWish((reading("2", 31),)))[::turn]:
        hands.engine.wish(wish, hands.answers.append)
    hands.tick()
    if verb == "remove":
        assert not hands.made(), "its job would not find its event"
        return
    assert hands.made() == {"2": 1}
    hands.tell(reading("3", 31))
    assert hands.made() == {"2": 1, "3": 1}, "the other one had not heard of it before"


def test_a_wish_that_makes_no_sense_is_refused_and_hurts_nobody() -> None:
    hands = Telling()
    answer = hands.wish("set", replace(ON, on=None, rules=("hourly",), start_us=10**40))
    assert isinstance(answer, Refused)
    assert "makes no sense" in str(answer)
    assert hands.wish("set")["next_us"] == 0


@pytest.mark.parametrize(
    ("mine", "others"),
    [
        ({"namespace": "a/b", "name": "c"}, {"namespace": "a", "name": "b/c"}),
        ({"name": "c", "id": "d@1"}, {"name": "c@d", "id": "1"}),
    ],
)
def test_another_ones_event_is_never_taken_for_ones_own(mine: dict[str, str], others: dict[str, str]) -> None:
    hands = Telling()
    for one in (mine, others):
        hands.wish("set", replace(ON, name=one["name"], namespace=one.get("namespace", "default")))
        hands.tell(occasion(one.get("id", "1"), namespace=one.get("namespace", "default")))
    assert len([fire for fire in hands.fires() if fire.job]) == 2 + ("id" in mine)
