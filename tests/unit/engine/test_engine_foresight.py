"""Schedules whose rule is somebody else's: asked once, through restarts; one that fails stops alone, and says why."""

from dataclasses import replace
from typing import Any

import pytest
from test_engine_schedules import EVERY, NOW, SECOND, Clocked, seconds

from kos_ray.engine.engine import Engine
from kos_ray.engine.inbox import ScheduleWish
from kos_ray.journal.store import Journal
from kos_ray.model.errors import Refused
from kos_ray.model.schedule import CatchUp, Foreseen, Schedule
from kos_ray.scheduler.machine import recover
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.scheduler.state import State

OWN = replace(EVERY, name="own", rules=("python:module:following",), catch_up=CatchUp.ALL)


class Asked(Clocked):
    """Hands whose engine has a port to rules, which answers when the test says so: each 10 s, three at a time."""

    def __init__(self, journal: Journal | None = None, now_us: int = NOW) -> None:
        super().__init__(journal, now_us)
        self.questions: list[tuple[str, str, int, int]] = []
        own: dict[str, Any] = dict.fromkeys(("snapshots", "clock", "links", "rules"), self)
        self.engine = Engine(journal=self.journal, python="3.11", version="0", **own)
        self.engine.boot()

    def change(self, verb: str) -> None:
        self.engine.wish(ScheduleWish(verb, verb, key=OWN.key), self.answers.append)
        self.engine.tick()

    def listen(self, answer: Any) -> None:
        self._answer = answer

    def ask(self, key: str, rule: str, after_us: int, until_us: int) -> None:
        self.questions.append((key, rule, after_us, until_us))

    def answer(self, count: int = 3, failed: str = "") -> None:
        key, rule, after_us, _ = self.questions.pop(0)
        first = (after_us - NOW) // (10 * SECOND) + 1
        instants = tuple(NOW + (first + number) * 10 * SECOND for number in range(count))
        self._answer(Foreseen(key=key, rule=rule, after_us=after_us, instants=instants, failed=failed))
        self.engine.tick()


def begun(**fields: Any) -> Asked:
    hands = Asked()
    assert hands.wish("set", replace(OWN, **fields)) == {"next_us": 0, "due_us": 0, "timezone": "UTC"}
    return hands


def test_it_fires_at_what_was_named_and_is_asked_for_more() -> None:
    hands = begun()
    hands.until(NOW + 50 * SECOND)
    assert not hands.fires(), "nothing is known yet"
    hands.answer()
    hands.until(NOW + 50 * SECOND)
    assert seconds(hands.fires()) == [10, 20, 30]
    assert [after_us - NOW for _, _, after_us, _ in hands.questions] == [30 * SECOND]
    hands.answer()
    hands.until(NOW + 50 * SECOND)
    assert seconds(hands.fires()) == [10, 20, 30, 40, 50]
    assert not hands.questions, "one is still ahead"


def test_killed_at_every_step_it_is_asked_again_and_each_fire_has_one_job() -> None:
    hands = begun()
    for _ in range(20):
        hands = Asked(hands.journal, hands.time_us + 5 * SECOND)
        while hands.questions:
            hands.answer()
        hands.until(hands.time_us)
    assert seconds(hands.fires()) == [*range(10, 101, 10)]
    assert set(hands.made().values()) == {1}


def test_one_that_fails_is_paused_and_resumed_is_asked_again() -> None:
    hands = begun()
    hands.answer(count=0, failed="it raised ZeroDivisionError()")
    standing = hands.engine.state.schedules.by_key[OWN.key]
    assert (standing.paused, standing.note) == (True, "its rule: it raised ZeroDivisionError()")
    assert not hands.questions
    hands.change("resume")
    hands.answer()
    hands.until(NOW + 10 * SECOND)
    assert seconds(hands.fires()) == [10]


def test_one_that_names_nothing_more_is_over() -> None:
    hands = begun()
    hands.answer()
    hands.until(NOW + 30 * SECOND)
    hands.answer(count=0)
    hands.until(NOW + 90 * SECOND)
    assert seconds(hands.fires()) == [10, 20, 30]
    assert not hands.questions
    assert not hands.engine.state.schedules.unforeseen


def test_an_answer_that_nobody_waits_for_is_passed_over() -> None:
    hands = begun()
    hands.change("remove")
    hands.answer()
    hands = begun()
    hands.wish("set", replace(OWN, rules=("python:module:other",), fires_max=1), replace=True)
    hands.answer()
    assert not hands.engine.state.schedules.by_key[OWN.key].ahead, "it was another rule that said so"
    hands.answer()
    hands.until(NOW + 60 * SECOND)
    assert len(hands.fires()) == 1
    assert not hands.questions, "it fires no more"


def test_a_snapshot_and_the_frames_behind_it_are_the_same_state() -> None:
    hands = begun()
    hands.answer()
    hands.until(NOW + 30 * SECOND)
    frames = list(hands.journal.frames())
    expected = state_to_plain(hands.engine.state)["schedules"]
    for cut in range(len(frames) + 1):
        state = State()
        for number, frame in enumerate(frames):
            if number == cut:
                state = state_from_plain(state_to_plain(state))
            recover(state, frame.events, frame.decisions, frame.now_us)
        assert state_to_plain(state)["schedules"] == expected


@pytest.mark.parametrize("fields", [{"rules": ("hourly", *OWN.rules)}, {"without": ("weekends",)}, {"jitter_us": 1}])
def test_it_stands_alone(fields: dict[str, Any]) -> None:
    schedule: Schedule = replace(OWN, **fields)
    answer = Asked().wish("set", schedule)
    assert isinstance(answer, Refused)
    assert "expected a rule of your own alone" in str(answer)


@pytest.mark.parametrize("rules", [("hourly",), ("python:module:another",)])
def test_an_answer_in_the_round_in_which_the_rule_becomes_another_one_is_not_its(rules: tuple[str, ...]) -> None:
    hands = begun()
    key, rule, after_us, _ = hands.questions.pop(0)
    other = replace(OWN, rules=rules)
    hands.engine.wish(ScheduleWish("set", "set", key=OWN.key, schedule=other, replace=True), hands.answers.append)
    hands._answer(Foreseen(key=key, rule=rule, after_us=after_us, instants=(after_us + 5 * SECOND,)))
    hands.engine.tick()
    assert not isinstance(hands.answers[-1], Refused)
    hands.until(NOW + 9 * SECOND)
    assert not hands.fires()
