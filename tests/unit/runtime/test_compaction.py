"""Retention: what goes, what stays, and that what is left proves itself."""

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kos_ray.engine.engine import Engine
from kos_ray.engine.inbox import ScheduleWish
from kos_ray.journal import base, export
from kos_ray.journal.anchor import newest_anchor, parse_anchor
from kos_ray.journal.backup import copy_state
from kos_ray.journal.history import story
from kos_ray.journal.reader import JournalReader
from kos_ray.journal.snapshots import FileSnapshots
from kos_ray.journal.store import Journal
from kos_ray.journal.verify import rebuild_rows, verify
from kos_ray.model.errors import InvalidSpec, JournalDamaged, NotFound, Refused
from kos_ray.model.events import AttemptsEnded, CancelRequested
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import AttemptEnd, JobState, Spec
from kos_ray.model.node import Node
from kos_ray.model.payload import inline
from kos_ray.model.policy import Policy, changed
from kos_ray.model.protocol import PROTOCOL, Accepted, Array, Holding, Report, Submit
from kos_ray.model.resources import Resources
from kos_ray.model.schedule import Schedule
from kos_ray.rehearsal.again import rehearse_frames
from kos_ray.rehearsal.journal import read_after, read_beginning, read_jobs, read_last_policy, read_nodes
from kos_ray.runtime import compaction
from kos_ray.runtime.reader import ReaderActor
from kos_ray.runtime.retention import Retention, cutoffs
from kos_ray.scheduler.snapshot import state_from_plain
from kos_ray.sim.folds import comparable, fold
from kos_ray.spec.policies import change_of

DAY_US = 86_400_000_000
SPEC = Spec(entry="module:function", resources=Resources.of({"CPU": 1}), python="3.11")
HUGE = Spec(entry="module:function", resources=Resources.of({"CPU": 99}), python="3.11")


class Cluster:
    """An engine on a journal in a directory, with one node and a clock that a test turns."""

    def __init__(self, state_dir: Path, day: float = 1) -> None:
        self.time_us = round(day * DAY_US)
        self.journal = Journal.open(state_dir)
        self._snapshots = FileSnapshots(state_dir / "snapshots")
        self.answers: list[Any] = []
        self.engine = Engine(journal=self.journal, snapshots=self, clock=self, links=self, python="3.11", version="0")
        self.engine.boot()
        node = Node(NodeId("n"), "n", Resources.of({"CPU": 2}), incarnation="first")
        self.engine.greeted(node, Holding(node=node.id, incarnation="first", protocol=PROTOCOL), 1)
        self.tick()

    def now_us(self) -> int:
        return self.time_us

    def send(self, node: NodeId, orders: Any) -> None:
        pass

    def load_newest(self) -> Any:
        return self._snapshots.load_newest(self.journal)

    def tick(self) -> None:
        self.time_us += 1_000
        self.engine.tick()

    def submit(self, name: str, count: int = -1, spec: Spec = SPEC, **more: Any) -> int:
        args = tuple(inline(f"{name} {item}".encode()) for item in range(abs(count)))
        array = Array(id=name, count=count, spec=spec_hash(spec), args=args, **more)
        submit = Submit(request_id=f"r-{name}", arrays=(array,), specs=((spec_hash(spec), spec),))
        self.engine.submit(submit, self.answers.append)
        self.tick()
        accepted = self.answers[-1]
        assert isinstance(accepted, Accepted), accepted
        return accepted.first

    def put(self, array: Array, request: str, *, known: bool = False) -> Any:
        """The first key of what a request got, of what was there before where `known`; or why it was refused."""
        submit = Submit(request_id=request, arrays=(array,), specs=((spec_hash(SPEC), SPEC),))
        self.engine.submit(submit, self.answers.append)
        self.tick()
        answer = self.answers[-1]
        return answer if isinstance(answer, Refused) else answer.known[0][1] if known else answer.first

    def end(self, *keys: int, end: AttemptEnd = AttemptEnd.SUCCEEDED) -> None:
        n = len(keys)
        ended = AttemptsEnded(
            node=NodeId("n"),
            keys=tuple(map(JobKey, keys)),
            attempts=(1,) * n,
            ends=(int(end),) * n,
            entered_us=(self.time_us,) * n,
            ended_us=(self.time_us,) * n,
            pids=(1,) * n,
            results=tuple(inline(b"result %d" % key) for key in keys),
        )
        report = Report(node=NodeId("n"), incarnation="first", number=self.journal.last_seq, ended=(ended,))
        self.engine.report(report, self.answers.append)
        self.tick()

    def life(self, days: int) -> None:
        """Each day a job, which ends at once."""
        for day in range(days):
            self.time_us = max(self.time_us, round((day + 2) * DAY_US))
            self.end(self.submit(f"day{day + 2}"))


