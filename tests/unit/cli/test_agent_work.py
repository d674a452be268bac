"""`kos agent top` and `kaictl --agent` on a cluster: the real client and engine, without Ray between them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from fake_cluster import Kos

from kos_ray.cli import agent_top, agents, kaictl
from kos_ray.client.agent_queue import Queueing
from kos_ray.engine.agent_queue import plain_queue
from kos_ray.engine.agents import plain_agents
from kos_ray.engine.inbox import AgentWish
from kos_ray.model.agents import Agent, AgentsSaid
from kos_ray.model.events import AttemptsEntered
from kos_ray.model.ids import JobKey
from kos_ray.model.job import Carries, Demands, Spec
from kos_ray.model.views import EventView, JobView, NodeStanding
from tests.unit.engine.engine_build import NODE, Hands, array

WRITER = Agent(
    name="writer",
    spec=Spec(entry="m:Writer", carries=Carries(name="writer"), demands=Demands(agent=True)),
    methods=("add",),
)
MESSAGE = Spec(entry="add", receiver="writer", type="writer.add")
MEBIBYTE = 1 << 20


class Here(Queueing):
    """A client of an engine in this process: one agent that runs, and messages to it."""

    def __init__(self) -> None:
        self.namespace = "default"
        self.hands = hands = Hands()
        hands.greet()
        hands.tick()
        hands.engine.wish(AgentWish("w", "start", WRITER.key, WRITER), hands.answers.append)
        hands.tick()
        (self.carrier,) = hands.engine.state.jobs.values()
        where: dict[str, Any] = {"node": NODE.id, "keys": (self.carrier.key,), "attempts": (1,)}
        hands.engine.post(AttemptsEntered(**where, entered_us=(1,)))
        hands.engine.post(AgentsSaid(**where, ready=(True,)))
        hands.tick()
        urgent = replace(MESSAGE, band=0)
        hands.submit(array("low", 3, spec=MESSAGE), request="one", spec=MESSAGE)
        hands.submit(array("urgent", spec=urgent), request="two", spec=urgent)
        hands.tick()

    @property
    def _client(self) -> Any:
        return self

    @property
    def _connection(self) -> Any:
        return self

    def _call(self, ask: Any) -> Any:
        return ask()

    def ask_scheduler(self, method: str, *data: bytes) -> bytes:
        state = self.hands.engine.state
        if method == "agents":
            return bytes(msgpack.packb(plain_agents(state)))
        assert method == "agent_queue"
        plain = msgpack.unpackb(data[0])
        return bytes(msgpack.packb(plain_queue(state, plain["key"], plain["most"])))

    def node_standings(self) -> list[NodeStanding]:
        use = (int(self.carrier.key), 1, 420, 30 * MEBIBYTE)
        return [NodeStanding(id=NODE.id, name=NODE.name, uses=(use,), measured_us=1)]

    def status(self) -> Any:
        return type("Status", (), {"seq": 0})()

    def events(self, since: int, _limit: int) -> list[EventView]:
        detail: dict[str, object] = {"keys": [1_000]}
        return [] if since else [EventView(seq=1, at_us=agent_top.now_us(), epoch=1, kind="Finish", detail=detail)]

    def _views(self, keys: list[JobKey]) -> list[JobView]:
        return [self._view(key) for key in keys]

    def _view(self, key: JobKey) -> JobView:
        job = self.hands.engine.state.jobs.get(key)
        band = job.entry.spec.band if job else 3
        state = job.state.name.lower() if job else "succeeded"
        spec = {"type": "writer.add", "receiver": "writer", "namespace": "default"}
        pid = 42 if key == self.carrier.key else 0
        return JobView(id=f"j{key}", key=key, band=band, state=state, pid=pid, **spec)

    def jobs(self, *, state: str, namespace: str, limit: int) -> list[JobView]:
        assert (state, namespace) == ("held", "default")
        others = JobView(id="other", key=JobKey(78), type="writer.add", namespace="default", state="held")
        newer = replace(others, id="newer", type="writer.v2.add", receiver="writer.v2")
        return [replace(others, id="j77", receiver="writer"), others, newer][:limit]

    def schedules(self) -> list[dict[str, Any]]:
        plain = {"namespace": "default", "rules": ["every 1h"], "timezone": "UTC", "next_us": 0, "runs": "add"}
        more = {**plain, "paused": False, "note": "", "live": []}
        return [{**more, "name": "hourly", "receiver": "writer"}, {**more, "name": "other", "receiver": ""}]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    client = Here()

    @contextmanager
    def open_client(_address: str | None, _namespace: str) -> Iterator[Here]:
        yield client

    for module in (agents, agent_top, kaictl):
        monkeypatch.setattr(module, "open_client", open_client)
    return client


def test_top_shows_each_with_its_messages_and_what_it_uses(kos: Kos, here: Here) -> None:
    code, out, _ = kos("agent", "top", "--once")
    assert code == 0
    head, row = out.splitlines()[:2]
    assert head.split()[:5] == ["name", "phase", "node", "CPU", "memory"]
    assert "42 %" in row
    assert "30.0 MiB" in row
    (one,) = json.loads(kos("agent", "top", "--json")[1])["agents"]
    assert (one["cpu"], one["memory"], one["done_per_minute"]) == (420, 30 * MEBIBYTE, 1)
    assert one["waiting"] + one["handling"] == 4
    assert json.loads(kos("agent", "top", "--json", "-n", "other")[1]) == {"agents": []}
    assert kos("agent", "top", "-n", "other")[2] == "no agents\n"


def test_get_shows_it_as_well(kos: Kos, here: Here) -> None:
    assert "42 % of a core, 30.0 MiB; measured" in kos("agent", "get", "writer")[1]
    assert "attempt 1, process 42" in kos("agent", "get", "writer")[1]
    found = json.loads(kos("agent", "get", "writer", "--json")[1])
    assert (found["memory"], found["pid"]) == (30 * MEBIBYTE, 42)


def test_the_tasks_of_an_agent_are_its_queue(kai: Kos, here: Here) -> None:
    code, out, said = kai("agent.task.list", "--agent", "writer")
    assert code == 0
    assert out.count("writer.add") == 4
    assert said.startswith("writer: ")
    found = json.loads(kai("agent.task.list", "--agent", "writer", "--json")[1])
    assert found["queue"]["messages"] == 4
    bands = [job["band"] for job in found["jobs"]][len(found["queue"]["handling"]) :]
    assert bands == sorted(bands)
    assert kai("agent.task.list", "--agent", "nobody")[0] == 4
    assert kai("agent.task.list", "--agent", "writer", "--state", "running")[0] == 2


def test_they_are_paused_and_resumed_together(kai: Kos, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: dict[str, list[str]] = {}
    for verb in ("pause", "resume"):
        monkeypatch.setattr(kaictl.act, verb, lambda ids, verb=verb, **_: touched.update({verb: ids}))
    waiting = here.agent_queue("writer")["waiting"]
    assert kai("agent.task.pause", "--agent", "writer")[0] == 0
    assert kai("agent.task.resume", "--agent", "writer")[0] == 0
    assert touched == {"pause": [f"j{key}" for key in waiting], "resume": ["j77"]}
    assert kai("agent.task.pause", "--id", "a", "--agent", "writer")[0] == 2
    here.jobs = lambda **_: []  # type: ignore[method-assign]
    code, _, said = kai("agent.task.resume", "--agent", "writer")
    assert (code, said) == (1, "kos: agent writer has no tasks that are paused\n")


def test_its_timers_and_its_state(kai: Kos, here: Here) -> None:
    out = kai("agent.timer.list", "--agent", "writer")[1]
    assert "hourly" in out
    assert "other" not in out
    assert [
        one["name"] for one in json.loads(kai("agent.timer.list", "--agent", "writer", "--json")[1])["schedules"]
    ] == ["hourly"]
    assert kai("agent.timer.list", "--agent", "nobody")[0] == 4
    assert "default/writer" in kai("agent.state", "--agent", "writer")[1]
    assert kai("agent.state")[0] == 2
