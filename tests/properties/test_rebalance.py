"""Laws of rebalancing, in random histories: nothing here knows how the scheduler chooses."""

from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.engine.pressure import Pressures
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import Demands, Eviction, JobState, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.model.reasons import Reason
from kos_ray.model.rebalance import Rebalance, Threshold
from kos_ray.model.resources import Resources
from kos_ray.model.sample import Sample, Use
from kos_ray.scheduler import invariants
from kos_ray.scheduler.machine import next_due_us, recover, step
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.scheduler.state import State
from tests.properties.test_order import RUNS as ORDERLY
from tests.properties.test_order import SECOND_US, History

RUNS = settings(ORDERLY, max_examples=60)
MINUTE_US = 60 * SECOND_US
MOST, REST_US = 2, 90 * SECOND_US
HIGH, LOW = 900, 800
AWAY = (Reason.MOVED, Reason.SUSPENDED)


class Watched(History):
    """Three nodes, agents, and somebody who looks at each stop. Every step is folded as well, from a snapshot too."""

    def __init__(self, *, on: bool = True) -> None:
        thresholds = (Threshold(kind="memory", high=HIGH, low=LOW),) if on else ()
        self.pressed: dict[NodeId, bool] = {}
        self.moves: list[tuple[int, JobKey, NodeId]] = []
        #: where each was started, and how many moves there were before
        self.starts: dict[JobKey, list[tuple[int, NodeId]]] = defaultdict(list)
        self.folded = State()
        self.number = 0
        rebalance = Rebalance(thresholds=thresholds, moves_per_minute=MOST, rest_us=REST_US)
        super().__init__(Policy(rebalance=rebalance, preemption=False), nodes=3)

    def step(self, events: list[e.Event]) -> None:
        for event in events:
            if isinstance(event, e.NodePressed | e.NodeCalm):
                self.pressed[event.node] = isinstance(event, e.NodePressed)
        decisions = step(self.state, events, self.now_us)
        assert invariants.check(self.state) == []
        for decision in decisions:
            self.look(decision, {})
        recover(self.folded, events, decisions, self.now_us)
        again = state_from_plain(state_to_plain(self.folded))
        for folded in (self.folded, again):
            assert state_to_plain(folded)["pressure"] == state_to_plain(self.state)["pressure"]
            assert {key: job.job_class.name for key, job in folded.jobs.items()} == {
                key: job.job_class.name for key, job in self.state.jobs.items()
            }
        self.state = again if self.number % 2 else self.state
        self.number += 1

    def look(self, decision: Any, _before: dict[NodeId, int]) -> None:
        if isinstance(decision, d.Stop) and decision.reason in AWAY:
            for key in decision.keys:
                self._moved(key, decision.node)
        if isinstance(decision, d.Launch):
            assert not self.pressed.get(decision.node), "a node that is pressed takes nothing new"
            for key in decision.keys:
                self._started(key, decision.node)

    def _moved(self, key: JobKey, node: NodeId) -> None:
        assert self.pressed.get(node), "nothing leaves a node that is calm"
        assert not any(one == key and at_us > self.now_us - REST_US for at_us, one, _ in self.moves), "it rests"
        self.moves.append((self.now_us, key, node))
        lately = [at_us for at_us, _, _ in self.moves if at_us > self.now_us - MINUTE_US]
        assert len(lately) <= MOST, "so many a minute"

    def _started(self, key: JobKey, node: NodeId) -> None:
        """It was moved from a node lately: back there only where it has been nowhere else since."""
        for number, (at_us, one, origin) in enumerate(self.moves):
            if one == key and origin == node and at_us > self.now_us - REST_US:
                assert {there for after, there in self.starts[key] if after > number} <= {node}, "there and back"
        self.starts[key].append((len(self.moves), node))

    def press(self, number: int, load: int) -> None:
        """A node says that it is pressed, and what each attempt there uses."""
        node = list(self.state.nodes.values())[number % len(self.state.nodes)]
        keys = [key for lane in node.lanes.values() for key in lane.held]
        self.step(
            [
                e.NodePressed(
                    node=node.node.id,
                    kinds=("memory",),
                    loads=(load,),
                    keys=tuple(keys),
                    attempts=tuple(self.state.jobs[key].attempt for key in keys),
                    uses=tuple((20 + 37 * key % 300,) for key in keys),
                )
            ]
        )

    def calm(self, number: int, load: int) -> None:
        node = list(self.state.nodes)[number % len(self.state.nodes)]
        self.step([e.NodeCalm(node=node, kinds=("memory",), loads=(load,))])

    def enter(self) -> None:
        """All that was launched runs."""
        for job in list(self.state.jobs.values()):
            if job.state is JobState.LAUNCHED:
                assert job.node is not None
                self.step([e.AttemptsEntered(node=job.node, keys=(job.key,), attempts=(job.attempt,), entered_us=(1,))])

    def lose(self, number: int) -> None:
        """A node dies, and comes back empty."""
        node_id = list(self.state.nodes)[number % len(self.state.nodes)]
        node = self.state.nodes[node_id].node
        self.pressed[node_id] = False
        # whoever was there has to go somewhere: it counts as if it had not been
        for found in self.starts.values():
            found[:] = [(number, there) for number, there in found if there != node_id]
        self.step([e.NodeLost(node=node_id, cause="it burnt down")])
        self.step([e.NodesJoined(nodes=(Node(node_id, node.name, Resources.of({"CPU": 4}), incarnation="2"),))])

    def agent(self, cpus: int, band: int) -> None:
        """An agent that saves its state."""
        key, spec = self.spec(cpus, band)
        first = self.state.next_key
        new = key not in self.state.specs
        self.step(
            [
                e.JobsSubmitted(
                    request_id=str(first),
                    first=first,
                    ids=(str(first),),
                    counts=(-1,),
                    specs=(key,),
                    args=(b"",),
                    new_specs=((key, spec),) if new else (),
                )
            ]
        )

    def spec(self, cpus: int, band: int) -> Any:
        spec = Spec(
            entry="m:C",
            band=band,
            resources=Resources.of({"CPU": cpus}),
            single_use=True,
            eviction=Eviction.CHECKPOINT,
            demands=Demands(agent=True),
        )
        return self.specs.setdefault(spec, len(self.specs) + 1), spec  # type: ignore[arg-type]


