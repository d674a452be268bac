"""`kos schedule` on a cluster: the real client and engine, without Ray between them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
from fake_cluster import Kos

from kos_ray.cli import event, jobs, schedules
from kos_ray.client.emitting import Emitting
from kos_ray.engine.inbox import OccasionsWish
from kos_ray.engine.schedule_plain import plain_of, wish_of
from kos_ray.intake.plugins import Lines
from kos_ray.model.errors import Refused
from kos_ray.model.occasion import Occasion, OccasionsNoted
from kos_ray.model.views import EventView
from kos_ray.model.wire import from_plain, to_plain
from tests.installed import install_entry_points
from tests.unit.engine.engine_build import Hands

#: 2026-03-02T00:00Z, a Monday
NOW_US = 1_772_409_600_000_000


class Near:
    """A connection to an engine in this process."""

    address = "here"

    def __init__(self) -> None:
        self.hands = Hands(now_us=NOW_US)

    def ask_scheduler(self, method: str, *data: bytes) -> bytes:
        if method == "schedules":
            found: Any = [plain_of(one) for one in self.hands.engine.state.schedules.by_key.values()]
            return bytes(msgpack.packb(found))
        plain = msgpack.unpackb(data[0], use_list=False)
        wish: Any = wish_of(plain) if method == "schedule" else None
        if method == "emit":
            wish = OccasionsWish(tuple(from_plain(Occasion, one) for one in plain["occasions"]), plain["by"])
        self.hands.engine.wish(wish, self.hands.answers.append)
        self.hands.tick()
        if isinstance(self.hands.answers[-1], Refused):
            raise self.hands.answers[-1]
        return bytes(msgpack.packb(self.hands.answers[-1]))


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> Near:
    connection = Near()

    @contextmanager
    def open_client(_address: str | None, namespace: str) -> Iterator[Emitting]:
        yield Emitting(connection, namespace)  # type: ignore[arg-type]

    monkeypatch.setattr(schedules, "open_client", open_client)
    for module in (jobs, event):
        monkeypatch.setattr(module, "open_client", open_client)
    monkeypatch.setattr(schedules, "now_us", lambda: connection.hands.time_us)
    return connection


def test_a_schedule_from_its_beginning_to_its_end(kos: Kos, near: Near) -> None:
    add = ("schedule", "add", "nightly", "every day at 2:30", "--tz", "Europe/Berlin", "--run", "true")
    assert kos(*add)[2] == "nightly fires next at 2026-03-02T02:30:00+01:00\n"
    assert kos(*add, "--json")[0] == 0, "the same again changes nothing"
    code, _, err = kos(*add, "--jitter", "5m")
    assert (code, "--replace" in err) == (2, True)
    assert kos(*add, "--jitter", "5m", "--overlap", "buffer_all", "--replace")[0] == 0
    (row,) = json.loads(kos("schedule", "ls", "--json")[1])["schedules"]
    assert (row["name"], row["jitter_us"], row["overlap"], row["runs"]) == (
        "nightly",
        300_000_000,
        "buffer_all",
        "sh -c true",
    )
    assert kos("schedule", "pause", "nightly", "--note", "holidays")[0] == 0
    assert "paused: holidays" in kos("schedule", "ls")[1]
    assert kos("schedule", "resume", "nightly")[0] == 0
    panel = kos("schedule", "get", "nightly")[1]
    assert "every day at 2:30  (At 02:30)" in panel
    assert "2026-03-02T02:30:00+01:00" in panel
    assert kos("schedule", "rm", "nightly")[0] == 0
    assert kos("schedule", "ls")[2] == "no schedules\n"
    assert kos("schedule", "get", "nightly")[0] == 4


def test_started_by_hand(kos: Kos, near: Near) -> None:
    kos("schedule", "add", "noon", "every day at noon", "--entry", "module:function")
    assert kos("schedule", "trigger", "noon")[1].startswith("noon@2026-03-02T00:00:00.")
    stretch = ("schedule", "backfill", "noon", "--from", "2026-02-27", "--to", "2026-03-01T13:00")
    code, out, err = kos(*stretch, "--dry-run")
    assert (code, out.split(), err) == (
        0,
        [f"2026-{day}T12:00:00+00:00" for day in ("02-27", "02-28", "03-01")],
        "3 would be started, 0 have a job already\n",
    )
    assert len(near.hands.engine.state.jobs) == 1
    kos(*stretch)
    assert kos(*stretch)[2] == "0 are started, 3 have a job already\n"
    assert [job.entry.spec.band for job in near.hands.engine.state.jobs.values()] == [3, 5, 5, 5]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("every day",), "expected one of --run, --entry and --file"),
        (("every dat", "--run", "true"), "schedule a: expected a day of the week, found 'dat'"),
        (("every day", "--run", "true", "--overlap", "both"), "overlap: expected one of skip, buffer_one"),
        (("every day", "--run", "true", "--jitter", "soon"), "schedule a: expected"),
        (("every day", "--run", "true", "--tz", "Mars"), "expected a time zone"),
    ],
)
def test_what_is_wrong_is_said(kos: Kos, near: Near, words: tuple[str, ...], said: str) -> None:
    code, _, err = kos("schedule", "add", "a", *words)
    assert (code, said in err) == (2, True), err
    assert not near.hands.engine.state.schedules.by_key


def test_a_document_is_set_and_applied(kos: Kos, near: Near, tmp_path: Path) -> None:
    path = tmp_path / "night.yaml"
    path.write_text(
        "- {id: a, run: x, schedule: every day at 2:30}\n- {kind: schedule, name: b, when: daily, job: {run: y}}"
    )
    code, _, err = kos("submit", str(path))
    assert (code, err.splitlines()) == (
        0,
        ["a fires next at 2026-03-02T02:30:00+00:00", "b fires next at 2026-03-03T00:00:00+00:00"],
    )
    path.write_text("{id: a, run: x, schedule: {when: every day at 3:30, tz: Europe/Berlin}}")
    code, _, err = kos("submit", str(path))
    assert (code, "--replace" in err) == (2, True)
    code, out, _ = kos("schedule", "apply", str(path), "--json")
    (one,) = json.loads(out)["schedules"]
    assert (one["name"], one["rules"], one["timezone"]) == ("a", ["every day at 3:30"], "Europe/Berlin")
    path.write_text("run: x")
    code, _, err = kos("schedule", "apply", str(path))
    assert (code, "expected a schedule, found a job" in err) == (2, True)


def test_events_from_the_command_line(kos: Kos, near: Near) -> None:
    add = ("schedule", "add", "paid", "--on", "order.*", "--where", "total > 100", "--run", "true")
    assert kos(*add) == (0, "", "paid starts for its events from now on\n")
    assert "on order.* where total > 100" in kos("schedule", "ls")[1]
    assert "on order.* where total > 100" in kos("schedule", "get", "paid")[1]
    emit = ("event", "emit", "order.paid", "--data", '{"total": 120}', "--key", "c7", "--id", "one")
    assert json.loads(kos(*emit, "--json")[1]) == {"name": "order.paid", "id": "one", "new": True}
    assert kos(*emit)[2] == "one was heard before: nothing happens\n"
    kos("event", "emit", "order.paid", "--data", '{"total": 99}')
    assert len(near.hands.engine.state.jobs) == 1
    code, _, err = kos("event", "emit", "order.paid", "--data", "{")
    assert (code, "expected JSON" in err) == (2, True)
    code, _, err = kos("schedule", "add", "x", "daily", "--on", "a", "--run", "true")
    assert (code, "expected either events or times" in err) == (2, True)
    (noted, *_) = [one for frame in near.hands.journal.frames() for one in frame.events if type(one) is OccasionsNoted]
    view = EventView(seq=1, at_us=1, epoch=1, kind="OccasionsNoted", detail=to_plain(noted))
    (one,) = event.told(view, "default")
    assert (one["name"], one["key"], one["data"]) == ("order.paid", "c7", {"total": 120})
    assert event.told(view, "other") == []


def test_nobody_serves_without_a_secret(kos: Kos, near: Near) -> None:
    code, _, err = kos("event", "serve")
    assert (code, "expected --secret-file" in err) == (2, True)


SOURCES = """
class Twice:
    def __init__(self, word): self.word = word
    def run(self, emit):
        for _ in range(2): emit("said", {"word": self.word}, id="one")
