"""A cluster's own journal: decided again, and read as a workload."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kos_ray.cli.main import app
from kos_ray.cli.shell import run_guarded
from kos_ray.journal.codec import Frame
from kos_ray.journal.store import DATABASE, Journal
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.errors import InvalidSpec, NotFound
from kos_ray.model.job import AttemptEnd
from kos_ray.model.policy import Discipline
from kos_ray.rehearsal.again import rehearse_frames
from kos_ray.rehearsal.cluster import read_cluster
from kos_ray.rehearsal.journal import read_frames, read_jobs
from kos_ray.rehearsal.read import read_policy, read_workload
from kos_ray.rehearsal.report import report_of
from kos_ray.rehearsal.workload import SECOND_US
from kos_ray.rehearsal.world import World
from kos_ray.sim.run import Simulation
from tests.scenarios.language import Play


class Written(Play):
    """A scenario whose frames are written to a journal."""

    def __init__(self, path: Path) -> None:
        self.journal = Journal.open(path)
        super().__init__({"ahead_us": 0, "idle_slot_us": 0, "discipline": "lifo"})

    def step(self, events: list[e.Event]) -> list[d.Decision]:
        decisions = super().step(events)
        self.journal.append(now_us=self.now_us, epoch=1, events=events, decisions=decisions)
        return decisions


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A night with retries, dependencies, a gang, an eviction, and jobs that never ran or are not over."""
    play = Written(tmp_path)
    for lines in (
        ["node n cpu=4", "node m cpu=2"],
        ["wait 10s", "submit a x2 cpu=1 user=ann", "submit b cpu=2 after=ok:a in=team deadline=60s"],
        ["wait 5s", "end a.0 failed ran=5s", "submit g x2 cpu=1 gang=2 single evict=never"],
        ["submit s cpu=4 band=5 evict=checkpoint grace=1s single"],
        ["wait 4s", "end a.1 succeeded ran=9s", "end g.0 succeeded ran=3s", "end g.1 succeeded ran=4s"],
        ["submit top cpu=4 band=0 single"],
        ["end s stopped ran=2s"],
        ["wait 8s", "end top succeeded ran=8s"],
        ["wait 1s", "end s succeeded ran=5s"],
        ["submit never cpu=64", "submit last cpu=1 after=any:a,any:g.0", "band last 2"],
        ["cancel never"],
        ["end last succeeded ran=1s", "submit given cpu=1 single", "submit up cpu=1 evict=checkpoint single"],
        ["cancel given", "cancel up"],
        ["end given stopped ran=6s", "end up stopped ran=7s"],
        ["lost m", "node m cpu=2", "submit open cpu=1"],
    ):
        play.do(lines)
    play.journal.close()
    return tmp_path


def test_what_came_is_read(night: Path) -> None:
    found = read_jobs(night)
    assert (found.never_ran, found.not_ended) == (2, 1)
    names = [job.name for job in found.jobs]
    assert names == ["a.0", "a.1", "g.0", "s", "top", "last", "given", "up"]
    first, second, gang, saver, top, last, given, up = found.jobs
    assert (first.at_us, first.run_us, first.user, first.after) == (0, 5 * SECOND_US, "ann", ())
    assert second.run_us == 9 * SECOND_US
    assert (gang.at_us, gang.run_us, gang.members) == (5 * SECOND_US, 4 * SECOND_US, 2)
    assert (saver.run_us, saver.spec.band) == (7 * SECOND_US, 5)
    assert (top.at_us, top.run_us) == (9 * SECOND_US, 8 * SECOND_US)
    assert (given.run_us, up.run_us) == (6 * SECOND_US, 7 * SECOND_US)
    assert (last.after, last.spec.band) == ((0, 1, 2), 2)


def test_a_night_under_another_policy(night: Path) -> None:
    told: list[str] = []
    path = str(night)
    jobs = read_workload(path, remark=told.append)
    assert told == [f"{path}: left out are 2 jobs that never ran, and 1 not over yet"]
    nodes = read_cluster(path)
    assert sorted(node.name for node in nodes) == ["m", "n"]
    policy, _ = read_policy(path)
    assert policy.discipline is Discipline.LIFO
    report = report_of(World(nodes, jobs, policy, check=True).run())
    assert (report.jobs, report.unfinished) == (8, 0)
    assert read_workload(str(night / DATABASE)) == jobs


