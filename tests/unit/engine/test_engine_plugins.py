"""What an engine makes of plug-ins that answer, lie, say nothing or crash; and what telemetry counts."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.engine.advice import GRAPH_US, START_US, TASKS_MAX
from kos_ray.engine.engine import Engine
from kos_ray.engine.inbox import SettingsWish
from kos_ray.engine.overview import overview
from kos_ray.engine.telemetry import Telemetry
from kos_ray.journal.store import Journal
from kos_ray.model import events as e
from kos_ray.model.ids import JobKey
from kos_ray.model.job import After
from kos_ray.model.plugins import Advice, Question
from kos_ray.model.policy import Policy
from kos_ray.scheduler import invariants
from kos_ray.scheduler.machine import recover
from kos_ray.scheduler.state import State
from kos_ray.spec.policies import parse_words
from tests.unit.engine.engine_build import Hands, array, ended


class Plugins:
    """The port, in the test's hands."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Question]] = []
        self.cancelled: list[tuple[str, ...]] = []
        self.over: list[str] = []
        self.say: Callable[[Advice], None] = lambda _: None
        self.graphs = False

    def listen(self, answer: Callable[[Advice], None]) -> None:
        self.say = answer

    def ask(self, plugin: str, question: Question) -> None:
        self.asked.append((plugin, question))

    def orders_graphs(self, plugin: str) -> bool:
        return self.graphs and plugin == "p"

    def cancel(self, plugin: str, ids: tuple[str, ...]) -> None:
        self.cancelled.append(ids)

    def end(self, plugin: str) -> None:
        self.over.append(plugin)


class Ordered(Hands):
    """An engine whose jobs the plug-in `p` orders, with one node of two CPUs that has greeted."""

    def __init__(self, journal: Journal | None = None, plugins: Plugins | None = None) -> None:
        self.plugins = plugins if plugins is not None else Plugins()
        super().__init__(journal)
        self.engine = Engine(
            journal=self.journal,
            snapshots=self,
            clock=self,
            links=self,
            python="3.11",
            version="0",
            plugins=self.plugins,
        )
        self.engine.boot()
        if journal is None:
            self.set("scheduler_mode=plugin:p")

    def set(self, *words: str) -> None:
        change: Any = parse_words(list(words))
        self.engine.wish(SettingsWish(request_id="", change=change), self.answers.append)
        self.tick()

    def up(self) -> None:
        self.plugins.say(Advice(plugin="p"))
        self.tick()

    def answer(self, ranks: dict[int, int], *, number: int | None = None) -> None:
        _, question = self.plugins.asked[-1]
        keys = tuple(JobKey(key) for key in ranks)
        number = question.number if number is None else number
        self.plugins.say(Advice(plugin="p", number=number, keys=keys, ranks=tuple(ranks.values())))
        self.tick()

    @property
    def off(self) -> dict[str, str]:
        return self.engine.state.plugins_off

    def checked(self) -> "Ordered":
        """Nothing is broken, and a fold of the journal without any plug-in is the same."""
        assert invariants.check(self.engine.state) == []
        folded = State()
        for frame in self.journal.frames(0):
            recover(folded, frame.events, frame.decisions, frame.now_us)
        assert (folded.advice, folded.plugins_off) == (self.engine.state.advice, self.off)
        return self


def test_an_answer_orders_the_jobs_and_is_journaled() -> None:
    hands = Ordered()
    hands.submit(array("a", 4))
    plugin, question = hands.plugins.asked[-1]
    assert (plugin, question.keys) == ("p", (1, 2, 3, 4))
    assert question.tasks[0]["id"] == "a.0"
    assert question.tasks[0]["resources"] == {"CPU": 1.0}
    hands.greet()
    hands.tick()
    assert hands.launched() == [], "nobody has a turn before the plug-in has said"
    hands.up()
    hands.answer({4: 1, 3: 2, 1: 3, 2: 4})
    assert hands.launched() == [("a.3", 1), ("a.2", 1)]
    hands.report(ended(4), ended(3))
    hands.tick()
    assert hands.launched()[2:] == [("a.0", 1), ("a.1", 1)]
    hands.checked()
    assert len(hands.plugins.asked) == 1


