"""The parts of the node agent that bound its memory, and that its seven rules do not show."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from kos_ray.model.errors import NotFound
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd, SlotKind, Spec
from kos_ray.model.protocol import Acked, Report
from kos_ray.model.resources import Resources
from kos_ray.runtime.agent.attempt import Attempt, Ledger, Stage, blob_hashes
from kos_ray.runtime.agent.files import BlobCache, NodeFiles, SpecEntry
from kos_ray.runtime.agent.pool import Pool
from kos_ray.runtime.agent.ports import AgentLimits
from kos_ray.runtime.agent.reports import Reports
from kos_ray.runtime.agent.slot_end import SlotEnd
from tests.contract.harness import INCARNATION, NODE
from tests.contract.processes import FolderBlobs

ENTRY = SpecEntry("1", b"", Spec())
KIND = SlotKind(resources=Resources())


def attempt(key: int, number: int = 1, rank: int = 0) -> Attempt:
    return Attempt(JobKey(key), number, rank, "", ENTRY, b"", (), Pool(KIND))


# ---- ledger and queue


def test_the_ledger_forgets_the_oldest_acknowledged_attempts():
    ledger = Ledger(remembered_max=2)
    for key in (1, 2, 3):
        ledger.take_in(attempt(key))
        ledger.let_go(ledger.held[JobKey(key), 1])
    ledger.take_in(attempt(1, 2))
    ledger.acked((JobKey(1), JobKey(2), JobKey(3)), (1, 1, 1))
    assert not ledger.is_new(JobKey(1), 2), "a higher attempt of it is held"
    assert not ledger.is_new(JobKey(3), 1)
    ledger.acked((JobKey(1), JobKey(9)), (2, 1))
    assert ledger.is_new(JobKey(2), 1)


def test_the_queue_drops_what_was_recalled():
    pool = Pool(KIND)
    attempts = [attempt(key, rank=-key) for key in range(2000)]
    for item in attempts:
        pool.push(item)
    for item in attempts[:1990]:
        item.stage = Stage.ENDED
        pool.dropped()
    assert pool.waiting == 10
    assert [item.key for item in pool.waiting_attempts()] == list(range(1999, 1989, -1))
    assert len(pool._heap) < 1500


@pytest.mark.parametrize(
    ("runs_ms", "timeout_ms", "asked", "long_ms"),
    [
        ([], 0, None, 50),
        ([1], 0, None, 50),
        ([100], 0, None, 200),
        ([100, 180], 0, None, 220),
        ([200], 0, None, 400),
        ([201], 0, None, 50),
        ([100], 120, None, 120),
        ([100], 10, None, 50),
        ([100], 10_000, None, 200),
        ([100], 0, AttemptEnd.STOPPED, 50),
    ],
    ids=["first", "short", "usual", "mean", "latest", "long", "timeout", "soon", "late", "asked"],
)
def test_long_is_what_takes_twice_as_long_as_usual(tmp_path, runs_ms, timeout_ms, asked, long_ms):
    async def look() -> float:
        slot = SlotEnd("s", kind=KIND, files=NodeFiles(tmp_path), limits=AgentLimits(), now=0)
        for run_ms in runs_ms:
            slot.ran(run_ms * 1_000)
        head = Attempt(JobKey(1), 1, 0, "", SpecEntry("1", b"", Spec(timeout_ms=timeout_ms)), b"", (), Pool(KIND))
        head.asked = asked
        slot.handed.append(head)
        return slot.long_after_ms()

    assert asyncio.run(look()) == long_ms


def test_blobs_are_found_in_arguments_and_inputs():
    one, two = (b"\x01" + bytes([i]) * 32 + bytes(8) for i in (1, 2))
    assert blob_hashes(b"\x00\x01", (b"", (one, b"\x00"), two)) == ("01" * 32, "02" * 32)


# ---- reports


class Scheduler:
    """An uplink that keeps what it gets; `hanging` never answers."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.hanging = False

    async def send(self, report: Report) -> Acked:
        self.reports.append(report)
        if self.hanging:
            await asyncio.Event().wait()
        return Acked(incarnation=INCARNATION, number=report.number, epoch=0)


