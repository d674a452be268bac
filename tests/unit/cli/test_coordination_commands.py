"""`kos lock`, `mailbox`, `signal`, `approve` on a cluster: the real client and engine, without Ray between them."""

# ruff: noqa: PT012 - where in a block something is raised is what these are about

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from fake_cluster import Kos

import kos_ray
from kos_ray.cli import approve, locks, mailboxes
from kos_ray.client.aio_coordinating import AsyncCoordinating
from kos_ray.client.coordinating import Coordinating
from kos_ray.engine.coordination import looked_at, status
from kos_ray.engine.inbox import CoordinationWish
from kos_ray.model.approval import Approval
from kos_ray.model.errors import Refused
from kos_ray.model.job import Spec
from tests.unit.engine.engine_build import Hands, array


class Near:
    """A connection to an engine in this process, in which time goes on with each question."""

    address = "here"

    def __init__(self) -> None:
        self.hands = Hands()
        self.changed = threading.Condition()

    def ask_reader(self, method: str, *args: Any) -> Any:
        if method == "resolve":
            return [(int(ref), -1) for ref in args[1]]
        assert method == "views"
        return [SimpleNamespace(key=key, id=f"id-{key}", name="") for key in args[0]]

    def ask_scheduler(self, method: str, data: Any) -> Any:
        with self.changed:
            found = self.answer(method, data)
            if isinstance(found, bytes) and (b"waiting" in found or method == "renew_leases"):
                self.changed.wait(0.5)
            else:
                self.changed.notify_all()
            return found

    def answer(self, method: str, data: Any) -> Any:
        hands = self.hands
        if method == "renew_leases":
            return hands.engine.renewed(data)
        plain = msgpack.unpackb(data, use_list=False)
        if method == "look":
            return msgpack.packb(looked_at(plain["what"], plain["fields"], hands.engine.state))
        wish = CoordinationWish(plain["verb"], plain["fields"], plain["by"])
        hands.engine.wish(wish, hands.answers.append)
        hands.tick()
        if isinstance(hands.answers[-1], Refused):
            raise hands.answers[-1]
        return msgpack.packb(status(wish, hands.engine.state) or hands.answers[-1])


class Client(Coordinating):
    """The part of a client that these commands use."""

    def _resolve(self, refs: Any) -> Any:
        return self._ask("resolve", self.namespace, list(refs))

    def _keys(self, refs: Any) -> Any:
        return [first for first, _ in self._resolve(refs)]

    def _views(self, keys: Any) -> Any:
        return self._ask("views", keys)

    @property
    def _client(self) -> Any:
        return self


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> Near:
    connection = Near()

    @contextmanager
    def open_client(_address: str | None, namespace: str) -> Iterator[Client]:
        yield Client(connection, namespace)  # type: ignore[arg-type]

    for module in (locks, mailboxes, approve):
        monkeypatch.setattr(module, "open_client", open_client)
    return connection


def test_a_lock_is_acquired_looked_at_and_released(kos: Kos, near: Near) -> None:
    assert kos("lock", "ls")[2] == "no locks are held\n"
    held = json.loads(kos("lock", "acquire", "db", "--json")[1])
    assert held["fence"] == 1
    code, _, err = kos("lock", "acquire", "db")
    assert (code, "db was held by" in err) == (1, True)
    (one,) = json.loads(kos("lock", "ls", "--json")[1])["locks"]
    assert (one["name"], one["mode"], one["holders"][0]["ticket"]) == ("db", "exclusive", held["ticket"])
    assert held["ticket"] in kos("lock", "get", "db")[1]
    assert "db" in kos("lock", "ls")[1]
    assert kos("lock", "release", held["ticket"])[0] == 0
    assert kos("lock", "release", held["ticket"])[0] == 1
    assert kos("lock", "get", "db")[0] == 1
    kos("lock", "acquire", "db", "--shared")
    assert kos("lock", "acquire", "db", "--shared")[0] == 0
    assert "was taken away from" in kos("lock", "break", "db", "--note", "it hangs")[2]
    assert kos("lock", "break", "db")[0] != 0


