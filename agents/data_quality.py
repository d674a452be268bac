"""Checks tables, as CSV or as lines of JSON, by rules that are given or learnt from a good one.

kos agent register agents.data_quality:DataQualityChecker --name quality --code .
kos agent call quality learn /data/good.csv
kos agent call quality check /data/today.csv

Rules are a mapping of columns: `{"age": {"type": "int", "min": 0, "max": 120}, "state": {"one_of": ["new", "paid"]},
"id": {"required": true, "unique": true, "matches": "[A-Z]{3}-[0-9]+"}}`. A file is read line by line; what was seen
of unique columns lies in a temporary file.
"""

import contextlib
import csv
import json
import math
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import kos_ray as kos

#: of each kind of fault, so many are shown
EXAMPLES = 5
#: a column with so few values, each of which stands there so often, has only these
_VALUES_MAX, _TIMES_MIN = 20, 5
#: of fewer rows nothing is learnt about which values there can be
_ROWS_MIN = 20
_SHOWN_MAX = 80
_RULES = {"type": str, "required": bool, "unique": bool, "min": (int, float, str), "max": (int, float, str)}
_RULES |= {"one_of": list, "matches": str, "tolerance": (int, float)}
#: from the narrowest to the widest
_TYPES = ("bool", "int", "number", "date", "datetime", "text")
Rules = dict[str, dict[str, Any]]


class Row(NamedTuple):
    """One record: the line on which it begins, its values by column, and what is wrong with the line itself."""

    line: int
    values: dict[str, Any]
    fault: str = ""