def reports(scheduler: Scheduler, **limits: int) -> Reports:
    return Reports(
        node=NODE,
        incarnation=INCARNATION,
        uplink=scheduler,
        limits=AgentLimits(**limits),
        acked=lambda *_: None,
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for knows nothing of tests
            await asyncio.sleep(0.001)


def test_reports_are_cut_by_number_and_by_size():
    async def story() -> None:
        scheduler = Scheduler()
        under_test = reports(scheduler, report_outcomes_max=3, report_bytes_max=100)
        for key in range(7):
            under_test.add_end(JobKey(key), 1, 0, 1, 2, 3, b"", None, None)
        under_test.add_end(JobKey(7), 1, 1, 1, 2, 3, b"", ("E", "m" * 100, ""), ("log", 0, 5))
        under_test.add_end(JobKey(8), 1, 0, 1, 2, 3, b"", None, None)
        sealed = under_test.unacknowledged()
        assert [[len(e.keys) for e in report.ended] for report in sealed] == [[3], [3], [2], [1]]
        assert [report.number for report in sealed] == [1, 2, 3, 4]
        assert sealed[2].ended[0].errors[0].index == 1
        assert sealed[2].ended[0].logs == ((1, "log", 0, 5),)
        under_test.start()
        await until(lambda: len(scheduler.reports) == 4)
        assert scheduler.reports == list(sealed)
        await under_test.close()

    asyncio.run(story())


def test_a_greeting_ends_the_wait_for_a_scheduler_that_hangs():
    async def story() -> None:
        scheduler = Scheduler()
        scheduler.hanging = True
        under_test = reports(scheduler, send_ms=1_000_000, resend_ms=1_000_000)
        under_test.start()
        under_test.add_entered(JobKey(1), 1, 5, 77)
        await until(lambda: scheduler.reports != [])
        scheduler.hanging = False
        (report,) = under_test.unacknowledged()
        await until(lambda: not under_test.unacknowledged())
        assert scheduler.reports[:2] == [report, report]
        await under_test.close()

    asyncio.run(story())


def test_acknowledgements_of_other_lives_and_lower_epochs_do_not_count():
    async def story() -> None:
        under_test = reports(Scheduler())
        under_test.epoch = 2
        under_test.add_entered(JobKey(1), 1, 5, 77)
        under_test.unacknowledged()
        under_test.take(Acked(incarnation="another", number=1, epoch=2))
        under_test.take(Acked(incarnation=INCARNATION, number=1, epoch=1))
        assert len(under_test.unacknowledged()) == 1
        under_test.take(Acked(incarnation=INCARNATION, number=1, epoch=2))
        assert under_test.unacknowledged() == ()

    asyncio.run(story())


# ---- files


def test_the_blob_cache_keeps_what_is_used_and_drops_the_oldest(tmp_path: Path):
    async def story() -> None:
        NodeFiles(tmp_path / "node").open()
        blobs = FolderBlobs(tmp_path / "store")
        names = [f"{i:064x}" for i in range(4)]
        for name in names:
            (tmp_path / "store" / name).write_bytes(b"x" * 100)
        cache = BlobCache(tmp_path / "node", blobs, bytes_max=250)
        cache.open()
        cache.use((names[0],))
        for name in names:
            await asyncio.gather(cache.bring((name,)), cache.bring((name, name)))
        there = {path.name for path in (tmp_path / "node" / "blobs").iterdir()}
        assert there == {names[0], names[3]}
        assert len(blobs.calls) == 4
        cache.unuse((names[0],))
        await cache.bring((names[1],))
        assert names[0] not in {path.name for path in (tmp_path / "node" / "blobs").iterdir()}
        again = BlobCache(tmp_path / "node", blobs, bytes_max=100)
        again.open()
        assert len(list((tmp_path / "node" / "blobs").iterdir())) == 1

    asyncio.run(story())


def test_long_directories_get_a_short_socket_path(tmp_path: Path):
    files = NodeFiles(tmp_path / ("d" * 100))
    files.open()
    path = files.socket_path()
    assert len(str(path)) <= 100
    path.parent.rmdir()


@pytest.mark.parametrize("name", ["../secret", "", ".", "..", "a/b", "missing.log"])
def test_logs_are_read_from_the_log_folder_only(tmp_path: Path, name: str):
    files = NodeFiles(tmp_path)
    files.open()
    (tmp_path / "secret").write_text("x")
    with pytest.raises(NotFound):
        files.read_log(name, 0, 10)