_NUMBER = st.integers(0, 9)
_ELSE = st.one_of(
    st.tuples(st.just("agent"), st.integers(1, 2), st.integers(3, 5)),
    st.tuples(st.just("enter")),
    st.tuples(st.just("end"), _NUMBER),
    st.tuples(st.just("lose"), _NUMBER),
    st.tuples(st.just("wait"), st.sampled_from((SECOND_US, 20 * SECOND_US, MINUTE_US))),
)
_PRESSED = st.tuples(st.just("press"), _NUMBER, st.integers(LOW + 1, 1_000))
_CALM = st.tuples(st.just("calm"), _NUMBER, st.integers(0, LOW))
_BEGIN = [("agent", 1, 3), ("agent", 1, 4), ("agent", 1, 5), ("agent", 1, 5), ("agent", 2, 5), ("enter",)]


def play(history: Watched, operations: list[Any]) -> Watched:
    for name, *words in operations:
        getattr(history, name)(*words)
    return history


@RUNS
@given(st.lists(st.one_of(_ELSE, _PRESSED, _PRESSED, _CALM), max_size=40))
def test_so_many_a_minute_each_once_in_its_rest_and_never_back(operations: list[Any]) -> None:
    play(Watched(), [*_BEGIN, *operations])


@RUNS
@given(st.lists(_ELSE, max_size=40))
def test_where_all_is_calm_nothing_moves_whatever_else_happens(operations: list[Any]) -> None:
    assert not play(Watched(), [*_BEGIN, *operations]).moves