def cutoffs_at(day: float, **by_state: float) -> dict[JobState, int]:
    return {state: round(by_state.get(state.name.lower(), day) * DAY_US) for state in JobState if state.final}


def compact(state_dir: Path, day: float, **more: Any) -> compaction.Compacted | None:
    return compaction.compact_file(state_dir, cutoffs_at(day, **more), grace_s=0, now_s=0)[0]


@pytest.fixture
def month(tmp_path: Path) -> Path:
    """Thirty days: a job each day, and some whose fate depends on others."""
    cluster = Cluster(tmp_path)
    cluster.submit("waits", spec=HUGE)
    cluster.end(cluster.submit("input"))
    first = cluster.submit("half", count=2)
    cluster.end(first)
    cluster.end(cluster.submit("broken"), end=AttemptEnd.FAILED)
    cluster.life(30)
    cluster.submit("user", spec=HUGE, after=(("input", 0),), inputs=("input",))
    cluster.journal.close()
    return tmp_path


def names(state_dir: Path) -> set[str]:
    reader = JournalReader(state_dir)
    found = {view.id.partition(".")[0] for view in reader.jobs(limit=1_000)}
    reader.close()
    return found


def test_what_is_over_goes_and_what_lives_or_is_needed_stays(month: Path) -> None:
    found = compact(month, 20)
    assert found is not None
    assert found.jobs == 19, "18 days, and the one that failed"
    assert names(month) == {"waits", "input", "half", "user", *(f"day{day}" for day in range(20, 32))}
    assert verify(month).good, verify(month)
    journal = Journal.open(month)
    assert journal.request("r-day5") is None
    assert journal.request("r-day25") is not None, "a submission that is sent again finds the same job"
    assert journal.request("r-input") is not None
    journal.close()


def test_states_have_times_of_their_own(month: Path) -> None:
    compact(month, 20, failed=0)
    assert "broken" in names(month)
    assert verify(month).good


def test_the_scheduler_goes_on_from_what_stands_for_the_frames(month: Path) -> None:
    journal = Journal.open(month)
    folded = fold(journal)
    keys = sorted(folded.jobs)
    journal.close()
    compact(month, 20)
    assert not list((month / "snapshots").glob("*.snap")), "nothing else could bring the state back"
    journal = Journal.open(month)
    snapshots = FileSnapshots(month / "snapshots")
    seq, plain = snapshots.load_newest(journal) or (0, None)
    assert seq == base.anchored(journal.connection).seq  # type: ignore[union-attr]
    assert comparable(fold(journal, seq, state_from_plain(plain))) == comparable(folded)
    journal.close()
    again = Cluster(month, day=41)
    assert sorted(again.engine.state.jobs) == keys
    first = min(keys)
    assert again.journal.args([JobKey(first)])[JobKey(first)] == inline(b"waits 0")
    again.engine.post(CancelRequested(request_id="c", keys=(JobKey(first),)))
    again.tick()
    assert first not in again.engine.state.jobs, "a job from before goes on to its end"
    again.end(again.submit("after"))
    again.journal.close()
    assert verify(month).good


def test_compactions_follow_one_another(month: Path) -> None:
    compact(month, 10)
    first = parse_anchor(str(_anchor(month)))
    compact(month, 20)
    compact(month, 29)
    assert names(month) == {"waits", "input", "half", "user", "day29", "day30", "day31"}
    assert verify(month, _anchor(month)).good
    assert "retention removed" in verify(month, type(first)(first.hash, 20)).damage
    assert len(list((month / "base").iterdir())) == 2


def _anchor(state_dir: Path) -> Any:
    journal = Journal.open(state_dir)
    found = newest_anchor(journal.connection)
    journal.close()
    return found


