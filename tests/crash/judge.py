"""What is promised of jobs, judged by files that were written outside the system, against what the journal has."""

import json
import pickle
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from kos_ray.journal.blobs import FileBlobStore
from kos_ray.journal.reader import JournalReader
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.payload import BlobRef, open_payload
from tests.crash.code import crash_jobs


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    """The lines of one of the files; one that was cut off by a death is left out."""
    path = folder / name
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def judge_jobs(folder: Path, state: Path) -> tuple[int, list[str]]:
    """G1 acknowledged is there, G2 all end, G3 at most once is at most once, results are right.

    How many acknowledged jobs there are, and what is wrong.
    """
    problems: list[str] = []
    history, told = lines(folder, "history"), lines(folder, "told")
    entries = Counter(line["name"] for line in history if line["what"] == "entry")
    ended = {line["name"]: line for line in told if line["what"] == "ended"}
    acked = [line for line in told if line["what"] == "acked"]
    with closing(JournalReader(state)) as reader:
        for line in acked:
            place = reader.resolve("default", line["id"])
            if place is None:
                problems.append(f"{line['name']} was acknowledged, and is not there")
                continue
            job_state = reader.states([place[0]])[place[0]]
            problems += judged(line, job_state, entries[line["name"]], ended.get(line["name"]))
        live = [view.id for view in reader.jobs(limit=100_000) if not JobState[view.state.upper()].final]
    if live:
        problems.append(f"did not end: {live}")
    saved = Counter((line["what"], line["name"]) for line in history if line["what"].startswith("saved"))
    twice = [(name, what, times) for (what, name), times in saved.items() if times > 1]
    problems += [f"{name}: {what} was done {times} times though it was stored" for name, what, times in twice]
    return len(acked), problems


def entered_again(folder: Path) -> list[str]:
    """Jobs that were entered more than once though nothing had happened to their first attempt."""
    entries = Counter(line["name"] for line in lines(folder, "history") if line["what"] == "entry")
    twice = {name: times for name, times in entries.items() if times > 1 and not name.startswith(("flaky", "stubborn"))}
    return [f"{name} was entered {times} times though its attempt was undisturbed" for name, times in twice.items()]


def crashed_beside(folder: Path, state: Path) -> list[str]:
    """Attempts that ended as crashed beside the one that a dead slot had entered: what waits behind it goes back."""
    acked = [line for line in lines(folder, "told") if line["what"] == "acked"]
    with closing(JournalReader(state)) as reader:
        places = {line["name"]: reader.resolve("default", line["id"]) for line in acked}
        keys = {name: place[0] for name, place in places.items() if place is not None}
        crashed = [name for name, key in keys.items() for found in reader.attempts(key) if found.end == "crashed"]
    return [f"one slot died, and these ended as crashed: {crashed}"] if len(crashed) > 1 else []


def judged(line: dict[str, Any], state: JobState, entries: int, ended: dict[str, Any] | None) -> list[str]:
    """What is wrong with one acknowledged job."""
    name, kind = line["name"], line["kind"]
    about = f"{name} ({kind}, {state.name}, entered {entries} times)"
    if kind == "once":
        wrong = entries > 1 or not state.final or (state is JobState.SUCCEEDED and not entries)
        return [f"{about}: at most once is not kept"] if wrong else []
    if kind == "cancelled":
        return [] if state is JobState.CANCELLED else [f"{about}: it was cancelled"]
    if state is not JobState.SUCCEEDED or (not entries and kind != "command"):
        return [f"{about}: expected it to have succeeded"]
    expected: Any = {
        "saved": [0, 1, 2],
        "large": crash_jobs.LARGE // len(name) * len(name),
        "length": crash_jobs.LARGE // len("large-0") * len("large-0"),
        "length of ten": crash_jobs.LARGE // 10 * 10,
        "sent": crash_jobs.LARGE,
        "command": 0,
    }.get(kind, name)
    if ended is not None and kind != "parent" and ended["result"] != expected:
        return [f"{about}: its result is {ended['result']}, expected {expected}"]
    return []


def stored_results(folder: Path, state: Path) -> list[str]:
    """What is wrong with the results stored for acknowledged jobs, small ones in frames, large ones as blobs."""
    acked = [line for line in lines(folder, "told") if line["what"] == "acked"]
    blobs = FileBlobStore(state / "blobs", 1 << 30)
    problems = []
    with closing(JournalReader(state)) as reader:
        places = {line["name"]: reader.resolve("default", line["id"]) for line in acked}
        keys = {name: place[0] for name, place in places.items() if place is not None}
        states = reader.states(list(keys.values()))
        over = [key for key in keys.values() if states[key] is JobState.SUCCEEDED]
        results = {
            key: payload for i in range(0, len(over), 500) for key, payload in reader.results(over[i : i + 500]).items()
        }
    for line in acked:
        name = line["name"]
        if states.get(keys.get(name, JobKey(0))) is not JobState.SUCCEEDED:
            continue
        opened = open_payload(results[keys[name]])
        data = blobs.read(opened.hash) if isinstance(opened, BlobRef) else opened
        value = pickle.loads(data)
        told = {"result": len(value) if isinstance(value, bytes) else value}
        problems += judged(line, JobState.SUCCEEDED, 1, told)
    return problems
