"""The scenarios of the files beside this one, each decision word for word."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.scenarios.language import Play

SCENARIOS = [
    scenario for path in sorted(Path(__file__).parent.glob("*.yaml")) for scenario in yaml.safe_load(path.read_text())
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["title"])
def test_scenario(scenario: dict[str, Any]) -> None:
    play = Play(scenario.get("policy"))
    for number, moment in enumerate(scenario["steps"], start=1):
        assert play.do(moment["do"]) == moment["expect"], f"step {number}: {moment['do']}"


def test_titles_are_different() -> None:
    titles = [scenario["title"] for scenario in SCENARIOS]
    assert len(titles) == len(set(titles)) > 20
