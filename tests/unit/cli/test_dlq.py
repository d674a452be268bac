"""`kos dlq` over an engine, a journal and a reader: poison ends there, and is run again from there."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kos_ray.model.events import AttemptError, AttemptsEnded
from kos_ray.model.ids import NodeId
from kos_ray.model.job import AttemptEnd
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.model.resources import Resources
from tests.properties.clockwork import SECOND_US, Clockwork

JOB: dict[str, Any] = {"run": "x", "run_time": 5, "resources": {"cpu": 1}}


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Clockwork]:
    (tmp_path / "state").mkdir()
    made = Clockwork(tmp_path / "state", Policy(poison_after=2))
    made.join(Node(NodeId("n"), "n", Resources.of({"CPU": 1}), labels=(("host", "n"),), incarnation="1"))
    yield made
    made.close()


def _submit(clock: Clockwork, **fields: Any) -> str:
    path = clock.folder.parent / "job.json"
    path.write_text(json.dumps({**JOB, **fields}))
    return str(clock.kos("submit", str(path))["jobs"][0]["id"])


def _ends(clock: Clockwork, end: AttemptEnd) -> None:
    """What runs on the node ends so."""
    (work,) = clock.agents[NodeId("n")].work.values()
    clock.agents[NodeId("n")].work.clear()
    clock.post(
        AttemptsEnded(
            node=NodeId("n"),
            keys=(work.key,),
            attempts=(work.number,),
            ends=(int(end),),
            entered_us=(clock.time_us,),
            ended_us=(clock.time_us,),
            pids=(1,),
            results=(b"",),
            errors=(AttemptError(index=0, type="Boom", message="gone"),),
        )
    )


def _poisoned(clock: Clockwork) -> str:
    """The id of a job that has killed its worker twice."""
    id_ = _submit(clock, id="bad", retry=9, backoff={"first": "1s", "jitter": 0})
    _ends(clock, AttemptEnd.CRASHED)
    clock.advance(clock.time_us + SECOND_US)
    _ends(clock, AttemptEnd.CRASHED)
    return id_


def test_poison_ends_in_the_queue_and_its_neighbours_go_on(clock: Clockwork) -> None:
    assert clock.kos("dlq", "ls")["jobs"] == []
    id_ = _poisoned(clock)
    other = _submit(clock, id="good")
    clock.advance(clock.time_us + 10 * SECOND_US)
    assert clock.kos("get", other)["state"] == "succeeded"
    (letter,) = clock.kos("dlq", "ls")["jobs"]
    job = letter["job"]
    assert (job["id"], job["reason"], job["attempt"], job["error_type"]) == (id_, "poison", 2, "Boom")
    assert clock.kos("dlq", "ls", "--reason", "user_error")["jobs"] == []
    text = str(clock.says("dlq", "ls"))
    assert "poison" in text
    assert "Boom: gone" in text


def test_what_is_run_again_is_another_job_that_is_tied_to_the_old_one(clock: Clockwork) -> None:
    id_ = _poisoned(clock)
    (row,) = clock.kos("dlq", "redrive", "--all")["jobs"]
    assert row["of"] == id_
    assert row["id"] != id_
    assert f"redrive:{id_}" in clock.kos("get", row["id"])["tags"]
    (letter,) = clock.kos("dlq", "ls")["jobs"]
    assert letter["redriven"] == row["id"]
    clock.says("dlq", "redrive", "--all", code=1)
    clock.advance(clock.time_us + 10 * SECOND_US)
    assert clock.kos("get", row["id"])["state"] == "succeeded"
    (again,) = clock.kos("dlq", "redrive", "bad")["jobs"]
    assert again["id"] not in (id_, row["id"]), "who names it gets it again"


def test_one_that_did_not_fail_is_not_run_again(clock: Clockwork) -> None:
    _submit(clock, id="good")
    clock.says("dlq", "redrive", "good", code=1)
    clock.says("dlq", "redrive", code=2)
    clock.says("dlq", "redrive", "good", "--all", code=2)