@RUNS
@given(st.lists(st.one_of(_ELSE, _PRESSED), max_size=25))
def test_without_a_threshold_nothing_moves(operations: list[Any]) -> None:
    assert not play(Watched(on=False), [*_BEGIN, *operations]).moves


@RUNS
@given(st.lists(st.one_of(_ELSE, _PRESSED, _PRESSED, _CALM), max_size=25), st.lists(_ELSE, max_size=15))
def test_moves_end_with_the_pressure_and_all_that_was_moved_goes_on(before: list[Any], after: list[Any]) -> None:
    history = play(Watched(), [*_BEGIN, *before])
    for number in range(len(history.state.nodes)):
        history.calm(number, 0)
    moved = len(history.moves)
    play(history, after)
    assert len(history.moves) == moved
    history.wait(REST_US + MINUTE_US)
    for _ in range(20):
        for number in range(10):
            if any(job.state is JobState.STOPPING for job in history.state.jobs.values()):
                history.end(number)
    history.wait(SECOND_US)
    waiting = [job for job in history.state.jobs.values() if job.state is JobState.READY]
    free = [node.free.get("CPU", 0) for node in history.state.nodes.values()]
    assert all(dict(job.kind.resources.amounts)["CPU"] > max(free) for job in waiting), "room for it, and it waits"
    assert next_due_us(history.state, history.now_us) is None or not history.state.pressure.used


class Measured(Watched):
    """The same, with the engine between the measurements of a node and the scheduler."""

    def __init__(self) -> None:
        super().__init__()
        play(self, _BEGIN)
        self.pressures = Pressures()
        self.node = next(node for node in self.state.nodes.values() if node.lanes).node.id
        #: what measurements came to, by their number
        self.found: dict[int, str] = {}
        self.count = 0

    def sample(self, load: int) -> None:
        """A second later the node says how much of its memory is used, and by whom."""
        self.count += 1
        self.now_us += SECOND_US
        held = [key for lane in self.state.nodes[self.node].lanes.values() for key in lane.held]
        uses = tuple(Use(key, self.state.jobs[key].attempt, {"memory": 30}, 0, 0) for key in held)
        sample = Sample(loads={"memory": load}, uses=uses, at_us=self.count)
        event = self.pressures.heard(self.state, self.node, sample, self.now_us)
        if event is not None:
            self.found[self.count] = type(event).__name__
            self.step([event])

    def started_there(self) -> int:
        return sum(there == self.node for found in self.starts.values() for _, there in found)


_AFTER = Rebalance().after


def test_measurements_that_swing_around_the_threshold_move_nothing() -> None:
    history = Measured()
    for number in range(600):
        history.sample(HIGH + 30 if number % _AFTER else HIGH - 30)
    assert (history.found, history.moves) == ({}, [])
    for _ in range(_AFTER):
        history.sample(HIGH)
    assert history.moves, "it would have been moved"


def test_a_node_that_swings_around_the_lower_threshold_stays_pressed_and_nobody_comes_back() -> None:
    history = Measured()
    for _ in range(_AFTER):
        history.sample(HIGH)
    there = history.started_there()
    for number in range(600):
        history.sample(LOW - 20 if number % _AFTER else LOW + 20)
    assert set(history.found.values()) == {"NodePressed"}
    assert history.started_there() == there
    for _ in range(_AFTER):
        history.sample(LOW)
    assert "NodeCalm" in history.found.values()


@RUNS
@given(st.lists(st.integers(LOW - 60, HIGH + 60), max_size=150))
def test_a_change_takes_so_many_in_a_row_at_the_other_threshold(loads: list[int]) -> None:
    history = Measured()
    pressed = False
    for number, load in enumerate(loads, 1):
        history.sample(load)
        last = loads[number - _AFTER : number]
        if history.found.get(number) == ("NodeCalm" if pressed else "NodePressed"):
            pressed = not pressed
            assert len(last) == _AFTER
            assert min(last) >= HIGH if pressed else max(last) <= LOW