def test_whom_it_leaves_out_goes_last_and_what_it_says_twice_counts_once() -> None:
    hands = Ordered()
    hands.submit(array("a", 3))
    hands.up()
    number = hands.plugins.asked[-1][1].number
    keys = (JobKey(3), JobKey(2), JobKey(2))
    hands.plugins.say(Advice(plugin="p", number=number, keys=keys, ranks=(5, 9, -9)))
    hands.tick()
    hands.greet()
    hands.tick()
    assert hands.launched() == [("a.2", 1), ("a.1", 1)]
    assert hands.checked().off == {}


@pytest.mark.parametrize(
    ("say", "why"),
    [
        (lambda hands: hands.answer({1: 1, 99: 0}), "it ranked 1 jobs that it was not asked about"),
        (
            lambda hands: (
                hands.plugins.say(Advice(plugin="p", number=1, keys=(JobKey(1),), ranks=(1, 2))),
                hands.tick(),
            ),
            "it gave 2 ranks for 1 jobs",
        ),
        (
            lambda hands: (hands.plugins.say(Advice(plugin="p", failed="it raised ValueError: no")), hands.tick()),
            "it raised ValueError: no",
        ),
    ],
)
def test_a_plugin_that_lies_or_crashes_is_disabled_and_its_jobs_go_on(say: Callable[[Ordered], Any], why: str) -> None:
    hands = Ordered()
    hands.submit(array("a", 3))
    hands.greet()
    hands.up()
    say(hands)
    assert hands.off == {"p": why}
    assert hands.plugins.over == ["p"]
    assert hands.launched() == [("a.0", 1), ("a.1", 1)]
    view = overview(hands.engine.state, (), 0)
    assert view.plugins == (("p", why),)
    hands.checked()


def test_a_plugin_that_is_silent_is_disabled_in_time() -> None:
    hands = Ordered()
    hands.set("plugin_deadline=50ms")
    hands.submit(array("a", 1))
    hands.greet()
    hands.up()
    due_us = hands.engine.next_due_us()
    assert due_us is not None
    assert due_us - hands.time_us <= 50_000
    hands.time_us = due_us - 2_000
    hands.tick()
    assert hands.off == {}
    hands.tick()
    assert hands.off == {"p": "it did not answer within 50 ms (plugin_deadline)"}
    assert hands.launched() == [("a.0", 1)]
    hands.answer({1: 1}, number=1)
    hands.checked()


def test_one_that_never_comes_up_is_disabled_as_well() -> None:
    hands = Ordered()
    hands.submit(array("a", 1))
    hands.greet()
    hands.time_us += START_US
    hands.tick()
    assert hands.off == {"p": "its process was not up within 10000 ms"}
    assert hands.launched() == [("a.0", 1)]


def test_an_answer_that_is_there_in_time_counts_though_the_engine_was_busy() -> None:
    hands = Ordered()
    hands.submit(array("a", 1))
    hands.up()
    hands.time_us += 60_000_000
    hands.answer({1: 1})
    assert hands.off == {}


def test_an_engine_without_plugins_says_so() -> None:
    hands = Hands()
    change: Any = parse_words(["scheduler_mode=plugin:p"])
    hands.engine.wish(SettingsWish(request_id="", change=change), hands.answers.append)
    hands.submit(array("a", 1))
    hands.tick()
    assert hands.engine.state.plugins_off == {"p": "plug-ins do not run here"}


def test_setting_it_again_tries_it_again() -> None:
    hands = Ordered()
    hands.submit(array("a", 1))
    hands.up()
    hands.answer({99: 1})
    hands.set("claims=4")
    assert set(hands.off) == {"p"}, "another setting changes nothing of it"
    hands.set("scheduler_mode=plugin:p")
    assert hands.off == {}
    assert len(hands.plugins.asked) == 2
    hands.checked()


def test_another_life_asks_again_only_about_those_without_a_rank() -> None:
    hands = Ordered()
    hands.submit(array("a", 2))
    hands.up()
    hands.answer({2: 1, 1: 2})
    hands.submit(array("b", 1), request="r2")
    later = Ordered(hands.journal)
    assert [question.keys for _, question in later.plugins.asked] == [(3,)]
    later.checked()


def test_questions_have_a_bound_and_go_on() -> None:
    hands = Ordered()
    hands.submit(array("a", TASKS_MAX + 1))
    hands.up()
    hands.answer(dict.fromkeys(range(1, TASKS_MAX + 1), 0))
    assert [len(question.keys) for _, question in hands.plugins.asked] == [TASKS_MAX, 1]


