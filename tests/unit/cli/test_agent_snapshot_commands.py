"""`kos agent snapshot|snapshots|rollback` on a cluster: the real client and engine, with a node of the test's hand."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_cluster import Kos
from test_agent_commands import MODULE, Near

from kos_ray.cli import agent_snapshots, agents
from kos_ray.client.agent_snapshots import Remembering
from kos_ray.model.agent_snapshots import AgentsUnsaved
from kos_ray.model.agents import AgentsSaid
from kos_ray.model.errors import KosError, Refused
from kos_ray.model.events import AttemptsEntered, CheckpointsStored
from kos_ray.model.payload import inline
from kos_ray.model.views import JobView
from tests.unit.engine.engine_build import NODE


class Node(Near):
    """A connection to an engine, and the node on which its agent runs and saves."""

    def __init__(self) -> None:
        super().__init__()
        self.saved = 0
        #: what comes of each request to save: a state, or what is wrong with it
        self.answers: list[bytes | str] = []

    def begin(self) -> None:
        self.hands.greet()
        self.hands.tick()
        node, keys, attempts = self._place()
        self.hands.engine.post(AttemptsEntered(node=node, keys=keys, attempts=attempts, entered_us=(1,)))
        self.hands.engine.post(AgentsSaid(node=node, keys=keys, attempts=attempts, ready=(True,)))
        self.hands.tick()

    def _place(self) -> tuple[Any, Any, Any]:
        (standing,) = self.hands.engine.state.agents.by_key.values()
        return NODE.id, (standing.job,), (self.hands.engine.state.jobs[standing.job].attempt,)

    def ask_scheduler(self, method: str, *data: bytes) -> bytes:
        answer = super().ask_scheduler(method, *data)
        asked = [orders for _, orders in self.hands.sent if orders.saves]
        self.hands.sent.clear()
        for _ in asked[: len(self.answers)]:
            self.save(self.answers.pop(0))
        return answer

    def save(self, state: bytes | str, why: str = "asked") -> None:
        node, keys, attempts = self._place()
        self.saved += 1
        if isinstance(state, str):
            self.hands.engine.post(AgentsUnsaved(node=node, keys=keys, attempts=attempts, texts=(state,)))
        else:
            said = {"numbers": (self.saved,), "payloads": (inline(state),), "at_us": (1_000_000,)}
            whys = ((0, why),)
            self.hands.engine.post(CheckpointsStored(node=node, keys=keys, attempts=attempts, whys=whys, **said))
        self.hands.tick()


class Caller(Remembering):
    """What the commands ask of a client; nothing is measured here."""

    def agent_uses(self) -> dict[int, dict[str, int]]:
        return {}

    def views_of(self, _keys: list[int]) -> list[JobView]:
        return []


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kos: Kos) -> Node:
    connection = Node()

    @contextmanager
    def open_client(_address: str | None, namespace: str) -> Iterator[Caller]:
        yield Caller(connection, namespace)  # type: ignore[arg-type]

    for module in (agents, agent_snapshots):
        monkeypatch.setattr(module, "open_client", open_client)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counting_things.py").write_text(MODULE)
    assert kos("agent", "register", "counting_things:Counter")[0] == 0
    connection.begin()
    return connection


def listed(kos: Kos) -> list[dict[str, Any]]:
    return list(json.loads(kos("agent", "snapshots", "counter", "--json")[1])["snapshots"])


def test_taken_shown_and_gone_back_to(kos: Kos, node: Node) -> None:
    assert "has no snapshots yet" in kos("agent", "snapshots", "counter")[2]
    node.answers = [b"one", b"two"]
    one = kos("agent", "snapshot", "counter")[1].strip()
    two = json.loads(kos("agent", "snapshot", "counter", "--json")[1])
    assert (two["parent"], two["why"], two["current"]) == (one, "asked", True)
    code, _, err = kos("agent", "rollback", "counter", one[:5], "--note", "nonsense")
    assert (code, err) == (0, f"counter goes on from {one}\n")
    assert [x["next"] for x in listed(kos)] == [True, False]
    text = kos("agent", "snapshots", "counter")[1]
    assert text == (
        f"{one}  1970-01-01 00:00:01 UTC  asked     3 B  <- next\n"
        f"{two['id']}  1970-01-01 00:00:01 UTC  asked     3 B  <- current\n"
    )
    assert json.loads(kos("agent", "get", "counter", "--json")[1])["snapshots"] == 2


def test_a_branch_stands_beside_the_line_that_it_left(kos: Kos, node: Node) -> None:
    found = [
        {"id": name, "parent": parent, "at_us": 0, "why": "step", "size": 1, "current": name == "d", "next": False}
        for name, parent in (("a", "gone"), ("b", "a"), ("c", "b"), ("d", "a"), ("e", "b"))
    ]
    lines = [line.partition("  1970")[0] for line in agent_snapshots._tree(found)]
    assert lines == ["a", "├─ b", "│  ├─ c", "│  e", "d"]


def test_snapshots_that_all_come_of_one_another_are_shown_each_once(kos: Kos, node: Node) -> None:
    found = [
        {"id": name, "parent": parent, "at_us": 0, "why": "step", "size": 1, "current": name == "a", "next": False}
        for name, parent in (("b", "a"), ("x", ""), ("d", "b"), ("y", "b"), ("a", "d"))
    ]
    lines = [line.partition("  1970")[0] for line in agent_snapshots._tree(found)]
    assert lines == ["x", "b", "├─ d", "│  a", "y"]


def test_the_same_states_again_and_few_kept_leave_nothing_out(kos: Kos, node: Node) -> None:
    (standing,) = node.hands.engine.state.agents.by_key.values()
    standing.agent = replace(standing.agent, snapshots_kept=3)
    for state in (b"a", b"b", b"c", b"b", b"d", b"a"):
        node.save(state)
    kept = [one["id"] for one in listed(kos)]
    assert len(kept) == 3
    assert all(one["parent"] for one in listed(kos)), "each comes of another one"
    lines = kos("agent", "snapshots", "counter")[1].splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(kept)


def test_what_cannot_be_is_said(kos: Kos, node: Node) -> None:
    node.answers = ["snapshot of agent counter raised ValueError: no"]
    code, _, err = kos("agent", "snapshot", "counter")
    assert (code, "could not save its state: snapshot of agent counter raised" in err) == (2, True)
    node.save(b"one")
    (one,) = listed(kos)
    code, _, err = kos("agent", "rollback", "counter", "zz")
    assert (code, f"it has {one['id']}" in err) == (2, True)
    assert kos("agent", "snapshot", "nobody")[0] == 4
    kos("agent", "suspend", "counter")
    code, _, err = kos("agent", "snapshot", "counter")
    assert (code, "expected one that is running" in err) == (2, True)


def test_one_that_does_not_come_is_waited_for_and_asked_for_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    from kos_ray.client import agent_snapshots as module

    monkeypatch.setattr(module, "_AGAIN_S", 0.0)
    monkeypatch.setattr(module, "_LOOK_S", 0.001)
    client: Any = Remembering(node, "default")  # type: ignore[arg-type]
    with pytest.raises(KosError, match=r"expected a snapshot within 0\.01 s, found none"):
        client.snapshot_agent("counter", 0.01)
    node.hands.sent.clear()
    wishes: list[str] = []
    plain_wish = client._agent_wish

    def wish(verb: str, name: str, **fields: Any) -> Any:
        wishes.append(verb)
        if wishes.count("snapshot") == 3:
            node.answers = [b"late"]
        return plain_wish(verb, name, **fields)

    monkeypatch.setattr(client, "_agent_wish", wish)
    assert client.snapshot_agent("counter")["size"] == 4
    with pytest.raises(Refused, match="has no snapshot 'zz'"):
        client.rollback_agent("counter", "zz")
