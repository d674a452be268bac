"""`kos plan`, `kos submit --if-plan` and what `kos explain` suggests, over an engine, a journal and a reader."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kos_ray.model.errors import PlanChanged, Refused
from kos_ray.model.ids import NodeId
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.model.resources import Resources
from tests.properties.clockwork import SECOND_US, Clockwork

RUNNING = {"id": "x", "run": "x", "run_time": 10, "resources": {"cpu": 2}, "preemption": "never"}
WAITING = {"id": "j", "run": "x", "run_time": 5, "resources": {"cpu": 2}}


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Clockwork]:
    (tmp_path / "state").mkdir()
    made = Clockwork(tmp_path / "state", Policy())
    made.join(Node(NodeId("n"), "n", Resources.of({"CPU": 2}), labels=(("host", "n"),), incarnation="1"))
    yield made
    made.close()


@pytest.fixture
def files(tmp_path: Path, clock: Clockwork) -> dict[str, str]:
    """Two documents, of which the first has been submitted."""
    found: dict[str, str] = {}
    for job in (RUNNING, WAITING):
        path = tmp_path / f"{job['id']}.json"
        path.write_text(json.dumps(job))
        found[str(job["id"])] = str(path)
    clock.kos("submit", found["x"])
    return found


def test_a_plan_is_shown_and_nothing_is_done(clock: Clockwork, files: dict[str, str]) -> None:
    before = clock.journal.last_seq
    plan = clock.kos("plan", files["j"])
    (job,) = plan["jobs"]
    assert (job["job"], job["node"], job["sure"], job["reason"]) == ("j", "n", "exact", "no_room")
    assert job["start_us"] - plan["now_us"] == 10 * SECOND_US
    assert clock.journal.last_seq == before
    assert clock.kos("plan", files["j"])["hash"] == plan["hash"]


def test_a_plan_that_stands_is_carried_out(clock: Clockwork, files: dict[str, str]) -> None:
    plan = clock.kos("plan", files["j"])
    clock.advance(clock.time_us + 3 * SECOND_US)
    clock.kos("submit", files["j"], "--if-plan", plan["hash"])
    clock.advance(clock.time_us + 60 * SECOND_US)
    assert clock.started[2] == ("n", plan["jobs"][0]["start_us"])  # type: ignore[index]


def test_one_that_does_not_stand_says_what_differs_and_leaves_nothing(clock: Clockwork, files: dict[str, str]) -> None:
    plan = clock.kos("plan", files["j"])
    clock.kos("cancel", "x")
    clock.advance(clock.time_us + 5 * SECOND_US)
    before = clock.journal.last_seq
    error = clock.kos("submit", files["j"], "--if-plan", plan["hash"], code=1)
    assert isinstance(error, PlanChanged)
    assert f"plan {plan['hash']} does not stand any more" in str(error)
    assert "j: starts at once: no before, yes now" in str(error)
    assert clock.journal.last_seq == before
    assert not clock.engine.state.jobs
    clock.kos("submit", files["j"])


def test_it_is_planned_again_where_something_happens_in_between(
    clock: Clockwork, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = clock.kos("plan", files["j"])
    busy = [2]
    submit = clock.submit

    def interrupted(data: bytes) -> bytes:
        if busy[0]:
            busy[0] -= 1
            clock.reprioritise("x", 1 + busy[0])
        return submit(data)

    monkeypatch.setattr(clock, "submit", interrupted)
    clock.kos("submit", files["j"], "--if-plan", plan["hash"])
    assert [clock.engine.state.jobs.keys(), busy] == [{1, 2}, [0]]


def test_a_cluster_that_never_rests_is_told(
    clock: Clockwork, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = clock.kos("plan", files["j"])
    count = [0]
    submit = clock.submit

    def interrupted(data: bytes) -> bytes:
        count[0] += 1
        clock.reprioritise("x", 1 + count[0] % 2)
        return submit(data)

    monkeypatch.setattr(clock, "submit", interrupted)
    error = clock.kos("submit", files["j"], "--if-plan", plan["hash"], code=1)
    assert "20 times something happened in the cluster meanwhile" in str(error)
    assert clock.engine.state.jobs.keys() == {1}


def test_what_would_be_refused_is_refused(clock: Clockwork, files: dict[str, str]) -> None:
    error = clock.kos("plan", files["x"], code=2)
    assert isinstance(error, Refused)
    assert "the name 'x' is taken" in str(error)


def test_what_is_suggested_starts_the_job_when_it_is_done(clock: Clockwork, files: dict[str, str]) -> None:
    clock.kos("submit", files["j"])
    found = {one["kind"]: one for one in clock.kos("explain", "j")["suggestions"]}
    assert found["end"]["end_names"] == ["x"]
    clock.kos("cancel", "x")
    clock.advance(clock.time_us + 3 * SECOND_US)
    assert clock.started[2][0] == "n"  # type: ignore[index]
    assert clock.kos("explain", "j")["suggestions"] == []


def test_people_read_it_in_tables(clock: Clockwork, files: dict[str, str]) -> None:
    head, row, *_ = str(clock.says("plan", files["j"])).splitlines()
    assert head.split() == ["job", "node", "starts", "ends", "waits", "for"]
    assert row.startswith("j    n     in 10.0 s (1970-01-01")
    assert row.endswith("no room")
    head, row, *_ = str(clock.says("plan", files["j"], "--spread", "0.5")).splitlines()
    assert "in 5.0 s and in 15.0 s" in row
    clock.kos("submit", files["j"])
    lines = str(clock.says("explain", "j")).splitlines()
    assert "starts it now  end a running job: x" in lines