def rows(path: Path) -> Iterator[Row]:
    """The records of a file: `.csv` and `.tsv` with a header, `.jsonl` and `.ndjson`."""
    read = {".csv": _csv, ".tsv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines}.get(path.suffix.lower())
    if read is None:
        raise ValueError(f"{path}: expected a file named .csv, .tsv, .jsonl or .ndjson, found {path.suffix!r}")
    if not path.is_file():
        raise ValueError(f"{path}: expected a file on the node of this agent, found none")
    try:
        yield from read(path)
    except csv.Error as error:
        raise ValueError(f"{path}: expected CSV: {error}") from None


def _csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        header = next(reader, None)
        if not header:
            raise ValueError(f"{path}:1: expected a header with the names of the columns, found an empty line")
        twice = [name for name, times in Counter(header).items() if times > 1]
        if twice:
            raise ValueError(f"{path}:1: expected names that differ, found {twice[0]!r} twice")
        begun = reader.line_num + 1
        for fields in reader:
            fault = "" if len(fields) == len(header) else f"expected {len(header)} fields, found {len(fields)}"
            if fields:
                yield Row(begun, dict(zip(header, fields, strict=False)), fault)
            begun = reader.line_num + 1


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                found = json.loads(text)
            except ValueError as error:
                yield Row(number, {}, f"expected JSON: {error}")
                continue
            fault = "" if isinstance(found, dict) else f"expected an object, found {type(found).__name__}"
            yield Row(number, {} if fault else found, fault)


def type_of(value: Any) -> str:
    """The narrowest type of a value, that of what it says where it is a text. What is no finite number is none."""
    if isinstance(value, float):
        return "number" if math.isfinite(value) else "text"
    if not isinstance(value, str):
        return {bool: "bool", int: "int"}.get(type(value), "text")
    return _said_type(value.strip())


def _said_type(text: str) -> str:
    if text.lower() in ("true", "false"):
        return "bool"
    with contextlib.suppress(ValueError):
        if "_" in text or not math.isfinite(float(text)):
            return "text"
        return "int" if re.fullmatch(r"[+-]?\d+", text) else "number"
    with contextlib.suppress(ValueError):
        datetime.fromisoformat(text)
        return "date" if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else "datetime"
    return "text"


def _is(kind: str, wanted: str) -> bool:
    return wanted in (kind, "text") or (kind, wanted) in (("int", "number"), ("date", "datetime"))


def _wider(one: str, other: str) -> str:
    """The narrowest type that has values of both."""
    return next(kind for kind in _TYPES if _is(one, kind) and _is(other, kind))


def _measure(value: Any) -> float | str:
    """What limits are compared with: a number, or the text of a date."""
    if type_of(value) not in ("int", "number"):
        return str(value).strip()
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf if value > 0 else -math.inf


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def checked_rules(rules: Any) -> Rules:
    """Rules as they are, if they are some."""
    if not isinstance(rules, dict) or not rules:
        raise ValueError(f"rules: expected a mapping of columns such as {{'id': {{'unique': true}}}}, found {rules!r}")
    for column, said in rules.items():
        if not isinstance(said, dict):
            raise ValueError(f"rules.{column}: expected a mapping such as {{'type': 'int'}}, found {said!r}")  # noqa: TRY004
        for name, value in said.items():
            kind = _RULES.get(name)
            if kind is None:
                raise ValueError(f"rules.{column}: expected {', '.join(_RULES)}, found {name!r}")
            if not isinstance(value, kind):
                raise ValueError(f"rules.{column}.{name}: found {value!r}, a {type(value).__name__}")  # noqa: TRY004
        if said.get("type", "text") not in _TYPES:
            raise ValueError(f"rules.{column}.type: expected {', '.join(_TYPES)}, found {said['type']!r}")
        if not 0 <= said.get("tolerance", 0) <= 1:
            raise ValueError(f"rules.{column}.tolerance: expected a share from 0 to 1, found {said['tolerance']!r}")
        try:
            re.compile(said.get("matches", ""))
        except re.error as error:
            raise ValueError(f"rules.{column}.matches: expected a regular expression: {error}") from None
    return rules


class Seen:
    """Values of unique columns, each with the line that had it first; in a temporary file where they are many."""

    def __init__(self) -> None:
        self._kept = sqlite3.connect("", isolation_level=None)
        self._kept.execute("PRAGMA journal_mode = OFF")
        self._kept.execute("CREATE TABLE seen (what TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        self._kept.execute("BEGIN")

    def before(self, column: str, value: Any, line: int) -> int | None:
        """The line that had this value before."""
        what = json.dumps([column, value], sort_keys=True)
        try:
            self._kept.execute("INSERT INTO seen VALUES (?, ?)", (what, line))
        except sqlite3.IntegrityError:
            row = self._kept.execute("SELECT line FROM seen WHERE what = ?", (what,)).fetchone()
            return int(row[0])
        return None

    def close(self) -> None:
        """Let go of the file."""
        self._kept.close()


class Column:
    """What is learnt of one column."""

    def __init__(self) -> None:
        self.there = 0
        self.type = ""
        self.low: float | str | None = None
        self.high: float | str | None = None
        self.values: Counter[str] | None = Counter()
        self.unique = True

    def take(self, value: Any, *, again: bool) -> None:
        """One more value that is not missing."""
        self.there += 1
        kind = type_of(value)
        self.type = _wider(self.type, kind) if self.type else kind
        self.unique = self.unique and not again
        if kind in ("int", "number", "date", "datetime") and self.type != "text":
            measure = _measure(value)
            if self.low is None or self.high is None or isinstance(measure, str) != isinstance(self.low, str):
                self.low = self.high = measure
            self.low, self.high = min(self.low, measure), max(self.high, measure)  # type: ignore[type-var]
        if self.values is not None:
            self.values[str(value)] += 1
            if len(self.values) > _VALUES_MAX:
                self.values = None

    def rules(self, count: int, slack: float) -> dict[str, Any]:
        """What holds for it, with limits that are wider by a share of their distance."""
        found: dict[str, Any] = {"type": self.type or "text"}
        absent = 1 - self.there / count
        found |= {"required": True, "tolerance": round(absent * (1 + slack), 6)} if absent <= 0.5 else {}
        if found.get("tolerance") == 0:
            del found["tolerance"]
        if isinstance(self.low, float) and isinstance(self.high, float) and found["type"] in ("int", "number"):
            room = (self.high - self.low) * slack
            low = self.low - room
            # what was never below zero is a count, a price, an age
            found |= {"min": max(0.0, low) if self.low >= 0 else low, "max": self.high + room}
        if self.unique and count >= _ROWS_MIN and found["type"] in ("int", "text") and not absent:
            found["unique"] = True
        few = self.values is not None and found["type"] in ("text", "bool") and self.there >= _ROWS_MIN
        if few and self.values and min(self.values.values()) >= _TIMES_MIN:
            found["one_of"] = sorted(self.values)
        return found


@kos.agent(
    name="quality", resources={"cpu": 0.5}, snapshot_every=1, capabilities=("data_quality",), roles=("data_checker",)
)
class DataQualityChecker:
    """Keeps what it has learnt, by name of the profile."""

    def __init__(self) -> None:
        self._profiles: dict[str, Rules] = {}

    def learn(self, path: str, profile: str = "default", slack: float = 0.1) -> Rules:
        """Learn what holds in a good file, and keep it; limits are widened by `slack`, a share of what lies between."""
        if slack < 0:
            raise ValueError(f"slack: expected a share of at least 0, found {slack!r}")
        columns: dict[str, Column] = {}
        count, seen = 0, Seen()
        try:
            for row in rows(Path(path)):
                if row.fault:
                    raise ValueError(f"{path}:{row.line}: {row.fault}: learn from a file without faults")
                count += 1
                for name, value in row.values.items():
                    column = columns.setdefault(name, Column())
                    if not _missing(value):
                        again = column.unique and seen.before(name, value, row.line) is not None
                        column.take(value, again=again)
        finally:
            seen.close()
        if not count:
            raise ValueError(f"{path}: expected rows to learn from, found none")
        self._profiles[profile] = {name: column.rules(count, slack) for name, column in columns.items()}
        return self._profiles[profile]

    def set_rules(self, rules: Rules, profile: str = "default") -> Rules:
        """Keep rules as a profile."""
        self._profiles[profile] = checked_rules(rules)
        return self._profiles[profile]

    def profiles(self) -> dict[str, Rules]:
        """All rules that it keeps."""
        return dict(self._profiles)

    def check(self, path: str, profile: str = "default", rules: Rules | None = None) -> dict[str, Any]:
        """Check a file by a profile, or by these rules.

        `verdict` is good, or bad where a rule is broken by more rows than its `tolerance` allows (a share; 0 unless
        given). `faults` are by rule, the most frequent first, with `count`, `allowed` and some `examples` by line.
        """
        if rules is None and profile not in self._profiles:
            known = ", ".join(self._profiles) or "none"
            raise ValueError(f"profile: expected one that was learnt ({known}), found {profile!r}: learn or give rules")
        report = _Report(checked_rules(rules) if rules is not None else self._profiles[profile])
        try:
            for row in rows(Path(path)):
                report.take(row)
        finally:
            report.seen.close()
        return {"path": path, **report.found()}


class _Report:
    """Counts what breaks rules."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._patterns = {name: re.compile(said["matches"]) for name, said in rules.items() if "matches" in said}
        self.seen = Seen()
        self._count = 0
        self._faults: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], list[dict[str, Any]]] = {}
        #: columns of which no rule speaks, with the line that had them first
        self._unknown: dict[str, int] = {}

    def take(self, row: Row) -> None:
        """One more record."""
        self._count += 1
        if row.fault:
            self._add("", "line", row.line, row.fault)
            return
        for name in row.values.keys() - self._rules.keys():
            self._unknown.setdefault(name, row.line)
        for name, said in self._rules.items():
            value = row.values.get(name)
            if not _missing(value):
                self._value(name, said, value, row.line)
            elif said.get("required"):
                self._add(name, "required", row.line, "is missing")

    def found(self) -> dict[str, Any]:
        """The report."""
        faults = []
        for (column, rule), count in self._faults.most_common():
            allowed = int(self._rules.get(column, {}).get("tolerance", 0) * self._count)
            examples = self._examples[column, rule]
            fault = {"column": column, "rule": rule, "count": count, "allowed": allowed, "examples": examples}
            faults.append(fault)
        bad = not self._count or any(fault["count"] > fault["allowed"] for fault in faults)
        verdict = {"verdict": "bad" if bad else "good", "rows": self._count, "faults": faults}
        return {**verdict, "unknown_columns": self._unknown}

    def _value(self, name: str, said: dict[str, Any], value: Any, line: int) -> None:
        kind = type_of(value)
        if "type" in said and not _is(kind, said["type"]):
            self._add(name, "type", line, f"expected {said['type']}, found {_shown(value)}")
            return
        for limit, beyond in (("min", lambda a, b: a < b), ("max", lambda a, b: a > b)):
            if limit in said:
                found, wanted = _measure(value), _measure(said[limit])
                if isinstance(found, str) != isinstance(wanted, str) or beyond(found, wanted):
                    word = "at least" if limit == "min" else "at most"
                    self._add(name, limit, line, f"expected {word} {said[limit]}, found {_shown(value)}")
        if "one_of" in said and value not in said["one_of"] and str(value) not in said["one_of"]:
            self._add(name, "one_of", line, f"found {_shown(value)}")
        if name in self._patterns and not self._patterns[name].fullmatch(str(value)):
            self._add(name, "matches", line, f"expected {said['matches']}, found {_shown(value)}")
        if said.get("unique"):
            before = self.seen.before(name, value, line)
            if before is not None:
                self._add(name, "unique", line, f"{_shown(value)} stands in line {before} as well")

    def _add(self, column: str, rule: str, line: int, said: str) -> None:
        self._faults[column, rule] += 1
        examples = self._examples.setdefault((column, rule), [])
        if len(examples) < EXAMPLES:
            examples.append({"line": line, "said": said})


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"