def test_a_dry_run_changes_nothing(month: Path) -> None:
    before = names(month)
    found = compaction.prepare(month, cutoffs_at(20), dry=True)
    assert found is not None
    assert found.found.jobs == 19
    assert found.found.frames > 30
    assert names(month) == before
    assert not (month / "base").exists()


def test_nothing_is_done_where_nothing_is_old(month: Path) -> None:
    assert compact(month, 0.5) is None


def test_a_large_journal_loses_the_oldest_first(month: Path) -> None:
    never = dict.fromkeys(compaction.FINALS, compaction.NEVER)
    assert compaction.prepare(month, never, dry=True) is None
    found = compaction.prepare(month, never, bytes_max=4_000, dry=True)
    assert found is not None
    assert 0 < found.found.jobs < 31


@pytest.mark.parametrize("what", ["rows", "snap", "frame", "meta", "kept"])
def test_a_beginning_that_was_tampered_with_is_found(month: Path, what: str) -> None:
    compact(month, 20)
    if what in ("rows", "snap"):
        (path,) = (month / "base").glob(f"*.{what}")
        path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    else:
        journal = Journal.open(month)
        found = base.anchored(journal.connection)
        assert found is not None
        if what == "frame":
            journal.connection.execute("DELETE FROM frames WHERE first_seq = ?", (found.seq + 1,))
        elif what == "kept":
            journal.connection.execute("DELETE FROM frames WHERE last_seq <= ?", (found.seq,))
        else:
            changed = type(found)(**{name: getattr(found, name) for name in found.__slots__} | {"cutoff_us": 5})
            base.note(journal.connection, changed)
        journal.close()
    assert not verify(month).good


def test_rows_are_made_anew_from_what_stands_for_the_frames(month: Path) -> None:
    compact(month, 20)
    journal = Journal.open(month)
    journal.connection.execute("UPDATE jobs SET state = 11")
    rebuild_rows(journal)
    journal.close()
    assert verify(month).good


def test_history_events_and_export_tell_what_is_left(month: Path) -> None:
    compact(month, 20)
    reader = JournalReader(month)
    assert len(list(export.decisions(reader))) > 12
    assert any(event.kind == "JournalCompacted" for event in reader.events(0, 10_000))
    with pytest.raises(JournalDamaged, match="retention removed those up to"):
        list(reader.frames(0))
    reader.close()


