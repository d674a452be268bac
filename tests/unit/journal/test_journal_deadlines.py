"""What rows say of deadlines: met or missed, once a job is over."""

from dataclasses import replace

import pytest

from kos_ray.journal.shapes import _kept
from kos_ray.model.job import JobState
from kos_ray.model.views import JobView
from kos_ray.observe.tables import deadline_text


@pytest.mark.parametrize(
    ("state", "ended_us", "deadline_us", "said"),
    [
        (JobState.SUCCEEDED, 5, 5, "met"),
        (JobState.SUCCEEDED, 6, 5, "missed"),
        (JobState.FAILED, 1, 5, "missed"),
        (JobState.RUNNING, 0, 5, ""),
        (JobState.SUCCEEDED, 6, 0, ""),
    ],
)
def test_a_deadline_is_met_by_success_in_time(state: JobState, ended_us: int, deadline_us: int, said: str) -> None:
    assert _kept(state, ended_us, deadline_us) == said


def test_what_people_read_of_it() -> None:
    view = JobView(id="a", key=1, deadline_us=1_900_000_000_000_000)  # type: ignore[arg-type]
    assert deadline_text(replace(view, deadline="at_risk")).endswith(": at risk: there is too much work before it")
    assert deadline_text(replace(view, deadline_us=0)) == ""
    assert ": " not in deadline_text(view).replace(":", "", 2)
