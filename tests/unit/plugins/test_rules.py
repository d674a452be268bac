"""Repeat rules in real processes: that answer, hang, die, lie, and are not there."""

from pathlib import Path

import pytest

from kos_ray.plugins import rules
from kos_ray.plugins.rules import AHEAD, foresee
from tests.installed import install_entry_points

SECOND = 1_000_000
SOURCE = """
import os, time
from datetime import timedelta
def minutely(after):
    print("what is printed is no answer")
    return after + timedelta(minutes=1)
def twice(after): return after + timedelta(minutes=1) if after.minute < 2 else None
def hangs(after): time.sleep(600)
def dies(after): os._exit(3)
def raises(after): return 1 / 0
def backwards(after): return after
def talks(after): return "tomorrow"
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ruled.py").write_text(SOURCE)
    install_entry_points(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[3]}")


def test_as_many_as_are_over_and_some_ahead() -> None:
    instants, failed = foresee("python:ruled:minutely", 0, 3_600 * SECOND)
    assert failed == ""
    assert instants == tuple(60 * number * SECOND for number in range(1, 61 + AHEAD))
    assert foresee("python:ruled:twice", 0, 3_600 * SECOND) == ((60 * SECOND, 120 * SECOND), "")


def test_the_sample() -> None:
    instants, _ = foresee("plugin:fibonacci 1970-01-01T00:00:00+00:00 1", 0, 0)
    assert [at // SECOND for at in instants[:6]] == [1, 2, 4, 7, 12, 20]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("python:ruled:dies", "its process ended with exit code 3"),
        ("python:ruled:raises", "it raised ZeroDivisionError"),
        ("python:ruled:backwards", "expected an instant behind 1970-01-01"),
        ("python:ruled:talks", "it raised AttributeError"),
        ("python:ruled:nobody", "python:ruled:nobody cannot be loaded: AttributeError"),
        ("python:nowhere:x", "cannot be loaded: ModuleNotFoundError"),
        ("plugin:nobody", "found 'nobody'; installed: fibonacci"),
    ],
)
def test_what_is_wrong_is_said(rule: str, said: str) -> None:
    instants, failed = foresee(rule, 0, 0)
    assert instants == ()
    assert said in failed


def test_one_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "ANSWER_S", 1.0)
    assert foresee("python:ruled:hangs", 0, 0) == ((), "it did not answer within 1 s")