def test_a_backup_has_it_all(month: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    compact(month, 20)
    target = tmp_path_factory.mktemp("backup") / "copy"
    copy_state(month, target)
    assert verify(target).good


def test_what_was_submitted_meanwhile_keeps_what_it_refers_to(month: Path) -> None:
    prepared = compaction.prepare(month, cutoffs_at(20))
    assert prepared is not None
    cluster = Cluster(month, day=40)
    cluster.submit("late", after=(("day5", 0),), spec=HUGE)
    with pytest.raises(Refused, match="try again"):
        compaction.begin(cluster.journal, prepared)
    assert cluster.journal.resolve("default", "day5") is not None
    cluster.journal.close()


def test_what_is_about_to_go_is_not_found_any_more(month: Path) -> None:
    prepared = compaction.prepare(month, cutoffs_at(20))
    assert prepared is not None
    journal = Journal.open(month)
    compaction.begin(journal, prepared)
    assert journal.resolve("default", "day5") is None
    assert journal.resolve("default", "day25") is not None
    journal.close()


def test_names_ids_requests_and_keys_of_what_is_being_removed_are_free(tmp_path: Path) -> None:
    """Nobody is told of a job that is going, and whoever is new may be called as it was."""
    cluster = Cluster(tmp_path)
    old = {"name": "nightly", "idempotency_key": "k", "payload": "p"}
    cluster.end(cluster.put(_keyed("old", **old), "r"))
    cluster.life(30)
    prepared = compaction.prepare(tmp_path, cutoffs_at(20))
    assert prepared is not None
    compaction.begin(cluster.journal, prepared)
    refused = cluster.put(_keyed("new", name="nightly"), "r2")
    assert "the name 'nightly' is taken" in str(refused), "as long as no frame says that it goes, it is there"
    assert cluster.put(_keyed("new", **old), "r3", known=True) == 1
    cluster.engine.post(prepared.event)
    cluster.time_us = round(40 * DAY_US)
    cluster.tick()
    new = cluster.put(_keyed("old", **old | {"payload": "other"}), "r")
    assert new == 32
    assert cluster.journal.keyed("default", "k") == (new, "other", "old")
    for _ in cluster.journal.removal():
        continue
    cluster.end(new)
    reader = JournalReader(tmp_path)
    assert [view.idempotency_key for view in reader.jobs(limit=2)] == ["k", ""], "`kos get` shows it"
    assert "idempotency key 'k'" in str(story(reader, reader.job("default", "nightly"))), "and `kos history`"
    reader.close()
    assert cluster.journal.resolve("default", "nightly") == (new, -1)
    cluster.journal.close()
    assert verify(tmp_path).good, verify(tmp_path)


def _keyed(id_: str, **fields: Any) -> Array:
    return Array(id=id_, count=-1, spec=spec_hash(SPEC), args=(inline(b"x"),), **fields)


def test_blobs_that_nothing_refers_to_go(month: Path) -> None:
    from kos_ray.journal.blobs import FileBlobStore
    from kos_ray.model.payload import referring

    store = FileBlobStore(month / "blobs", 1 << 20)
    kept, lost = store.put([b"kept"]), store.put([b"lost"])
    cluster = Cluster(month, day=40)
    array = Array(id="blob", count=-1, spec=spec_hash(HUGE), args=(referring(kept),))
    cluster.engine.submit(Submit(request_id="b", arrays=(array,), specs=((spec_hash(HUGE), HUGE),)), lambda _: None)
    cluster.tick()
    cluster.journal.close()
    assert compaction.sweep_blobs(month, 0) == 0, "they are younger"
    assert compaction.sweep_blobs(month, 1e12) == 1
    assert (store.has(kept.hash), store.has(lost.hash)) == (True, False)


def test_a_removed_job_is_said_to_be_removed(month: Path) -> None:
    compact(month, 20)
    reader = JournalReader(month)
    with pytest.raises(NotFound, match=r"retention removed jobs that ended before 1970-01-21"):
        reader.job("default", "day5")
    reader.close()


def test_what_is_left_is_decided_again_as_it_was(month: Path) -> None:
    for day in (10, 20):
        compact(month, day)
        cluster = Cluster(month, day=day + 30)
        cluster.end(cluster.submit(f"after{day}"))
        cluster.journal.close()
        state, seq = read_beginning(month)
        found = rehearse_frames(read_after(month, seq), state)
        assert found.frames > 10
        assert found.difference is None


def test_what_is_left_can_be_simulated(tmp_path: Path) -> None:
    """Its nodes joined, its settings were made, and its specs came in frames that are gone."""
    cluster = Cluster(tmp_path)
    cluster.life(30)
    policy = cluster.engine.state.policy
    cluster.journal.close()
    compact(tmp_path, 20)
    for path in (tmp_path, tmp_path / "journal.db"):
        assert [node.id for node in read_nodes(path)] == ["n"]
        assert read_last_policy(path) == policy
        assert [job.name for job in read_jobs(path).jobs] == [f"day{day}" for day in range(20, 32)]


def test_a_backup_of_what_is_left_is_gone_on_from_and_compacted_again(
    month: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    compact(month, 10)
    target = tmp_path_factory.mktemp("restored") / "copy"
    copy_state(month, target)
    cluster = Cluster(target, day=40)
    cluster.end(cluster.submit("after"))
    cluster.journal.close()
    compact(target, 20)
    assert names(target) == {"waits", "input", "half", "user", "after", *(f"day{day}" for day in range(20, 32))}
    assert verify(target, _anchor(target)).good


def test_settings_say_what_goes() -> None:
    day = DAY_US
    policy = changed(Policy(), change_of("retention", {"succeeded": "7d", "failed": 0}))
    found = cutoffs(policy, 10 * day)
    assert found[JobState.SUCCEEDED] == 3 * day
    assert found[JobState.FAILED] == found[JobState.LOST] == compaction.NEVER
    every = cutoffs(changed(Policy(), change_of("retention", "1d")), 10 * day)
    assert set(every.values()) == {9 * day}
    assert set(cutoffs(Policy(), day).values()) == {compaction.NEVER}, "nothing goes where nothing is said"
    with pytest.raises(InvalidSpec, match="expected one of succeeded"):
        change_of("retention", {"done": "7d"})


def test_a_removal_that_was_broken_off_goes_on(month: Path) -> None:
    prepared = compaction.prepare(month, cutoffs_at(20))
    assert prepared is not None
    journal = Journal.open(month)
    compaction.begin(journal, prepared)
    journal.append(now_us=journal.last_now_us, epoch=journal.last_epoch, events=[prepared.event], decisions=[])
    assert verify(journal).good, "what is on its way out is not compared"
    portions = journal.removal()
    next(portions)
    assert verify(journal).good
    portions.close()
    journal.close()
    again = Journal.open(month)
    assert again.resolve("default", "day5") is None
    assert list(again.removal())
    assert list(again.removal()) == []
    assert verify(again).good
    assert again.leaving is None
    again.close()


def test_the_scheduler_does_it_between_its_ticks(month: Path) -> None:
    cluster = Cluster(month, day=40)
    reader = ReaderActor(str(month))

    class Remote:
        """An actor's method, called here."""

        def __init__(self, method: Any) -> None:
            self._method = method

        async def remote(self, *args: Any) -> Any:
            return self._method(*args)

    class Reader:
        compaction = Remote(reader.compaction)

    async def ask(put: Any) -> Any:
        answers: list[Any] = []
        put(answers.append)
        cluster.tick()
        return answers[0]

    keeper = Retention(cluster.engine, cluster.journal, month, ask, Reader)
    found = asyncio.run(keeper.compact(cutoffs_at(20)))
    assert found is not None
    assert found["jobs"] == 19
    assert asyncio.run(keeper.compact(cutoffs_at(20))) is None
    cluster.end(cluster.submit("after"))
    cluster.journal.close()
    assert verify(month).good
    assert "day5" not in names(month)


def test_uploads_that_nobody_goes_on_with_are_removed(tmp_path: Path) -> None:
    Journal.open(tmp_path).close()
    reader = ReaderActor(str(tmp_path))
    for upload, days in (("0" * 32, 3), ("1" * 32, 0)):
        reader.blob_write(upload, b"part")
        os.utime(tmp_path / "uploads" / upload, (time.time() - days * 86_400,) * 2)
    assert reader.sweep() == 1
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == ["1" * 32]


def test_a_schedule_keeps_what_its_jobs_will_need_though_its_frame_is_gone(month: Path) -> None:
    from kos_ray.engine.inbox import ScheduleWish
    from kos_ray.journal.blobs import FileBlobStore
    from kos_ray.model.schedule import Schedule

    store = FileBlobStore(month / "blobs", 1 << 20)
    code, lost = store.put([b"code"]), store.put([b"lost"])
    cluster = Cluster(month, day=40)
    schedule = Schedule(name="s", rules=("2100-01-01T00:00",), spec=replace(SPEC, code=code.hash))
    cluster.engine.wish(ScheduleWish("w", "set", key=schedule.key, schedule=schedule), cluster.answers.append)
    cluster.tick()
    cluster.time_us = round(50 * DAY_US)
    cluster.end(cluster.submit("later"))
    cluster.journal.close()
    assert compact(month, 60) is not None
    reader = JournalReader(month)
    assert not [event for event in reader.events(0, 10_000) if event.kind == "ScheduleSet"], "its frame is gone"
    reader.close()
    compaction.sweep_blobs(month, 1e12)
    assert (store.has(code.hash), store.has(lost.hash)) == (True, False)
    again = Cluster(month, day=70)
    assert again.engine.state.schedules.by_key[schedule.key].schedule == schedule
    again.journal.close()


def test_what_a_schedule_hands_on_stays(tmp_path: Path) -> None:
    """Its last result is the next job's to have, however long ago that was."""
    cluster = Cluster(tmp_path)
    schedule = Schedule(name="yearly", rules=("every day at noon",), spec=SPEC, fires_max=1)
    cluster.engine.wish(ScheduleWish("w", "set", key=schedule.key, schedule=schedule), cluster.answers.append)
    cluster.tick()
    cluster.time_us = round(1.5 * DAY_US)
    cluster.tick()
    (key,) = cluster.engine.state.schedules.of_job
    cluster.end(key)
    cluster.life(30)
    cluster.journal.close()
    compact(tmp_path, 20)
    again = Cluster(tmp_path, day=41)
    assert again.engine.state.schedules.wanted() == {key}
    assert again.journal.results([key]) == {key: inline(b"result %d" % key)}
    assert verify(again.journal).good
    again.journal.close()