def test_messages_are_put_taken_and_peeked_at(kos: Kos, near: Near) -> None:
    assert kos("mailbox", "ls")[2] == "no mailboxes\n"
    assert kos("mailbox", "take", "orders")[0] == 1
    kos("mailbox", "put", "orders", '{"id": 7}', "--dedup", "order-7")
    assert "was put before" in kos("mailbox", "put", "orders", '{"id": 7}', "--dedup", "order-7")[2]
    kos("mailbox", "put", "orders", "just text")
    assert "order-7" in kos("mailbox", "peek", "orders")[1]
    found = json.loads(kos("mailbox", "take", "orders", "--json")[1])
    assert found == {"id": "order-7", "value": {"id": 7}, "deliveries": 1}
    assert kos("mailbox", "take", "orders")[1] == "just text\n"
    (one,) = json.loads(kos("mailbox", "ls", "--json")[1])["mailboxes"]
    assert (one["ready"], one["taken"], one["bytes"]) == (0, 0, 0)
    assert kos("mailbox", "peek", "orders", "--dead")[2] == "none\n"
    assert kos("mailbox", "revive", "orders")[0] == 0
    assert kos("signal", "go", '"now"', "--dedup", "s")[0] == 0
    assert "was sent before" in kos("signal", "go", "--dedup", "s")[2]
    assert "signal go" in kos("mailbox", "ls")[1]


def test_a_job_is_approved_and_another_rejected(kos: Kos, near: Near) -> None:
    spec = Spec(command=("true",), approval=Approval(ask="Deploy?"))
    near.hands.submit(array("a", count=2, spec=spec), spec=spec)
    assert "Deploy?" in kos("approvals")[1]
    assert kos("approve", "1", "--note", "good")[2] == "1 jobs are approved\n"
    assert kos("approve", "1")[0] != 0
    assert json.loads(kos("reject", "2", "--json")[1]) == {"rejected": 1}
    assert kos("approvals")[2] == "nothing waits for approval\n"


def test_what_a_client_holds_is_renewed_and_lost_when_it_is_taken_away(near: Near) -> None:
    client = Client(near, "default")  # type: ignore[arg-type]
    with pytest.raises(kos_ray.LeaseLost), client.lock("db", ttl="1s") as held:
        assert not held.lost
        client.break_lock("db")
        assert client._leases._beat({held.ticket: held._lease})
        assert held.lost
    with client.lock("db") as held, client.lock("db") as again:
        assert held.fence == again.fence
        assert 29 < held.left_s <= 30
    client._goodbye()
    assert client.locks() == []
    kept = client.lock("db").acquire()
    client._goodbye()
    assert client.locks() == []
    assert not client.release_lock(kept.ticket)


def test_a_message_that_raises_goes_back(near: Near) -> None:
    client = Client(near, "default")  # type: ignore[arg-type]
    box = client.mailbox("orders")
    box.put(7)
    with pytest.raises(ZeroDivisionError), box.take() as message:  # type: ignore[union-attr]
        message.value / 0
    with box.take() as message:  # type: ignore[union-attr]
        assert (message.value, message.deliveries) == (7, 2)
    assert box.take() is None
    client._goodbye()


class AsyncClient(AsyncCoordinating):
    """The same for an event loop, with hardly any threads."""

    def __init__(self, client: Client) -> None:
        self._found = client
        self._threads = ThreadPoolExecutor(1)

    @property
    def _sync(self) -> Client:
        return self._found

    async def _run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*args, **kwargs))


def test_tasks_stand_for_themselves_and_those_that_wait_hold_no_thread_that_others_need(near: Near) -> None:
    client = AsyncClient(Client(near, "default"))  # type: ignore[arg-type]
    inside = 0
    fences: list[int] = []

    async def work() -> None:
        nonlocal inside
        async with client.lock("db") as held:
            inside += 1
            assert inside == 1
            fences.append(held.fence)
            await asyncio.sleep(0)
            inside -= 1

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(8)))
        box = client.mailbox("orders")
        taking = asyncio.ensure_future(box.take(wait=None))
        await box.put(7)
        message = await taking
        assert message is not None
        await box.ack(message)
        async with client.barrier("epoch", parties=1) as barrier:
            assert await barrier.wait() == 1
        await client.signal("go", 8)
        assert await client.wait_signal("go") == 8

    asyncio.run(asyncio.wait_for(main(), 60))
    assert fences == sorted(set(fences))
    assert len(fences) == 8
