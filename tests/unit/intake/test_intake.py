"""Sources of events: nothing is lost when they die between telling and noting, and what comes twice has one id."""

import asyncio
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from redis import Redis

from kos_ray.intake.files import SETTLED_S, FileWatch
from kos_ray.intake.queue import SqliteQueue, drain
from kos_ray.intake.stream import RedisStream, drain_stream
from kos_ray.intake.webhook import Receiver
from kos_ray.model.errors import ClusterUnreachable, InvalidSpec, Refused
from kos_ray.observe.webhook import new_secret, sign
from tests.redis_server import redis_server

SECRET = new_secret()


class Told:
    """Takes events; dies, or refuses, when it is told to."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, Any]] = []
        self.dies: Exception | None = None

    def __call__(self, name: str, data: Any = None, *, key: str = "", id: str = "", source: str = "") -> bool:  # noqa: A002
        if self.dies:
            raise self.dies
        fresh = id not in [known for _, known, _ in self.events]
        self.events.append((name, id, data))
        return fresh

    @property
    def ids(self) -> set[str]:
        return {id_ for _, id_, _ in self.events}


def look(watch: FileWatch) -> None:
    watch.look(time.time() + 2 * SETTLED_S)


def test_files_appear_and_change_each_is_told_once(tmp_path: Path) -> None:
    folder, state, told = tmp_path / "in", tmp_path / "state.db", Told()
    (folder / "sub").mkdir(parents=True)
    (folder / "old.csv").write_text("there before")
    watch = FileWatch(told, folder, "*.csv", state)
    look(watch)
    assert not told.events
    (folder / "sub" / "a.csv").write_text("1")
    (folder / "a.txt").write_text("1")
    look(watch)
    look(watch)
    assert [(name, Path(data["path"]).name, data["size"]) for name, _, data in told.events] == [
        ("file.created", "a.csv", 1)
    ]
    watch.close()
    (folder / "sub" / "a.csv").write_text("22")
    (folder / "b.csv").write_text("3")
    again = FileWatch(told, folder, "*.csv", state)
    look(again)
    assert [name for name, _, _ in told.events[1:]] == ["file.created", "file.changed"]
    assert len(told.ids) == 3


def test_a_file_that_is_still_written_to_waits(tmp_path: Path) -> None:
    told = Told()
    watch = FileWatch(told, tmp_path, "*", tmp_path / "state.db", existing=True)
    (tmp_path / "a").write_text("1")
    assert watch.look(time.time())
    assert not told.events
    assert not watch.look(time.time() + 2 * SETTLED_S)
    assert len(told.events) == 1


def test_killed_between_telling_and_noting_a_file_is_told_again_under_one_id(tmp_path: Path) -> None:
    told, state = Told(), tmp_path / "state.db"
    watch = FileWatch(told, tmp_path, "*.csv", state)
    (tmp_path / "a.csv").write_text("1")
    told.dies = ClusterUnreachable("away")
    with pytest.raises(ClusterUnreachable):
        look(watch)
    told.dies = None
    watch._note = lambda *_: os.abort  # type: ignore[method-assign]
    look(watch)
    watch.close()
    look(FileWatch(told, tmp_path, "*.csv", state))
    assert (len(told.events), len(told.ids)) == (2, 1)


def test_a_message_stays_until_it_was_told(tmp_path: Path) -> None:
    told = Told()
    with SqliteQueue(tmp_path / "q.db") as queue:
        queue.put({"n": 1}, id="one")
        queue.put({"n": 1}, id="one")
        queue.put({"n": 2}, key="k")
        told.dies = ClusterUnreachable("away")
        with pytest.raises(ClusterUnreachable):
            drain(told, queue, "order.placed")
    told.dies = None
    with SqliteQueue(tmp_path / "q.db") as queue:
        assert drain(told, queue, "order.placed") == 2
        assert drain(told, queue, "order.placed") == 0
    assert [(name, data) for name, _, data in told.events] == [("order.placed", {"n": 1}), ("order.placed", {"n": 2})]
    assert told.events[0][1] == "queue:one"


async def post(port: int, path: str, body: bytes, **headers: str) -> tuple[int, str]:
    def send() -> tuple[int, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers=named, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)["said"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["said"]

    return await asyncio.to_thread(send)


def signed(body: bytes, id_: str = "m1", at: int | None = None, secret: str = SECRET) -> dict[str, str]:
    at = int(time.time()) if at is None else at
    mine = sign(secret, id_, at, body)
    return {"webhook_id": id_, "webhook_timestamp": str(at), "webhook_signature": f"v1,other {mine}"}


def test_webhooks() -> None:
    """What is signed is taken, once; everything else is refused, with its status."""
    told, body = Told(), b'{"total": 5}'
    refused = [
        (401, "expected the header webhook-id", body, {}),
        (401, "the signature is not one of ours", body, signed(b"other")),
        (401, "the signature is not one of ours", body, signed(body, secret=new_secret())),
        (401, "of the last 300 s", body, signed(body, at=int(time.time()) - 3_600)),
        (400, "expected JSON", b"{", signed(b"{")),
        (400, "expected JSON", b"[" * 30_000, signed(b"[" * 30_000)),
        (413, "at most", b"1" * 70_000, signed(b"1" * 70_000)),
    ]

    async def main() -> None:
        bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        server = asyncio.ensure_future(Receiver(told, SECRET, "shop").run("127.0.0.1", 0, bound.set_result))
        port = await bound
        for status, said, sent, headers in refused:
            found = await post(port, "/order.paid", sent, **headers)
            assert found[0] == status, found
            assert said in found[1]
        assert not told.events
        assert await post(port, "/order.paid", body, **signed(body)) == (200, "taken")
        assert await post(port, "/order.paid", body, **signed(body)) == (200, "heard before")
        told.dies = ClusterUnreachable("away")
        assert (await post(port, "/order.paid", body, **signed(body, "m2")))[0] == 503
        told.dies = Refused("expected an event's name")
        assert (await post(port, "/", body, **signed(body, "m2")))[0] == 400
        server.cancel()

    asyncio.run(main())
    assert told.events[0] == ("order.paid", "shop:m1", {"total": 5})


def test_a_file_whose_name_is_no_text_is_told_of_and_keeps_no_other_from_it(tmp_path: Path) -> None:
    told, folder = Told(), tmp_path / "in"
    folder.mkdir()
    (folder / "b.csv").write_text("1")
    with open(os.fsencode(folder) + b"/a\xff.csv", "w") as file:  # noqa: PTH123 - its name is bytes
        file.write("1")
    watch = FileWatch(told, folder, "*.csv", tmp_path / "state.db", existing=True)
    look(watch)
    look(watch)
    assert [data["name"] for _, _, data in told.events] == ["a\\xff.csv", "b.csv"]
    msgpack.packb(told.events)


@pytest.mark.parametrize("wrong", [{"data": "x" * 70_000}, {"key": "k" * 501}, {"id": "i" * 501}])
def test_what_can_be_no_event_does_not_get_into_a_queue(tmp_path: Path, wrong: dict[str, str]) -> None:
    told = Told()
    with SqliteQueue(tmp_path / "q.db") as queue:
        with pytest.raises(InvalidSpec, match="expected a message of at most"):
            queue.put(**{"data": 1, **wrong})
        queue.put(2)
        assert drain(told, queue, "n") == 1


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


def opened(url: str, name: str) -> RedisStream:
    stream = RedisStream(url, name)
    stream.begin()
    return stream


def test_entries_of_a_stream_are_told_once_through_a_death(redis_url: str) -> None:
    """One that dies before an entry is acknowledged is told again, under the same id, before the new ones."""
    redis, told = Redis.from_url(redis_url), Told()
    first = redis.xadd("orders", {"data": '{"total": 1}', "key": "k"})
    redis.xadd("orders", {"a": "1", "b": "2"})
    told.dies = ClusterUnreachable("away")
    with pytest.raises(ClusterUnreachable):
        list(drain_stream(told, opened(redis_url, "orders"), "order"))
    redis.xadd("orders", {"data": "no json"})
    told.dies = None
    again = opened(redis_url, "orders")
    for _ in range(2):
        assert list(drain_stream(told, again, "order")) == []
    assert [data for _, _, data in told.events] == [{"total": 1}, {"a": "1", "b": "2"}, {"data": "no json"}]
    assert told.events[0][1] == f"redis:orders:{first.decode()}"
    assert redis.xpending("orders", "kos_ray")["pending"] == 0


def test_an_entry_that_is_refused_stays_open_and_those_behind_it_are_told(redis_url: str) -> None:
    redis, told = Redis.from_url(redis_url), Told()
    redis.xadd("large", {"a": "1"})
    told.dies = Refused("too large")
    stream = opened(redis_url, "large")
    assert "stays open: too large" in "".join(drain_stream(told, stream, "x"))
    told.dies = None
    redis.xadd("large", {"a": "2"})
    assert list(drain_stream(told, stream, "x")) == []
    assert [data for _, _, data in told.events] == [{"a": "2"}]
    assert redis.xpending("large", "kos_ray")["pending"] == 1
    stream.again()
    list(drain_stream(told, stream, "x"))
    assert [data for _, _, data in told.events] == [{"a": "2"}, {"a": "1"}]


def test_what_is_no_stream_or_no_server_is_refused(redis_url: str) -> None:
    Redis.from_url(redis_url).set("word", "value")
    with pytest.raises(Refused, match="expected a stream, found 'word'"):
        opened(redis_url, "word")
    with pytest.raises(Refused, match="expected an address as redis://"):
        opened("nonsense", "word")
    with pytest.raises(Refused, match="no Redis answers"):
        opened("redis://127.0.0.1:1/0", "word")
