"""`kos agent` on a cluster: the real client and engine, without Ray between them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
from fake_cluster import Kos

from kos_ray.cli import agents
from kos_ray.client.agent_queue import Queueing
from kos_ray.client.agents import Tending
from kos_ray.engine.agents import agent_wish_of, plain_agents
from kos_ray.model.dispatch import To
from kos_ray.model.errors import InvalidSpec, Refused
from tests.unit.engine.engine_build import Hands

MODULE = """
import kos_ray as kos

@kos.agent(name="counter", roles=("counts",))
class Counter:
    def add(self, number=1):
        return number
"""


class Near:
    """A connection to an engine in this process; code goes nowhere."""

    address = "here"

    def __init__(self) -> None:
        self.hands = Hands()
        self.blobs: list[bytes] = []

    def ask_reader(self, method: str, data: bytes) -> str:
        assert method == "blob_put"
        self.blobs.append(data)
        return ""

    def ask_scheduler(self, method: str, *data: bytes) -> bytes:
        if method == "agents":
            return bytes(msgpack.packb(plain_agents(self.hands.engine.state)))
        assert method == "agent"
        self.hands.engine.wish(agent_wish_of(msgpack.unpackb(data[0], use_list=False)), self.hands.answers.append)
        self.hands.tick()
        if isinstance(self.hands.answers[-1], Refused):
            raise self.hands.answers[-1]
        return bytes(msgpack.packb(self.hands.answers[-1]))


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Near:
    connection = Near()

    @contextmanager
    def open_client(_address: str | None, namespace: str) -> Iterator[Queueing]:
        yield Queueing(connection, namespace)  # type: ignore[arg-type]

    monkeypatch.setattr(Queueing, "agent_uses", lambda _: {})

    monkeypatch.setattr(agents, "open_client", open_client)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counting_things.py").write_text(MODULE)
    return connection


def listed(kos: Kos) -> list[dict[str, Any]]:
    return list(json.loads(kos("agent", "ls", "--json")[1])["agents"])


def test_an_agent_from_its_beginning_to_its_end(kos: Kos, near: Near) -> None:
    register = ("agent", "register", "counting_things:Counter", "--no-start")
    assert kos(*register)[2] == "counter is registered\n"
    (one,) = listed(kos)
    assert (one["phase"], one["methods"], one["roles"]) == ("registered", ["add"], ["counts"])
    assert near.blobs, "its module goes along"
    assert kos("agent", "start", "counter")[2] == "counter starts\n"
    assert listed(kos)[0]["phase"] == "starting"
    assert "starting" in kos("agent", "ls")[1]
    assert "default/counter" in kos("agent", "get", "counter")[1]
    assert kos("agent", "suspend", "counter", "--note", "a while")[0] == 0
    (one,) = listed(kos)
    assert (one["phase"], one["wanted"], one["note"]) == ("suspended", "suspended", "a while")
    assert kos("agent", "resume", "counter")[0] == 0
    code, _, err = kos("agent", "rm", "counter")
    assert (code, "kos agent stop counter" in err) == (2, True)
    assert kos("agent", "stop", "counter")[0] == 0
    assert listed(kos)[0]["phase"] == "stopped"
    assert json.loads(kos("agent", "rm", "counter", "--json")[1]) == {"name": "counter", "cancelled": 0}
    assert kos("agent", "ls")[2] == "no agents\n"


def test_agents_of_a_document_and_programs(kos: Kos, near: Near, tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text(
        "- {agent_id: one, entry_point: 'counting_things:Counter'}\n"
        "- {agent_id: two, entry_point: /bin/cat, cpu: 0.1}\n"
    )
    assert kos("agent", "register", "some.yaml")[0] == 0
    assert kos("agent", "register", "/bin/sleep", "--name", "three")[0] == 0
    assert [(one["name"], one["methods"], one["exec_env"]) for one in listed(kos)] == [
        ("one", ["add"], "actor"),
        ("two", [], "actor"),
        ("three", [], "subprocess"),
    ]


def test_an_agent_itself_has_no_result_to_send(near: Near) -> None:
    class Counter:
        def add(self) -> None: ...

    with pytest.raises(InvalidSpec, match=r"at messages, options\(results_to=...\), found at agent counter"):
        Queueing(near, "default").register_agent(Counter, results_to={"mailbox": "a"})  # type: ignore[arg-type]


def test_what_is_wrong_is_said(kos: Kos, near: Near) -> None:
    assert kos("agent", "get", "nobody")[0] == 4
    assert kos("agent", "register", "/bin/sleep")[0] == 2
    assert "cannot be imported" in kos("agent", "register", "no_such_module:Thing")[2]
    assert "has no" in kos("agent", "register", "counting_things:Nothing")[2]
    kos("agent", "register", "counting_things:Counter", "--no-start")
    code, _, err = kos("agent", "call", "counter", "multiply", "2")
    assert (code, "it has add" in err) == (2, True)


def test_a_role_is_called_and_results_are_looked_at(kos: Kos, near: Near, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def message(_client: Any, whom: Any, method: str, args: Any, kwargs: Any, **_options: Any) -> Any:
        sent.append((whom, method, args, kwargs))
        return type("Sent", (), {"id": "j1", "result": lambda _self, _timeout: 3})()

    monkeypatch.setattr(Tending, "_message", message)
    assert kos("agent", "call", "--role", "writer", "--capability", "german", "work", "1", "k=2")[1] == "3\n"
    assert sent == [(To(role="writer", capabilities=("german",)), "work", (1,), {"k": 2})]
    assert json.loads(kos("agent", "call", "--role", "x", "--no-wait", "--json", "work")[1])["role"] == "x"
    assert kos("agent", "call", "--role", "writer")[0] == 2
    assert kos("agent", "call", "counter")[0] == 2
    assert kos("agent", "verify", "j1", "perhaps")[0] == 2


def test_words_are_json_where_they_are() -> None:
    assert agents._arguments(["1", "a text", '{"b": 2}', "k=3", "name=x"]) == (
        [1, "a text", {"b": 2}],
        {"k": 3, "name": "x"},
    )
