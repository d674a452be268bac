"""The scenarios of the files beside this one, each decision word for word."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kos_ray.scheduler.machine import next_due_us
from tests.scenarios.language import Play

SCENARIOS = [
    scenario for path in sorted(Path(__file__).parent.glob("*.yaml")) for scenario in yaml.safe_load(path.read_text())
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["title"])
def test_scenario(scenario: dict[str, Any]) -> None:
    play = Play(scenario.get("policy"))
    for number, moment in enumerate(scenario["steps"], start=1):
        assert play.do(moment["do"]) == moment["expect"], f"step {number}: {moment['do']}"


def test_a_job_for_which_room_was_made_is_looked_at_when_its_rate_allows_it() -> None:
    rates = [{"name": "tokens", "amount": 10, "per_us": 1_000_000, "burst": 30}]
    play = Play({"exempt_us": 0, "rates": rates, "idle_slot_us": 1_000_000_000})
    play.do(["node a cpu=1", "submit low cpu=1 band=5 single"])
    play.do(["enter low", "wait 10s", "submit high cpu=1 band=0 rate=tokens:15 single"])
    play.do(["node b gpu=1", "submit other cpu=0 gpu=1 rate=tokens:25 single"])
    assert play.do(["end low stopped"]) == ["ready low: preempted"]
    assert next_due_us(play.state, play.now_us) == play.now_us + 1_000_000
    assert play.do(["wait 1s"]) == ["launch high on a (1 slot)"]


def test_titles_are_different() -> None:
    titles = [scenario["title"] for scenario in SCENARIOS]
    assert len(titles) == len(set(titles)) > 20


def test_victims_for_a_gang_are_found_on_whichever_nodes_they_run() -> None:
    """Behind more nodes than one search looks at, on which nobody may be asked."""
    play = Play({"exempt_us": 0})
    safe = [f"submit safe{number} cpu=1 evict=never single" for number in range(70)]
    play.do([*(f"node a{number:02} cpu=1" for number in range(70)), *safe])
    play.do(["node z0 cpu=1", "node z1 cpu=1", "submit low x2 cpu=1 band=4 single"])
    assert play.do(["submit g x2 cpu=1 gang=2 band=1 single"]) == [
        "keep z0,z1 for gang g",
        "evict low.0 on z0 for g.0: preempted",
        "evict low.1 on z1 for g.0 on z0: preempted",
    ]