def test_the_same_decisions_again(night: Path) -> None:
    found = rehearse_frames(read_frames(night))
    assert found.difference is None
    assert found.frames == 16
    assert found.decisions > 20
    assert found.versions == ("0",)


def ended_otherwise(frame: Frame) -> Frame:
    events = [
        replace(event, ends=(int(AttemptEnd.FAILED),)) if isinstance(event, e.AttemptsEnded) else event
        for event in frame.events
    ]
    return replace(frame, events=tuple(events))


def without_launch(frame: Frame) -> Frame:
    return replace(frame, decisions=tuple(one for one in frame.decisions if not isinstance(one, d.Launch)))


@pytest.mark.parametrize(
    ("flip", "recorded", "decided"),
    [(ended_otherwise, "Finish(", "Finish("), (without_launch, "", "Launch(")],
)
def test_one_flipped_event_gives_other_decisions(
    night: Path, flip: Callable[[Frame], Frame], recorded: str, decided: str
) -> None:
    frames = list(read_frames(night))
    flipped = [flip(frame) if number == 8 else frame for number, frame in enumerate(frames)]
    found = rehearse_frames(flipped)
    assert found.difference is not None
    assert found.frames == 9
    assert (found.difference.first_seq, found.difference.last_seq) == (frames[8].first_seq, frames[8].last_seq)
    assert found.difference.recorded.startswith(recorded)
    assert found.difference.decided.startswith(decided)
    assert found.difference.recorded != found.difference.decided


def test_the_command(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = CliRunner()
    found = runner.invoke(app, ["journal", "rehearse", "--state", str(night)])
    assert found.exit_code == 0
    assert "every decision is the same" in " ".join(found.output.split())
    for place in ("machine", "settle"):
        monkeypatch.setattr(f"kos_ray.scheduler.{place}.settle", lambda _state, _now_us: [])
    found = runner.invoke(app, ["journal", "rehearse", "--state", str(night)])
    text = " ".join(found.output.split())
    assert found.exit_code == 1
    assert "decided otherwise in frame" in text
    assert "AttemptsEnded" in text
    found = runner.invoke(app, ["journal", "rehearse", "--state", str(night), "--json"])
    assert json.loads(found.stdout)["difference"]["recorded"]


def test_where_there_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no journal"):
        list(read_frames(tmp_path))
    Journal.open(tmp_path).close()
    with pytest.raises(InvalidSpec, match="jobs that ran and ended, found none"):
        read_jobs(tmp_path)
    with pytest.raises(InvalidSpec, match="nodes have joined, found none"):
        read_cluster(str(tmp_path))
    assert run_guarded(lambda: read_cluster(str(tmp_path))) == 2


@pytest.mark.parametrize("seed", [3, 21, 82])
def test_a_simulated_history(seed: int, tmp_path: Path) -> None:
    """With lost nodes and messages, deaths of the scheduler, gangs, children and everything else."""
    simulation = Simulation(seed)
    simulation.run()
    with sqlite3.connect(tmp_path / DATABASE) as copy:
        simulation.journal.connection.backup(copy)
    copy.close()
    assert rehearse_frames(read_frames(tmp_path)).difference is None
    found = read_jobs(tmp_path)
    # an attempt that was lost with its node ran nobody knows how long: it is no run
    query = f"SELECT count(*) FROM jobs WHERE entered_us > 0 AND outcome <> {int(AttemptEnd.LOST)}"
    ran = simulation.journal.connection.execute(query).fetchone()[0]
    total = simulation.journal.connection.execute("SELECT count(*) FROM jobs").fetchone()[0]
    assert sum(job.members for job in found.jobs) >= ran > 0
    assert sum(job.members for job in found.jobs) + found.never_ran + found.not_ended == total
