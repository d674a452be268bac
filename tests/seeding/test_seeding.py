"""The tool that plants bugs: what it plants, what it draws, and what it reads off the proofs."""

from pathlib import Path

import pytest

from tests.seeding import table
from tests.seeding.bugs import DRAWN, HAND, BadBug, Bug, load, planted
from tests.seeding.draw import draw, sites
from tests.seeding.ladder import ROOT, Found, Ran, said_by_pytest, said_by_simulation

SOURCE = """
def least(found, most):
    '''No more than `most`.'''
    for one in found:
        if one is None:
            continue
        reach("place")
        kept = min(one, most)
    return kept if kept <= most and kept > 0 else most + 1
"""
BUG = Bug(name="loose", file="kos_ray/x.py", breaks="it is too much", old="kept <= most", new="kept < most")


def test_a_bug_stands_where_its_old_text_stood() -> None:
    assert "kept < most and" in planted(BUG, SOURCE)


@pytest.mark.parametrize(("old", "times"), [("kept", 4), ("nowhere", 0)])
def test_a_text_that_is_not_there_once_is_an_error_that_names_the_bug(old: str, times: int) -> None:
    bug = Bug(name="vague", file="kos_ray/x.py", breaks="", old=old, new="")
    with pytest.raises(BadBug, match=rf"vague: expected its old text once in kos_ray/x.py, found it {times} times"):
        planted(bug, SOURCE)


def test_a_bug_that_is_no_python_is_an_error_that_names_it() -> None:
    with pytest.raises(BadBug, match=r"loose: kos_ray/x.py:9 is no Python"):
        planted(Bug(name="loose", file="kos_ray/x.py", breaks="", old="kept <= most", new="kept <="), SOURCE)


def test_names_and_fields_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "bugs.yaml"
    path.write_text("- {name: a, file: f}\n")
    with pytest.raises(BadBug, match=r"bugs.yaml: bug 1: expected the fields"):
        load(path)
    one = "- {name: a, file: f, breaks: b, old: o, new: n}\n"
    path.write_text(one + one)
    with pytest.raises(BadBug, match=r"found \['a'\] twice"):
        load(path)


@pytest.mark.parametrize("path", [HAND, DRAWN])
def test_the_texts_of_the_bugs_are_changes(path: Path) -> None:
    assert all(bug.old != bug.new and (ROOT / bug.file).exists() for bug in load(path))


def test_each_operator_has_its_place() -> None:
    made = {site.what: SOURCE[: site.start] + site.new + SOURCE[site.end :] for site in sites(SOURCE)}
    assert "most if kept" not in made["condition negated"]
    assert "min(most, one)" in made["arguments swapped"]
    assert "            break" in made["loop left otherwise"]
    assert "        pass\n    return" in made["statement dropped"]
    assert "kept <= most or kept" in made["boolean operator"]
    assert "most - 1" in made["arithmetic operator"]


def test_texts_and_failpoints_are_left_alone() -> None:
    assert not [site for site in sites(SOURCE) if "place" in SOURCE[site.start : site.end] or "No more" in site.new]


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """One source in each room."""
    for room in ("scheduler", "journal", "engine", "runtime/agent", "worker"):
        (tmp_path / "kos_ray" / room).mkdir(parents=True)
        (tmp_path / "kos_ray" / room / "least.py").write_text(SOURCE)
    return tmp_path


def test_one_seed_draws_the_same_bugs(house: Path) -> None:
    first, again, other = (list(draw(house, 6, seed)) for seed in (3, 3, 4))
    assert first == again != other
    assert {bug.room for bug in first} == {"scheduler", "journal", "engine", "agent", "worker"}
    for bug in first:
        planted(bug, SOURCE)


def test_a_bug_that_is_to_be_avoided_is_drawn_again(house: Path) -> None:
    first = next(draw(house, 1, 3))
    assert next(draw(house, 1, 3, avoid=frozenset({first.digest}))).digest != first.digest


@pytest.mark.parametrize(
    ("ran", "found"),
    [
        (Ran(1, "25 of 120\n\nseed 17: two outcomes: x\n  note\n"), Found("simulation", "two outcomes: x", 17)),
        (Ran(1, "done\nvacuous: no fault\n"), Found("simulation", "no fault", 120)),
        (Ran(1, "", hangs=True), Found("simulation", "hangs")),
        (Ran(1, "Traceback\nKeyError: 'a'\n"), Found("simulation", "KeyError: 'a'")),
        (Ran(0, "120 seeds, 0 failures\n"), Found("")),
    ],
)  # fmt: skip
def test_what_the_simulation_says(ran: Ran, found: Found) -> None:
    assert said_by_simulation(ran, 120) == found


@pytest.mark.parametrize(
    ("ran", "found"),
    [
        (Ran(1, "..F\nFAILED tests/a/b.py::test_c[1-x] - assert\n"), Found("all tests", "tests/a/b.py::test_c[1-x]")),
        (Ran(1, "FAILED tests/b.py::test_c[a job] - as\n"), Found("all tests", "tests/b.py::test_c[a job]")),
        (Ran(2, "ERROR tests/a/test_b.py - KeyError\n"), Found("all tests", "tests/a/test_b.py")),
        (Ran(1, "+++ Timeout +++\n tests/a/test_b.py, line 3\n"), Found("all tests", "hangs in tests/a/test_b.py")),
        (Ran(0, "9 passed"), Found("")),
    ],
)  # fmt: skip
def test_what_pytest_says(ran: Ran, found: Found) -> None:
    assert said_by_pytest(ran, "all tests") == found


def test_the_table_says_what_was_found_at_first_and_what_survives(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    table.add(BUG, Found(""), 2.0, path)
    lone = Bug(name="lone", file="kos_ray/y.py", breaks="b", old="o", new="n")
    table.add(lone, Found(""), 2.0, path)
    table.add(BUG, Found("all tests", "tests/t.py::test"), 3.0, path)
    text = table.told([BUG, lone], [], table.read(path), {"lone": "it is the same"})
    assert "2 bugs, 2 run, 1 found (50 %); at first 0." in text
    assert "| `loose` (x.py) | it is too much | all tests | tests/t.py::test |  |" in text
    assert "| **survives** | it is the same |" in text


def test_a_bug_with_another_text_has_not_been_run(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    table.add(BUG, Found("crash", "journal.opened"), 2.0, path)
    other = Bug(name="loose", file="kos_ray/x.py", breaks="", old="kept > 0", new="kept >= 0")
    assert "| not run |" in table.told([other], [], table.read(path), {})
