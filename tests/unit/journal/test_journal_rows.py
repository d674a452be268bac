"""Rows are the fold of frames: against an oracle over random histories, and move by move."""

import random
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journal_build import (
    KIND,
    SPEC,
    Story,
    ended,
    entered,
    finish,
    joined,
    later,
    launch,
    ready,
    stop,
    submitted,
)
from journal_oracle import Oracle

from kos_ray.journal.verify import verify
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.errors import IllegalMove
from kos_ray.model.ids import JobKey
from kos_ray.model.job import LEGAL_MOVES, After, AttemptEnd, JobState
from kos_ray.model.node import Node
from kos_ray.model.payload import inline
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources

S = JobState
NODES = ("a", "b", "c", "never")


class Chaos:
    """Histories: events of all sorts, most of them stale, and decisions that are legal."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.story = Story()
        self.oracle = Oracle()
        self.moved = 0
        self.submitted_so_far: list[int] = []

    def some(self, keys: list[int]) -> list[int]:
        return self.rng.sample(keys, self.rng.randint(0, len(keys)))

    def frame(self) -> None:
        rng = self.rng
        makers = [self.submit, self.join, self.lose, self.enter, self.end, self.end, self.logs, self.cancel, self.move]
        events = [event for _ in range(rng.randint(0, 4)) for event in rng.choice(makers)()]
        now = self.story.now + 1_000_000
        self.oracle.fold(now, events, ())
        decisions: list[d.Decision] = []
        for _ in range(rng.randint(0 if events else 1, 5)):
            decision = rng.choice([self.launch, self.ready, self.later, self.finish, self.stop, self.hold])()
            self.apply(decision)
            decisions.append(decision)
        self.story.add(*events, *decisions)

    def apply(self, decision) -> None:
        self.moved += len(decision.keys)
        getattr(self.oracle, type(decision).__name__)(decision)

    def submit(self):
        first = max(self.submitted_so_far, default=0) + 1
        arrays = [(f"id-{first}-{i}", self.rng.choice([-1, 1, 2, 5])) for i in range(self.rng.randint(1, 4))]
        total = sum(abs(count) for _, count in arrays)
        parents = list(range(1, first))
        dependencies = tuple(
            e.JobDependency(
                key=JobKey(key),
                after=tuple((p, 1, int(After.ANY)) for p in self.some(parents)[:2]),
                inputs=tuple((p, -1) for p in self.some(parents)[:2]),
            )
            for key in self.some(list(range(first, first + total)))
        )
        self.submitted_so_far += range(first, first + total)
        return [submitted(first, arrays, dependencies=dependencies)]

    def join(self):
        names = self.rng.sample(NODES[:3], self.rng.randint(1, 3))
        share = Resources.of({"CPU": self.rng.randint(1, 4)})
        return [e.NodesJoined(nodes=tuple(Node(n, f"node-{n}", share) for n in names))]

    def lose(self):
        return [e.NodeLost(node=self.rng.choice(NODES), cause="power")]

    def reported(self) -> list[tuple[int, int]]:
        """Jobs with an attempt number, mostly the right one; some twice."""
        keys = self.some(list(self.oracle.jobs)) + self.some(list(self.oracle.jobs))[:2]
        return [(key, max(1, self.oracle.jobs[key].attempt + self.rng.choice([0, 0, 0, -1, 1]))) for key in keys]

    def enter(self):
        found = list(dict.fromkeys(self.reported()))
        at = tuple(self.rng.randint(1, 9) for _ in found)
        keys, attempts = tuple(k for k, _ in found), tuple(a for _, a in found)
        pids = tuple(self.rng.randint(1, 9) for _ in found) if self.rng.random() < 0.5 else ()
        node = self.rng.choice(NODES)
        return [e.AttemptsEntered(node=node, keys=keys, attempts=attempts, entered_us=at, pids=pids)]

    def end(self):
        found, rng = self.reported(), self.rng
        return [
            e.AttemptsEnded(
                node=node,
                keys=tuple(k for k, _ in found),
                attempts=tuple(a for _, a in found),
                ends=tuple(rng.choice(list(AttemptEnd)) for _ in found),
                entered_us=tuple(rng.choice([0, 50]) for _ in found),
                ended_us=tuple(rng.choice([0, 60]) for _ in found),
                pids=tuple(rng.randint(1, 9) for _ in found),
                results=tuple(inline(b"%d" % rng.randint(0, 99)) for _ in found),
            )
            for node in rng.sample(NODES, 2)
        ]

    def logs(self):
        return [e.LogsStored(node=self.rng.choice(NODES), file="slot.log", blob="00", size=self.rng.randint(0, 9))]

    def cancel(self):
        return [e.CancelRequested(request_id="cancel", keys=tuple(self.some(list(self.oracle.jobs))))]

    def move(self):
        keys = tuple(self.some(list(self.oracle.jobs)))
        return [e.PriorityChanged(request_id="move", keys=keys, band=self.rng.randint(0, 5))]

    def movable(self, target: JobState) -> tuple[int, ...]:
        jobs = self.oracle.jobs
        return tuple(self.some([key for key, job in jobs.items() if target in LEGAL_MOVES[job.state]]))

    def launch(self):
        nodes = list(self.oracle.nodes)
        keys = self.movable(S.LAUNCHED) if nodes else ()
        attempts = tuple(self.oracle.jobs[key].attempt + 1 for key in keys)
        return d.Launch(node=self.rng.choice(nodes or ["a"]), kind=KIND, slots=1, keys=keys, attempts=attempts)

    def ready(self):
        return ready(*self.movable(S.READY), reason=self.rng.choice([Reason.NODE_LOST, Reason.NONE]))

    def hold(self):
        return d.Hold(keys=self.movable(S.HELD), reason=Reason.HELD_BY_USER)

    def later(self):
        return later(*self.movable(S.BACKOFF), due=self.rng.randint(1, 9))

    def finish(self):
        state = self.rng.choice([state for state in S if state.final])
        return finish(*self.movable(state), state=state, reason=Reason.CRASHED)

    def stop(self):
        keys = self.movable(S.STOPPING)
        attempts = tuple(self.oracle.jobs[key].attempt for key in keys)
        return d.Stop(node="a", keys=keys, attempts=attempts, grace_ms=1, reason=Reason.CANCELLED_BY_USER)


@given(rng=st.randoms(use_true_random=False), frames=st.integers(5, 25))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_rows_are_the_fold_of_any_history(rng, frames):
    chaos = Chaos(rng)
    for _ in range(frames):
        chaos.frame()
    _compare(chaos)
    report = verify(chaos.story.journal)
    assert report.good, str(report)
    assert report.rows["jobs"] == len(chaos.oracle.jobs)


def _compare(chaos: Chaos) -> None:
    journal, jobs = chaos.story.journal, chaos.oracle.jobs
    number = dict(journal.connection.execute("SELECT id, node FROM nodes"))
    assert set(number) == set(chaos.oracle.nodes)
    assert dict(journal.connection.execute("SELECT id, alive FROM nodes")) == chaos.oracle.nodes
    for key, job in jobs.items():
        row = chaos.story.row(key)
        assert {name: row[name] for name in row if hasattr(job, name) and name != "node"} == {
            name: getattr(job, name) for name in row if hasattr(job, name) and name != "node"
        }
        assert row["node"] == (number[job.node] if job.node else None)
        past = journal.connection.execute(
            "SELECT attempt, outcome, node, pid, launched_us, entered_us, ended_us FROM attempts WHERE key = ?", (key,)
        ).fetchall()
        assert past == [(a, o, number[n] if n else None, *rest) for a, o, n, *rest in job.past]
    assert journal.args(jobs) == {key: job.arg for key, job in jobs.items()}
    assert journal.results(jobs) == {key: job.result for key, job in jobs.items() if job.result is not None}
    assert journal.states(jobs) == {key: job.state for key, job in jobs.items()}


def test_random_histories_reach_every_state():
    reached, moved, past = set(), 0, 0
    for seed in range(20):
        chaos = Chaos(random.Random(seed))
        for _ in range(25):
            chaos.frame()
            reached |= {job.state for job in chaos.oracle.jobs.values()}
        moved += chaos.moved
        past += sum(len(job.past) for job in chaos.oracle.jobs.values())
    assert reached == set(S)
    assert moved > 1_000
    assert past > 100


def test_a_job_from_submission_to_result():
    story = Story().begin(jobs=2)
    assert story.state(1) is S.READY
    assert story.row(1)["ready_us"] == story.now
    story.add(launch(1, 2))
    assert story.state(1) is S.LAUNCHED
    assert story.row(1)["launched_us"] == story.now
    story.add(entered(1, pid=77))
    assert [story.state(1), story.state(2)] == [S.RUNNING, S.LAUNCHED]
    assert story.row(1)["pid"] == 77
    story.add(ended(1, 2), finish(1, 2))
    row = story.row(2)
    assert row["state"] == S.SUCCEEDED
    assert (row["entered_us"], row["ended_us"], row["pid"]) == (102, 202, 1002)
    assert row["reason"] == Reason.SUCCEEDED


def test_a_dependency_blocks_until_it_is_made_ready():
    story = Story().begin(jobs=1)
    dependency = e.JobDependency(key=JobKey(3), after=((1, 1, After.OK),), inputs=((1, -1),))
    only_inputs = e.JobDependency(key=JobKey(2), after=(), inputs=((1, -1),))
    story.add(submitted(2, (("x", -1), ("y", -1)), dependencies=(dependency, only_inputs)))
    assert [story.state(2), story.state(3)] == [S.READY, S.BLOCKED]
    assert (story.row(3)["ready_us"], story.row(3)["reason"]) == (0, Reason.DEPENDENCY)
    story.add(ready(3))
    assert (story.state(3), story.row(3)["ready_us"]) == (S.READY, story.now)
    assert story.journal.connection.execute("SELECT * FROM dependencies").fetchall() == [(3, 0, 1, 1, After.OK)]
    assert story.journal.connection.execute("SELECT * FROM inputs").fetchall() == [(2, 0, 1, -1), (3, 0, 1, -1)]


@pytest.mark.parametrize(
    "stale",
    [
        ended(1, attempt=2),
        ended(1, node="b"),
        ended(1, node="never"),
        entered(1, attempt=2),
        ended(3),
        ended(99),
        e.AttemptsEnded(
            node="b",
            keys=(1,),
            attempts=(1,),
            ends=(1,),
            entered_us=(1,),
            ended_us=(1,),
            pids=(1,),
            results=(b"",),
            errors=(e.AttemptError(index=0, type="T", message="m"),),
            logs=((0, "file", 0, 1),),
        ),
    ],
)
def test_a_stale_report_changes_nothing(stale):
    story = Story().begin()
    story.add(launch(1))
    before = _dump(story)
    story.add(stale)
    assert _dump(story) == before


def test_what_a_lost_node_reports_later_in_the_frame_is_stale():
    story = Story().begin()
    story.add(launch(1))
    before = story.row(1)
    story.add(e.NodeLost(node="a", cause="x"), ended(1), entered(1))
    assert story.row(1) == before


def test_the_report_of_an_attempt_that_was_sent_back_changes_nothing():
    story = Story().begin()
    story.add(launch(1))
    story.add(e.NodeLost(node="a", cause="power"), ready(1, reason=Reason.NODE_LOST))
    before = _dump(story)
    story.add(ended(1))
    story.add(entered(1))
    assert _dump(story) == before
    assert story.row(1)["state"] == S.READY


def test_the_first_report_of_an_end_counts():
    story = Story().begin()
    story.add(launch(1))
    story.add(ended(1), ended(1, end=AttemptEnd.FAILED), finish(1))
    assert story.row(1)["outcome"] == AttemptEnd.SUCCEEDED
    before = story.row(1)
    story.add(ended(1, end=AttemptEnd.CRASHED))
    assert story.row(1) == before


def test_a_stopping_job_stays_so_when_it_is_entered():
    story = Story().begin()
    story.add(launch(1))
    story.add(stop(1))
    story.add(entered(1, at=77))
    assert (story.state(1), story.row(1)["entered_us"]) == (S.STOPPING, 77)


def test_a_launch_that_is_sent_again_later_is_not_charged():
    story = Story().begin()
    story.add(launch(1))
    again = d.RetryLater(keys=(JobKey(1),), due_us=(123,), reasons=(Reason.UNDELIVERED,))
    story.add(ended(1, end=AttemptEnd.UNDELIVERED), again)
    row = story.row(1)
    assert (row["state"], row["due_us"], row["failures"]) == (S.BACKOFF, 123, 0)


def test_a_retry_leaves_its_attempt_behind():
    story = Story().begin()
    story.add(launch(1))
    error = e.AttemptError(index=0, type="ValueError", message="no", traceback="tb")
    story.add(ended(1, end=AttemptEnd.FAILED, errors=(error,), logs=((0, "slot.log", 3, 9),)), later(1, due=123))
    row = story.row(1)
    assert (row["state"], row["due_us"], row["failures"]) == (S.BACKOFF, 123, 1)
    assert (row["outcome"], row["ended_us"]) == (None, 0)
    text = "SELECT key, attempt, outcome, pid, entered_us, ended_us FROM attempts"
    assert story.journal.connection.execute(text).fetchall() == [(1, 1, AttemptEnd.FAILED, 1001, 101, 201)]
    assert story.journal.connection.execute("SELECT * FROM errors").fetchall() == [(1, 1, "ValueError", "no", "tb")]
    assert story.journal.connection.execute("SELECT * FROM logs").fetchall() == [(1, 1, "slot.log", 3, 9)]


def test_an_end_without_a_report_is_a_loss_now():
    story = Story().begin()
    story.add(launch(1, 2))
    story.add(e.NodeLost(node="a", cause="power"), finish(1, state=S.LOST, reason=Reason.NODE_LOST), ready(2))
    row = story.row(1)
    assert (row["outcome"], row["ended_us"]) == (AttemptEnd.LOST, story.now)
    text = "SELECT outcome, ended_us FROM attempts"
    assert story.journal.connection.execute(text).fetchall() == [(AttemptEnd.LOST, story.now)]


def test_nodes_come_and_go():
    story = Story().begin(nodes=("a",))
    since = story.now
    story.add(e.NodeLost(node="a", cause="power"))
    lost = story.now
    story.add(e.NodeLost(node="a", cause="again"))
    text = "SELECT id, alive, cause, since_us FROM nodes"
    assert story.journal.connection.execute(text).fetchall() == [("a", 0, "power", lost)]
    story.add(joined("a"))
    back = story.now
    story.add(joined("a"))
    assert story.journal.connection.execute(text).fetchall() == [("a", 1, "", back)]
    assert since < lost < back


@pytest.mark.parametrize(
    "decision",
    [
        finish(1),
        stop(1),
        later(1),
        ready(1),
        launch(1, node="never"),
        launch(99),
        launch(1, attempt=0),
        launch(1, 1),
        finish(1, state=S.SKIPPED),
    ],
    ids=str,
)
def test_an_illegal_decision_is_refused_and_leaves_nothing(decision):
    story = Story().begin()
    before, seq = _dump(story), story.journal.last_seq
    with pytest.raises(IllegalMove, match=r"job (1|99) .*cannot become"):
        story.add(decision)
    assert (_dump(story), story.journal.last_seq) == (before, seq)
    story.add(launch(1))
    assert verify(story.journal).good


def test_a_final_job_never_moves():
    story = Story().begin()
    story.add(launch(1))
    story.add(ended(1), finish(1))
    for decision in (finish(1, state=S.FAILED), ready(1), launch(1, attempt=2), stop(1), later(1)):
        with pytest.raises(IllegalMove, match="succeeded"):
            story.add(decision)


@pytest.mark.parametrize(
    "event",
    [
        submitted(4, (("array", 1),)),
        submitted(4, (("other", 1),), request="request-1"),
        submitted(4, (("empty", 0),)),
        submitted(2, (("overlap", 1),)),
        e.JobsSubmitted(request_id="r", first=4, ids=("x",), counts=(1,), specs=(9,), args=(b"",)),
        e.JobsSubmitted(request_id="r", first=4, ids=("x",), counts=(2,), specs=(1,), args=(b"",)),
    ],
)
def test_a_submission_that_contradicts_the_journal_leaves_nothing(event):
    story = Story().begin()
    before = _dump(story)
    with pytest.raises((ValueError, sqlite3.IntegrityError)):
        story.add(event)
    assert _dump(story) == before


def test_names_are_unique_in_a_namespace():
    story = Story().begin()
    story.add(submitted(4, (("one", -1),), names=((0, "report"),)))
    other = SPEC.__class__(namespace="other")
    story.add(submitted(5, (("two", -1),), names=((0, "report"),), spec=other, spec_key=2))
    with pytest.raises(sqlite3.IntegrityError):
        story.add(submitted(6, (("three", -1),), names=((0, "report"),)))
    assert story.journal.resolve("default", "report") == (4, -1)
    assert story.journal.resolve("other", "report") == (5, -1)


def test_many_rows_cross_every_portion():
    story = Story().begin(jobs=2_500)
    keys = tuple(range(1, 2_501))
    story.add(launch(*keys))
    story.add(ended(*keys), finish(*keys))
    assert set(story.journal.states(keys).values()) == {S.SUCCEEDED}
    assert story.journal.results(keys)[2_500] == inline(b"result 2500")
    assert verify(story.journal).good


def _dump(story: Story) -> list[str]:
    return [line for line in story.journal.connection.iterdump() if '"frames"' not in line]
