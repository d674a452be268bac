"""The tick: nothing before it is on disk, and what happens when the disk refuses or the clock is set back."""

import sqlite3
from dataclasses import replace

import pytest
from engine_build import NODE, SPEC, Hands, array, ended

from kos_ray.engine.admission import Admission
from kos_ray.engine.inbox import Touched
from kos_ray.journal.store import Journal
from kos_ray.model.errors import JournalUnwritable, Refused
from kos_ray.model.events import AttemptError, CancelRequested, HoldRequested, JournalResumed, ReleaseRequested
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import AttemptEnd, JobState
from kos_ray.model.node import Node
from kos_ray.model.protocol import Accepted, Acked, Submit
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources
from kos_ray.scheduler.snapshot import state_to_plain


def test_a_job_goes_its_way() -> None:
    hands = Hands()
    hands.greet()
    assert hands.submit(watcher="w") == Accepted(first=1, job_count=1, epoch=1)
    assert hands.launched() == [("a", 1)]
    hands.report(ended(1, result=b"\x00r"))
    hands.tick()
    assert hands.answers[-1] == Acked(incarnation="first", number=1, epoch=1)
    assert hands.outcomes("w") == {1: (JobState.SUCCEEDED, b"\x00r")}


def test_a_ready_job_is_told_what_holds_it() -> None:
    hands = Hands()
    hands.submit(array("none"), request="n")
    assert hands.engine.why(JobKey(1)) is Reason.NO_NODES
    hands.greet()
    large = replace(SPEC, resources=Resources.of({"unobtainium": 1}))
    hands.submit(array("large", spec=large), request="l", spec=large)
    hands.submit(array("more", count=2), request="m")
    assert [hands.engine.why(JobKey(key)).name for key in (1, 2, 3, 4, 5)] == [
        *("NONE", "NEVER_FITS", "NONE", "NO_ROOM", "NONE"),
    ]


def test_a_snapshot_of_another_version_is_passed_over() -> None:
    hands = Hands()
    hands.greet()
    hands.submit(array(count=3))
    last = next(iter(reversed(list(hands.journal.frames())))).last_seq
    plain = state_to_plain(hands.engine.state)
    plain["jobs"] = [(*job[:-1], job[-1][:-1]) for job in plain["jobs"]]
    hands.load_newest = lambda: (last, plain)  # type: ignore[method-assign, assignment, return-value]
    hands.engine._fold()
    assert sorted(hands.engine.state.jobs) == [1, 2, 3]


def test_nothing_is_answered_or_sent_when_the_disk_is_full(full: list[bool]) -> None:
    hands = Hands()
    hands.greet()
    hands.tick()
    hands.sent.clear()
    full[0] = True
    answer = hands.submit(watcher="w")
    assert isinstance(answer, Refused)
    assert "nothing is accepted while the journal cannot write" in str(answer)
    assert "disk is full" in hands.engine.stalled
    hands.report(ended(1))
    hands.tick()
    assert isinstance(hands.answers[-1], Refused), "a report that is not on disk is not acknowledged"
    assert hands.sent == []
    full[0] = False
    hands.tick()
    assert hands.engine.stalled == ""
    assert hands.submit(watcher="w") == Accepted(first=1, job_count=1, epoch=1)
    assert hands.launched() == [("a", 1)]


def test_a_spec_that_was_never_written_is_not_known(full: list[bool]) -> None:
    """Its number went to another one since: nobody's job may run as that."""
    hands = Hands()
    unwritten, other = replace(SPEC, entry="module:unwritten"), replace(SPEC, entry="module:other")
    full[0] = True
    assert isinstance(hands.submit(array(spec=unwritten), spec=unwritten), Refused)
    full[0] = False
    hands.tick()
    assert hands.submit(array("b", spec=other), request="s", spec=other).job_count == 1
    submit = Submit(request_id="t", arrays=(array("c", spec=unwritten),), specs=())
    hands.engine.submit(submit, hands.answers.append)
    hands.tick()
    assert hands.answers[-1].unknown_specs == (spec_hash(unwritten),)