class Idle: pass
class Broken:
    def __init__(self): raise ValueError("no device")
"""


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plug-ins, as installed packages leave them."""
    (tmp_path / "sources_of_tests.py").write_text(SOURCES)
    names = [f"{name.lower()} = sources_of_tests:{name}" for name in ("Twice", "Idle", "Broken")]
    install_entry_points(tmp_path, "\n".join(["[kos_ray.event_sources]", *names]))
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("sources")
def test_an_event_source_of_somebody_else(kos: Kos, near: Near) -> None:
    kos("schedule", "add", "said", "--on", "said", "--where", "word == hello", "--run", "true")
    assert kos("event", "plugin", "twice", "hello")[:2] == (0, "listening: twice\n")
    assert len(near.hands.engine.state.jobs) == 1
    for words, said in (
        (("nobody",), "found 'nobody'; installed: "),
        (("idle",), "with the method run"),
        (("broken",), "cannot be made: ValueError: no device"),
        (("twice",), "cannot be made: TypeError"),
    ):
        code, _, err = kos("event", "plugin", *words)
        assert (code, said in err) == (2, True), err


def test_the_sample_tells_each_line_once(near: Near, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a\nb\na\n")
    client = Emitting(near, "default")  # type: ignore[arg-type]
    for _ in range(2):
        Lines(str(tmp_path / "log"), "line").run(client.emit)
    noted = [one for frame in near.hands.journal.frames() for one in frame.events if type(one) is OccasionsNoted]
    texts = [json.loads(one.data)["text"] for event in noted for one in event.occasions]
    assert texts == ["a", "b", "a"]
