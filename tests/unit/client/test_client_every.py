"""`@kos.every`: what is the schedule's and what its jobs', and that nothing fires by itself."""

import typing
from typing import Any

import pytest

import kos_ray as kos
from kos_ray.client.decorated import JobFunction
from kos_ray.client.every import TERMS
from kos_ray.client.scheduling import Terms


class Scheduled:
    """A client that keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Any, dict[str, Any]]] = []

    def schedule(self, function: Any, rules: Any, **said: Any) -> dict[str, Any]:
        self.asked.append((function, rules, said))
        return {"next_us": 1}


@kos.every("weekday 09:00", "saturday at noon", tz="Europe/Berlin", overlap="allow_all", retry=3, priority="high")
def report(day: int = 1) -> int:
    """The day's report."""
    return day + 1


@kos.every("every hour", name="hourly-sweep")
def sweep() -> None:
    """Nothing."""


def test_the_words_of_the_schedule_and_of_its_jobs() -> None:
    client: Any = Scheduled()
    assert report.start(client) == {"next_us": 1}
    sweep.start(client)
    first, second = client.asked
    assert first == (
        report,
        ("weekday 09:00", "saturday at noon"),
        {
            "name": "report",
            "options": {"retry": 3, "priority": "high"},
            "replace": True,
            "tz": "Europe/Berlin",
            "overlap": "allow_all",
        },
    )
    assert second[2]["name"] == "hourly-sweep"


def test_it_is_still_a_function_and_a_job() -> None:
    assert report(41) == 42
    assert report.__doc__ == "The day's report."
    assert isinstance(report, JobFunction)
    assert report.options(priority="low").call(1).options["priority"] == "low"


def test_all_words_of_a_schedule_are_known() -> None:
    assert set(TERMS) == set(typing.get_type_hints(Terms))


def test_a_rule_is_needed() -> None:
    with pytest.raises(TypeError, match="expected a rule"):
        kos.every()
    with pytest.raises(TypeError, match="expected a rule"):
        kos.every(sweep)  # type: ignore[arg-type]