def test_a_submission_that_breaks_the_engine_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is in it: the others that arrived with it are accepted, and the engine goes on."""
    real = Admission.admit

    def admit(admission: Admission, submit: Submit) -> object:
        return 1 / 0 if submit.request_id == "bad" else real(admission, submit)

    monkeypatch.setattr(Admission, "admit", admit)
    hands = Hands()
    for request, id_ in (("bad", "a"), ("good", "b")):
        specs = ((spec_hash(SPEC), SPEC),)
        hands.engine.submit(Submit(request_id=request, arrays=(array(id_),), specs=specs), hands.answers.append)
    hands.tick()
    refused, accepted = hands.answers
    assert isinstance(refused, Refused)
    assert str(refused) == "what was submitted makes no sense: ZeroDivisionError: division by zero"
    assert accepted.job_count == 1


def test_the_epoch_stays_when_the_disk_comes_back(full: list[bool]) -> None:
    """A higher one would let orders overtake a greeting that is on its way."""
    hands = Hands()
    full[0] = True
    hands.submit()
    full[0] = False
    hands.tick()
    assert hands.submit() == Accepted(first=1, job_count=1, epoch=1)
    assert (hands.engine.state.epoch, hands.journal.last_epoch) == (1, 1)


def test_the_newest_greeting_is_kept_while_the_disk_is_full(full: list[bool]) -> None:
    hands = Hands()
    hands.submit()
    full[0] = True
    hands.greet(session=1)
    hands.tick()
    hands.greet(session=2)
    hands.tick()
    full[0] = False
    hands.tick()
    hands.tick()
    assert {orders.session for _, orders in hands.sent} == {2}
    assert hands.launched() == [("a", 1)]


def test_what_is_watched_while_the_disk_is_full_is_told_later(full: list[bool]) -> None:
    """The state in memory has moved beyond the disk: a job that is over there is not over."""
    hands = Hands()
    hands.submit()
    full[0] = True
    hands.engine.post(CancelRequested(request_id="c", keys=(1,)), hands.answers.append)
    hands.tick()
    hands.engine.watch("w", [1])
    full[0] = False
    hands.tick()
    assert hands.outcomes("w") == {}, "the cancellation was refused"
    hands.engine.post(CancelRequested(request_id="c", keys=(1,)), hands.answers.append)
    hands.tick()
    assert hands.outcomes("w") == {1: (JobState.CANCELLED, b"")}


def test_a_journal_that_cannot_write_at_boot_says_so(full: list[bool]) -> None:
    full[0] = True
    with pytest.raises(JournalUnwritable, match="disk is full"):
        Hands()


def test_time_goes_on_when_the_wall_clock_was_set_back() -> None:
    hands = Hands(now_us=10**15)
    hands.submit()
    later = Hands(Journal.on(hands.journal.connection), now_us=5)
    before = later.engine.now_us()
    later.time_us += 1_000
    assert later.engine.now_us() == before + 1_000
    assert before >= hands.journal.last_now_us


def test_a_fenced_end_reaches_nobody() -> None:
    """The node was lost, the job runs again elsewhere; then the first attempt reports after all, in the same tick."""
    hands = Hands()
    one = replace(NODE, resources=Resources.of({"CPU": 1}))
    two = Node(NodeId("m"), "m", Resources.of({"CPU": 1}), incarnation="second")
    hands.greet(one)
    hands.submit(watcher="w")
    hands.greet(two)
    hands.greet(replace(one, incarnation="reborn"), session=2)
    hands.tick()
    job = hands.engine.state.jobs[1]
    assert (job.attempt, hands.launched()) == (2, [("a", 1), ("a", 2)])
    hands.report(ended(1, attempt=2, result=b"\x00right", node=job.node))
    hands.report(ended(1, attempt=1, result=b"\x00wrong"))
    hands.submit(array("child", inputs=("a",)), request="2")
    assert hands.outcomes("w") == {1: (JobState.SUCCEEDED, b"\x00right")}
    launch = next(launch for _, orders in hands.sent for launch in orders.launches if "child" in launch.ids)
    assert launch.inputs == ((0, (b"\x00right",)),)


def test_a_job_that_did_not_succeed_is_told_with_its_error_as_the_journal_has_it() -> None:
    hands = Hands()
    hands.greet()
    hands.submit(watcher="w")
    error = AttemptError(index=0, type="ValueError", message="no", traceback="line 1")
    hands.report(ended(1, end=AttemptEnd.FAILED, errors=(error,)))
    hands.tick()
    found = hands.engine.sessions.get("w").take(0)
    assert found is not None
    assert found.errors == ((0, "ValueError", "no", "line 1"),)


def test_what_somebody_wants_is_answered_with_how_many_jobs_were_live() -> None:
    hands = Hands()
    hands.submit(array(count=3))
    hands.engine.post(CancelRequested(request_id="c", keys=(1, 2, 99)), hands.answers.append)
    hands.tick()
    assert hands.answers[-1] == Touched(2)


def test_a_release_is_answered_with_how_many_jobs_were_held() -> None:
    hands = Hands()
    hands.submit(array(count=3))
    hands.engine.post(HoldRequested(request_id="h", keys=(1, 2)), hands.answers.append)
    hands.tick()
    for held in (1, 0):
        hands.engine.post(ReleaseRequested(request_id="r", keys=(2, 3, 99)), hands.answers.append)
        hands.tick()
        assert hands.answers[-1] == Touched(held)


@pytest.mark.parametrize("said", ["database or disk is full", "disk I/O error", "attempt to write a readonly database"])
def test_a_trouble_lasts_until_a_frame_says_that_it_is_over(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """A look at the disk alone ends nothing: with nothing to decide, no other frame would try it."""
    hands = Hands()
    refuse = [True]

    def reach(name: str) -> None:
        if refuse[0] and name == "journal.before_commit":
            raise sqlite3.OperationalError(said)

    monkeypatch.setattr("kos_ray.journal.store.reach", reach)
    hands.submit()
    since_us = hands.engine.trouble.since_us
    assert said in hands.engine.stalled
    hands.tick()
    assert (hands.engine.trouble.since_us, said in hands.engine.stalled) == (since_us, True)
    refuse[0] = False
    hands.tick()
    assert (hands.engine.trouble.since_us, hands.engine.stalled) == (0, "")
    (event,) = list(hands.journal.frames())[-1].events
    assert isinstance(event, JournalResumed)
    assert event.since_us == since_us
    assert said in event.reason


def test_nothing_is_folded_while_the_disk_has_no_room_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folding a long journal every half second would hold up everything else."""
    hands = Hands()
    hands.engine.trouble.begin(JournalUnwritable("full"), 5)
    monkeypatch.setattr(hands.journal, "probe", lambda: (_ for _ in ()).throw(JournalUnwritable("still full")))
    monkeypatch.setattr(hands.engine, "_fold", lambda: pytest.fail("it folded"))
    hands.tick()
    assert (hands.engine.stalled, hands.engine.trouble.since_us) == ("still full", 5)