def test_it_hears_of_jobs_that_were_cancelled() -> None:
    hands = Ordered()
    hands.submit(array("a", 2))
    hands.up()
    hands.answer({1: 1, 2: 2})
    hands.engine.post(e.CancelRequested(request_id="", keys=(JobKey(2),)))
    hands.tick()
    assert hands.plugins.cancelled == [("a.1",)]


def test_its_process_ends_when_nothing_is_ordered_by_it_any_more() -> None:
    hands = Ordered()
    hands.submit(array("a", 1))
    hands.up()
    hands.answer({1: 1})
    hands.set("scheduler_mode=fifo")
    assert hands.plugins.over == ["p"]
    hands.checked()


_ANSWERS = st.lists(
    st.tuples(
        st.sampled_from(("answer", "stale", "torn", "fails", "up", "silence", "again")),
        st.lists(st.integers(-1, 9), max_size=8),
        st.integers(-(2**80), 2**80),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(answers=_ANSWERS)
def test_whatever_a_plugin_says_all_jobs_run_and_nothing_is_broken(answers: list[tuple[str, list[int], int]]) -> None:
    """Lies, silence, crashes, stale and torn answers, and somebody who sets it again and again."""
    hands = Ordered()
    hands.greet()
    hands.submit(array("a", 6))
    for way, names, rank in answers:
        keys = tuple(map(JobKey, names))
        number = hands.plugins.asked[-1][1].number + (way == "stale")
        ranks = (rank,) * (len(keys) + (way == "torn"))
        if way == "silence":
            hands.time_us += 300_000
        elif way == "again":
            hands.set("scheduler_mode=plugin:p")
        elif way in ("fails", "up"):
            hands.plugins.say(Advice(plugin="p", failed="it crashed" if way == "fails" else ""))
        else:
            hands.plugins.say(Advice(plugin="p", number=number, keys=keys, ranks=ranks))
        hands.tick()
        hands.checked()
    hands.time_us += START_US
    hands.tick()
    number = 0
    while hands.engine.state.jobs:
        held = [key for node in hands.engine.state.nodes.values() for lane in node.lanes.values() for key in lane.held]
        assert held, "nobody runs, and jobs wait"
        number += 1
        hands.report(*map(ended, held), number=number)
        hands.tick()
        hands.checked()


def test_telemetry_counts_while_it_is_wanted() -> None:
    wanted = [False]
    hands = Hands()
    telemetry = Telemetry(lambda: wanted[0])
    hands.engine.listeners.append(telemetry)
    hands.submit(array("a", 2))
    assert telemetry.counts() == ()
    wanted[0] = True
    hands.submit(array("b", 3), request="r2")
    hands.greet()
    hands.tick()
    hands.report(ended(1))
    hands.tick()
    counts = dict(telemetry.counts())
    assert {name: counts[name] for name in ("submitted", "started", "succeeded")} == {
        "submitted": 3,
        "started": 5,
        "succeeded": 1,
    }


def test_the_overview_says_which_queue_is_in_use() -> None:
    view = overview(State(policy=Policy(queue="redis")), (), 0)
    assert (view.queue, view.queue_wanted) == ("sqlite", "redis")


def test_one_for_graphs_is_asked_of_those_behind_and_has_more_time() -> None:
    hands = Ordered()
    hands.plugins.graphs = True
    behind = (array(name, after=((parent, int(After.OK)),)) for name, parent in (("child", "root"), ("leaf", "child")))
    hands.submit(array("root"), *behind, array("other"))
    _, question = hands.plugins.asked[-1]
    assert [(task["id"], task["after"], task["ready_at"] is None) for task in question.tasks] == [
        ("root", [], False),
        ("child", ["root"], True),
        ("leaf", ["child"], True),
        ("other", [], False),
    ]
    hands.greet()
    hands.up()
    assert question.cluster["capacity"] == {}
    hands.time_us += GRAPH_US - 2_000
    hands.tick()
    assert hands.off == {}, "200 ms are for those that rank each job for itself"
    hands.answer({1: 1, 2: 2, 3: 3, 4: 4})
    assert hands.launched() == [("root", 1), ("other", 1)]
    hands.report(ended(1))
    hands.tick()
    assert hands.launched()[2:] == [("child", 1)]
    assert len(hands.plugins.asked) == 1, "nobody is asked about a job that has its rank"
    hands.checked()
