"""The checker of tables: rules that are given, and rules that are learnt."""

import json
from pathlib import Path
from typing import Any

import pytest

from agents.data_quality import DataQualityChecker, rows, type_of

STATES = ("new", "paid", "sent")


def written(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def orders(path: Path, *more: str, count: int = 60) -> str:
    lines = [f"o-{at},{at % 40 + 1},{STATES[at % 3]},2026-01-{at % 28 + 1:02}" for at in range(count)]
    return written(path, ["id,pieces,state,day", *lines, *more])


def faults(report: dict[str, Any]) -> dict[tuple[str, str], list[int]]:
    return {(one["column"], one["rule"]): [shown["line"] for shown in one["examples"]] for one in report["faults"]}


def test_each_rule_finds_what_breaks_it_and_says_where(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.csv",
        ["id,age,state,code", "1,30,new,AB-1", "1,-4,old,ab-1", ",x,new,AB-22", '3,200,"new', 'er",AB-3', "4,5"],
    )
    rules = {
        "id": {"required": True, "unique": True},
        "age": {"type": "int", "min": 0, "max": 120},
        "state": {"one_of": ["new"]},
        "code": {"matches": "[A-Z]+-[0-9]+"},
        "paid": {"required": True},
    }
    report = DataQualityChecker().check(path, rules=rules)
    assert faults(report) == {
        ("", "line"): [7],
        ("id", "required"): [4],
        ("id", "unique"): [3],
        ("age", "type"): [4],
        ("age", "min"): [3],
        ("age", "max"): [5],
        ("state", "one_of"): [3, 5],
        ("code", "matches"): [3],
        ("paid", "required"): [2, 3, 4, 5],
    }
    assert (report["verdict"], report["rows"]) == ("bad", 5)
    said = {one["rule"]: one["examples"][0]["said"] for one in report["faults"]}
    assert said["unique"] == '"1" stands in line 2 as well'
    assert said["type"] == 'expected int, found "x"'
    assert said["line"] == "expected 4 fields, found 2"


def test_what_was_learnt_of_a_good_file_holds_for_it_and_not_for_a_bad_one(tmp_path: Path) -> None:
    checker = DataQualityChecker()
    good = orders(tmp_path / "good.csv")
    learnt = checker.learn(good)
    assert learnt["id"] == {"type": "text", "required": True, "unique": True}
    assert learnt["pieces"] == {"type": "int", "required": True, "min": 0.0, "max": pytest.approx(43.9)}
    assert learnt["state"]["one_of"] == ["new", "paid", "sent"]
    assert learnt["day"]["type"] == "date"
    assert checker.check(good)["verdict"] == "good"
    again = DataQualityChecker()
    again.__dict__.update(checker.__dict__)  # as its state travels
    bad = again.check(orders(tmp_path / "bad.csv", "o-1,900,lost,yesterday"))
    assert bad["verdict"] == "bad"
    assert set(faults(bad)) == {("id", "unique"), ("pieces", "max"), ("state", "one_of"), ("day", "type")}


def test_values_that_may_be_missing_are_learnt_with_how_many(tmp_path: Path) -> None:
    lines = [json.dumps({"n": at, **({"note": "x"} if at % 10 else {})}) for at in range(100)]
    checker = DataQualityChecker()
    learnt = checker.learn(written(tmp_path / "a.jsonl", lines), profile="notes", slack=0)
    assert learnt["note"]["tolerance"] == 0.1
    more = [*lines, json.dumps({"n": 50.5}), "{", "[1]"]
    report = checker.check(written(tmp_path / "b.ndjson", more), profile="notes")
    assert faults(report) == {
        ("note", "required"): [1, 11, 21, 31, 41],
        ("", "line"): [102, 103],
        ("n", "type"): [101],
    }
    assert [one["count"] - one["allowed"] for one in report["faults"] if one["column"] == "note"] == [1]


def test_a_column_of_which_no_rule_speaks_is_shown(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", ["a\tb", "1\t2"])
    report = DataQualityChecker().check(path, rules={"a": {"type": "int"}})
    assert (report["verdict"], report["unknown_columns"]) == ("good", {"b": 2})


def test_numbers_that_are_out_of_all_bounds_are_compared_as_such(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", ['{"n": 1' + "0" * 400 + "}", '{"n": NaN}', '{"n": 5}'])
    report = DataQualityChecker().check(path, rules={"n": {"type": "number", "max": 9}})
    assert faults(report) == {("n", "max"): [1], ("n", "type"): [2]}


def test_only_so_many_examples_are_kept_of_a_long_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", ["a", *["x"] * 1_000])
    (fault,) = DataQualityChecker().check(path, rules={"a": {"type": "int"}})["faults"]
    assert (fault["count"], len(fault["examples"])) == (1_000, 5)
    stream = rows(Path(path))
    assert next(stream).line == 2, "a row is there before the next one is read"


def test_types_are_the_narrowest() -> None:
    values = ["1", "1.5", "true", "2026-01-31", "2026-01-31T10:00:00", "1_000", "", 7, 1.5, True, [1]]
    values += ["nan", "inf", float("nan"), "9" * 400, "-1e3"]
    kinds = ["int", "number", "bool", "date", "datetime", "text", "text", "int", "number", "bool", "text"]
    kinds += ["text", "text", "text", "text", "number"]
    assert [type_of(value) for value in values] == kinds


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({}, "a mapping of columns"),
        ({"a": 1}, r"rules\.a: expected a mapping"),
        ({"a": {"mni": 1}}, "found 'mni'"),
        ({"a": {"unique": "yes"}}, r"rules\.a\.unique: found 'yes', a str"),
        ({"a": {"type": "integer"}}, "found 'integer'"),
        ({"a": {"matches": "("}}, "a regular expression"),
        ({"a": {"tolerance": 3}}, "from 0 to 1"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(rules: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DataQualityChecker().set_rules(rules)


def test_what_cannot_be_checked_is_refused(tmp_path: Path) -> None:
    checker = DataQualityChecker()
    with pytest.raises(ValueError, match="learn or give rules"):
        checker.check("/a.csv")
    with pytest.raises(ValueError, match="found none"):
        checker.learn(str(tmp_path / "none.csv"))
    with pytest.raises(ValueError, match=r"found '\.xlsx'"):
        checker.learn("/a.xlsx")
    with pytest.raises(ValueError, match=r"a\.csv:3: expected 1 fields, found 2: learn from a file without faults"):
        checker.learn(written(tmp_path / "a.csv", ["a", "1", "1,2"]))
    with pytest.raises(ValueError, match="twice"):
        checker.learn(written(tmp_path / "b.csv", ["a,a", "1,2"]))
