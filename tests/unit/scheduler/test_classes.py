"""Classes of waiting jobs: those that nobody is of any more do not stay."""

import pytest

from kos_ray.scheduler import queues
from tests.scenarios.language import Play


def test_classes_that_nobody_is_of_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "_CLASSES_MIN", 8)
    play = Play()
    play.do(["node a cpu=1", "submit first cpu=1 single"])
    for cpus in range(2, 20):
        play.do([f"submit j{cpus} cpu={cpus} single"])
    assert len(play.state.classes) == 19
    play.do([f"cancel j{cpus}" for cpus in range(2, 20)])
    play.do(["submit second cpu=1 single"])
    assert len(play.state.classes) == 1
    assert play.do(["end first"]) == ["finish first succeeded: succeeded", "launch second on a (1 slot)"]
