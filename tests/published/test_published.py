"""Each table on its sample: every goal is met, and what is a bug would raise."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.published import psplib, traces, workflows
from benchmarks.published.data import find_data
from benchmarks.report import Row
from tests.installed import install_entry_points

SAMPLES = Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_entry_points(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("rows", [psplib.rows, workflows.rows, traces.gangs], ids=["psplib", "workflows", "traces"])
def test_a_sample_of_each_table(rows: Callable[[Path], Iterator[Row]]) -> None:
    found = list(rows(SAMPLES))
    assert found
    assert [row for row in found if not row.met] == []
    assert all(row.ratio is not None and row.ratio < 0.7 for row in found if row.unit == "%"), "better than one pass"


def test_a_schedule_below_its_bound_fails_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psplib, "rehearsed", lambda *_: (type("R", (), {"makespan_s": 1.0}), [0.1]))
    with pytest.raises(AssertionError, match="is below the bound of"):
        list(psplib.rows(SAMPLES))
    monkeypatch.setattr(workflows, "rehearsed", lambda *_: (type("R", (), {"makespan_s": 1.0}), [0.1]))
    with pytest.raises(AssertionError, match=r"expected .* \(Graham\), found 1.0 s"):
        list(workflows.rows(SAMPLES))


def test_data_that_is_not_there_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"expected the folder of the published tables .* KOS_RAY_DATA"):
        find_data(str(tmp_path))
    assert find_data(str(SAMPLES)) == SAMPLES
