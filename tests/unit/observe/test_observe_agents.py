"""Agents as `kos agent top` shows them."""

from typing import Any

from kos_ray.model.ids import JobKey
from kos_ray.model.views import EventView, JobView
from kos_ray.observe.agents import Pace, agent_table, with_use

NOW = 100_000_000


def agent(name: str, job: int, **said: Any) -> dict[str, Any]:
    plain = {"name": name, "namespace": "default", "phase": "running", "node": "n", "job": job, "attempt": 1}
    return {**plain, "messages": 5, "handling": 2, "crashes": 1, **said}


def record(kind: str, at_us: int, **detail: object) -> EventView:
    return EventView(seq=1, at_us=at_us, epoch=1, kind=kind, detail=detail)


def test_messages_count_for_who_handled_them_for_a_minute() -> None:
    views = {
        1: JobView(id="a", key=JobKey(1), type="ann.work", namespace="default", receiver="ann"),
        2: JobView(id="b", key=JobKey(2), type="writer.work", namespace="default"),
        3: JobView(id="c", key=JobKey(3), type="bob.work", namespace="other", receiver="bob"),
        4: JobView(id="d", key=JobKey(4), type="ann.plain", namespace="default"),
    }
    pace = Pace(lambda keys: [views[key] for key in keys if key in views])
    known = [agent("ann", 10), agent("bob", 11)]
    pace.read([record("Finish", NOW - 70_000_000, keys=[1, 99])], known)
    pace.read([record("Assign", NOW, key=2, agent="default\0bob"), record("Finish", NOW, keys=[1, 2, 3, 4])], known)
    assert pace.per_minute(NOW) == {"default\0ann": 1, "default\0bob": 1}
    assert pace.per_minute(NOW + 61_000_000) == {}


def test_each_has_a_row_with_what_its_process_uses() -> None:
    uses = {10: {"attempt": 1, "cpu": 234, "memory": 50 << 20, "measured_us": NOW - 3_000_000}}
    uses[11] = {**uses[10], "attempt": 7}
    found = with_use([agent("ann", 10), agent("bob", 11), agent("off", 0, phase="stopped")], uses, {"default\0ann": 9})
    assert [one["cpu"] for one in found] == [234, None, None], "what the process before used is nothing of this one"
    table = agent_table(found, NOW)
    assert table.columns[:2] == ("name", "phase")
    assert table.rows[0] == ("ann", "running", "n", "23 %", "50.0 MiB", "3", "2", "9", "3.0 s ago", "1")
    assert table.rows[1][3:5] == ("", "")
