"""Events on a real cluster: one job for each, through kills of the scheduler and of each source."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import proof
import pytest
from redis import Redis

from kos_ray.intake.queue import SqliteQueue
from kos_ray.journal.verify import verify
from kos_ray.observe.webhook import new_secret, sign
from tests.ray.conftest import CODE, KosCluster, proofs, wait_until
from tests.ray.test_deaths import scheduler_pid
from tests.redis_server import redis_server

pytestmark = pytest.mark.ray

EVENTS = 24


def listening(kos: KosCluster, name: str, folder: Path, event: str) -> None:
    """A reaction whose jobs prove the ids of their events."""
    kos.client.on(proof.told, event, name=name, args=(str(folder),), options={"code": CODE, "resources": {"cpu": 0}})


def told(folder: Path) -> list[str]:
    return sorted(record["name"] for record in proofs(folder))


def test_each_event_has_one_job_through_a_kill(kos: KosCluster, tmp_path: Path) -> None:
    """Those that are told again while nobody answered among them; and the ends of jobs."""
    listening(kos, "ordered", tmp_path / "orders", "order.*")
    listening(kos, "ended", tmp_path / "ends", "job.succeeded")
    for folder in ("orders", "ends"):
        (tmp_path / folder).mkdir()
    for number in range(EVENTS):
        if number == EVENTS // 2:
            os.kill(scheduler_pid()[0], signal.SIGKILL)
        kos.client.emit("order.paid", {"n": number}, id=f"{number:03}")
        kos.client.emit("order.paid", {"n": number}, id=f"{number:03}")
    wait_until(lambda: len(told(tmp_path / "orders")) >= EVENTS)
    assert told(tmp_path / "orders") == [f"{number:03}" for number in range(EVENTS)]
    views = kos.client.jobs(prefix="ordered@", limit=100)
    kos.client.wait([view.id for view in views], 60)
    wait_until(lambda: len(told(tmp_path / "ends")) >= EVENTS)
    assert told(tmp_path / "ends") == sorted(f"job:{view.id}" for view in views)
    for name in ("ordered", "ended"):
        kos.client.remove_schedule(name)
    report = verify(kos.state_dir)
    assert not report.damage
    assert not report.differences


def test_conditions_through_a_kill(kos: KosCluster, tmp_path: Path) -> None:
    """Batches of four, which hold each event once; and one word about the silence behind them."""
    options = {"code": CODE, "resources": {"cpu": 0}}
    for name, given in (("fours", "batch 4 or 1h"), ("silence", "absent 3s")):
        (tmp_path / name).mkdir()
        args = (str(tmp_path / name),)
        kos.client.on(proof.told, "sensor.*", name=name, given=given, args=args, options=options)
    for number in range(EVENTS):
        if number == EVENTS // 2 + 1:
            os.kill(scheduler_pid()[0], signal.SIGKILL)
        kos.client.emit("sensor.read", {"n": number}, id=f"s{number:03}")
    wait_until(lambda: len(told(tmp_path / "fours")) >= EVENTS // 4)
    wait_until(lambda: f"s{EVENTS - 1:03}~absent" in told(tmp_path / "silence"))
    ids = [f"s{number:03}" for number in range(EVENTS)]
    assert told(tmp_path / "fours") == [" ".join(ids[first : first + 4]) for first in range(0, EVENTS, 4)]
    for name in ("fours", "silence"):
        kos.client.remove_schedule(name)


@contextmanager
def source(kos: KosCluster, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`kos event ...`, which listens when this is entered and is killed when it is left."""
    command = [sys.executable, "-c", "from kos_ray.cli.main import run; run()", "event", *words, "--json"]
    command += ["--address", kos.cluster.address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert b"listening" in process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()


def killed_in_the_middle(
    kos: KosCluster, words: tuple[str, ...], folder: Path, happen: Callable[[int], object]
) -> list[str]:
    """What was told of so many happenings, by a source that is killed after some and started again."""
    with source(kos, *words):
        for number in range(EVENTS // 2):
            happen(number)
        wait_until(lambda: len(told(folder)) >= EVENTS // 4)
    with source(kos, *words):
        for number in range(EVENTS // 2, EVENTS):
            happen(number)
        wait_until(lambda: len(told(folder)) >= EVENTS)
    return told(folder)


def test_a_queue_whose_reader_is_killed(kos: KosCluster, tmp_path: Path) -> None:
    listening(kos, "queued", tmp_path, "message")
    with SqliteQueue(tmp_path / "q.db") as queue:
        words = ("queue", str(tmp_path / "q.db"), "--name", "message")
        found = killed_in_the_middle(kos, words, tmp_path, lambda number: queue.put(number, id=f"{number:03}"))
    assert found == [f"queue:{number:03}" for number in range(EVENTS)]
    kos.client.remove_schedule("queued")


def test_a_stream_whose_reader_is_killed(kos: KosCluster, tmp_path: Path) -> None:
    listening(kos, "streamed", tmp_path, "placed")
    with redis_server(tmp_path) as url:
        redis = Redis.from_url(url)
        words = ("stream", url, "orders", "--name", "placed")
        found = killed_in_the_middle(kos, words, tmp_path, lambda n: redis.xadd("orders", {"n": n}, id=f"{n + 1}-0"))
        assert redis.xpending("orders", "kos_ray")["pending"] == 0
    assert found == sorted(f"redis:orders:{number + 1}-0" for number in range(EVENTS))
    kos.client.remove_schedule("streamed")


def test_a_source_of_somebody_elses_that_is_killed(kos: KosCluster, tmp_path: Path) -> None:
    """It reads its file again from the beginning: what comes twice has the same id."""
    listening(kos, "lined", tmp_path, "line")
    (tmp_path / "log").touch()

    def write(number: int) -> None:
        with (tmp_path / "log").open("a") as file:
            file.write(f"{number}\n")

    for count in (EVENTS // 2, EVENTS):
        while sum(1 for _ in (tmp_path / "log").open()) < count:
            write(sum(1 for _ in (tmp_path / "log").open()))
        with source(kos, "plugin", "lines", str(tmp_path / "log"), "line"):
            wait_until(lambda count=count: len(told(tmp_path)) >= count // 2)  # type: ignore[misc]
    with source(kos, "plugin", "lines", str(tmp_path / "log"), "line"):
        wait_until(lambda: len(told(tmp_path)) >= EVENTS)
    assert told(tmp_path) == sorted(f"{tmp_path / 'log'}:{number + 1}:{number}" for number in range(EVENTS))
    kos.client.remove_schedule("lined")


def test_files_whose_watcher_is_killed(kos: KosCluster, tmp_path: Path) -> None:
    listening(kos, "filed", tmp_path, "file.created")
    folder = tmp_path / "in"
    folder.mkdir()
    words = ("files", str(folder), "--state", str(tmp_path / "told.db"), "--pattern", "*.csv")
    found = killed_in_the_middle(kos, words, tmp_path, lambda n: (folder / f"{n:03}.csv").write_text("x"))
    assert [Path(id_.split(":")[1]).name for id_ in found] == [f"{number:03}.csv" for number in range(EVENTS)]
    kos.client.remove_schedule("filed")


def test_webhooks_whose_server_is_killed(kos: KosCluster, tmp_path: Path) -> None:
    """A sender that hears nothing sends again, as Standard Webhooks wants it."""
    listening(kos, "hooked", tmp_path, "shop.paid")
    secret = new_secret()
    (tmp_path / "secret").write_text(secret)
    words = ("serve", "--port", "0", "--secret-file", str(tmp_path / "secret"))

    def send(number: int, port: int) -> bool:
        body, at = json.dumps({"n": number}).encode(), int(time.time())
        headers = {"webhook-id": f"{number:03}", "webhook-timestamp": str(at)}
        headers["webhook-signature"] = sign(secret, f"{number:03}", at, body)
        request = urllib.request.Request(f"http://127.0.0.1:{port}/shop.paid", data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status == 200
        except OSError:
            return False

    left = list(range(EVENTS))
    for sent in (EVENTS // 2, EVENTS):
        command = [sys.executable, "-c", "from kos_ray.cli.main import run; run()", "event", *words, "--json"]
        process = subprocess.Popen([*command, "--address", kos.cluster.address], stdout=subprocess.PIPE)
        assert process.stdout is not None
        port = int(json.loads(process.stdout.readline())["listening"].rstrip("/").rpartition(":")[2])
        while left and left[0] < sent:
            assert send(left[0], port)
            assert send(left.pop(0), port), "sent again, it is the same event"
        process.kill()
        process.wait()
        if left:
            assert not send(left[0], port)
    wait_until(lambda: len(told(tmp_path)) >= EVENTS)
    assert told(tmp_path) == [f"webhook:{number:03}" for number in range(EVENTS)]
    kos.client.remove_schedule("hooked")
