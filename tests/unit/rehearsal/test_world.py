"""Rehearsals that can be worked out by hand."""

from pathlib import Path

import pytest
from small_worlds import ends, job, rehearse, report, starts

from kos_ray.plugins.samples import ShortestJobFirst
from kos_ray.rehearsal import world
from kos_ray.rehearsal.advised import PluginFailed
from kos_ray.rehearsal.cluster import read_cluster
from kos_ray.rehearsal.read import read_workload
from kos_ray.rehearsal.report import PARTS, jain
from kos_ray.rehearsal.world import START_US, World
from kos_ray.scheduler.machine import step
from tests.installed import install_entry_points


def test_fifo_on_one_node_by_hand() -> None:
    """Three jobs of a whole node, one after the other: 0-10, 10-14, 14-15."""
    jobs = (job(0, 10, cpu=4), job(1, 4, cpu=4), job(2, 1, cpu=4))
    record = rehearse("1x4cpu", *jobs, policy="scheduler_mode=fifo")
    assert starts(record) == [0, 10, 14]
    assert ends(record) == [10, 14, 15]
    found = report("1x4cpu", *jobs, policy="scheduler_mode=fifo")
    assert found.makespan_s == 15
    assert (found.wait_s.mean, found.wait_s.median, found.wait_s.max) == (7, 9, 12)
    assert found.completion_s.mean == pytest.approx(12, abs=1e-6)
    assert found.utilisation == {"CPU": 1.0}
    # 10/10, 13/10 and 13/10: short jobs count as ten seconds
    assert found.slowdown.max == 1.3
    assert found.slowdown.mean == 1.2


def test_two_run_beside_each_other() -> None:
    found = report("1x2cpu", job(0, 10), job(0, 10), job(0, 5))
    assert found.makespan_s == 15
    assert found.utilisation["CPU"] == pytest.approx(25 / 30, abs=1e-6)
    assert found.timeline[: PARTS * 2 // 3] == (1.0,) * (PARTS * 2 // 3)
    assert found.timeline[PARTS * 2 // 3 :] == (0.5,) * (PARTS // 3)


def test_backfill_needs_declared_run_times() -> None:
    """A short job goes before a wide one that cannot start yet, where it says that it is over in time."""
    wide = (job(0, 10), job(1, 10, cpu=2))
    assert starts(rehearse("1x2cpu", *wide, job(2, 5))) == [0, 10, 2]
    assert starts(rehearse("1x2cpu", *wide, job(2, 5, declared=False))) == [0, 10, 20]


def test_backfill_takes_what_is_left_over_when_the_head_starts() -> None:
    """Three of four CPUs are the head's from 10 s on: the fourth is free for as long as one likes, and for one job."""
    wide = (job(0, 10, cpu=2), job(1, 10, cpu=3))
    assert starts(rehearse("1x4cpu", *wide, job(2, 100), job(3, 100))) == [0, 10, 2, 20]
    assert starts(rehearse("1x4cpu", *wide, job(2, 100), job(3, 7))) == [0, 10, 2, 3]
    assert starts(rehearse("1x4cpu", *wide, job(2, 100, cpu=2))) == [0, 10, 20]


def test_gangs_backfill_whole() -> None:
    """Two members on one node, over before the head's turn, or beside it; or else behind it."""
    head = (job(0, 10, cpu=2), job(1, 10, cpu=4))
    assert starts(rehearse("1x4cpu", *head, job(2, 8, members=2))) == [0, 10, 2]
    assert starts(rehearse("1x4cpu", *head, job(2, 9, members=2))) == [0, 10, 20]
    assert starts(rehearse("1x5cpu", job(0, 10, cpu=3), job(1, 10, cpu=3), job(2, 99, members=2))) == [0, 10, 2]


def test_children_wait_for_their_parents() -> None:
    record = rehearse("1x4cpu", job(0, 3), job(0, 5), job(0, 2, after=(0, 1)), job(20, 1, after=(2,)))
    assert starts(record) == [0, 0, 5, 20]
    found = report("1x4cpu", job(0, 3), job(0, 5), job(0, 2, after=(0, 1)))
    assert found.wait_s.max == 0  # it was not ready before


def test_a_gang_starts_whole() -> None:
    record = rehearse("2x2cpu", job(0, 10), job(1, 6, cpu=2, members=2))
    assert starts(record) == [0, 10]
    assert ends(record) == [10, 16]


def test_an_eviction_loses_work_unless_it_was_saved() -> None:
    """A critical job comes at 30 s; the victim has a second of grace, and then does all again."""
    critical = job(30, 10, band=0)
    found = report("1x1cpu", job(0, 60), critical)
    assert (found.preemptions, found.attempts) == (1, 3)
    assert found.work_lost == {"CPU": 31.0}
    assert found.bands["critical"].wait_s.max == 1
    assert found.makespan_s == 101
    saved = report("1x1cpu", job(0, 60, saves=True), critical)
    assert (saved.preemptions, saved.work_lost, saved.makespan_s) == (1, {}, 70)
    assert saved.bands["critical"].wait_s.max == 0


def test_deadlines_and_namespaces() -> None:
    jobs = (
        job(0, 100, namespace="a", deadline_us=100_000_000),
        job(0, 100, namespace="b", deadline_us=150_000_000),
    )
    found = report("1x1cpu", *jobs)
    assert (found.deadlines, found.deadlines_met) == (2, 1)
    assert found.jain == jain([1.0, 2.0]) == 0.9
    assert [one.dominant_share for one in found.namespaces.values()] == [0.5, 0.5]


def test_deadlines_count_from_the_arrival() -> None:
    """Ends at 100, 200 and 300 s; the last two are due at 200 and 299 s."""
    jobs = (job(0, 100), job(50, 100, deadline_us=150_000_000), job(60, 100, deadline_us=239_000_000))
    found = report("1x1cpu", *jobs)
    assert (found.deadlines, found.deadlines_met) == (2, 1)


def test_what_never_fits_is_left_over() -> None:
    found = report("1x4cpu", job(0, 1), job(0, 1, cpu=8))
    assert (found.jobs, found.succeeded, found.unfinished) == (2, 1, 1)


def test_fragmentation_by_hand() -> None:
    """Of two GPUs free on two nodes, none is of use to jobs of two: all is fragmented while the first pair runs."""
    jobs = (job(0, 100, gpu=1), job(0, 100, gpu=1), *(job(90, 0.01, gpu=2) for _ in range(50)))
    found = report("2x4cpu2gpu", *jobs, policy="strategy=spread")
    assert found.main == "GPU"
    assert found.fragmentation == pytest.approx(1.0, abs=0.05)
    assert report("2x4cpu2gpu", *jobs, policy="strategy=pack").fragmentation == pytest.approx(0.0, abs=0.05)


def test_short_jobs_take_turns_in_slots() -> None:
    """Attempts that are queued ahead at a node run one after the other, not all at once."""
    record = rehearse("1x2cpu", *(job(0, 0.01, declared=False) for _ in range(100)))
    assert ends(record)[-1] == pytest.approx(0.5, abs=0.02)
    assert report("1x2cpu", *(job(0, 0.01) for _ in range(100))).utilisation["CPU"] <= 1


def test_what_waits_behind_a_long_attempt_is_taken_back() -> None:
    """Jobs that were measured as short are sent ahead; one of them turns out long, and the others run elsewhere."""
    lengths = [0.002] * 60 + [20] + [0.002] * 60
    jobs = [job(0, length, declared=False) for length in lengths]
    record = rehearse("2x1cpu", *jobs)
    assert max(end for end, length in zip(ends(record), lengths, strict=True) if length < 1) < 1
    assert record.attempts == len(jobs)  # none ran twice
    assert ends(record)[60] < 21


def test_a_spec_is_told_once() -> None:
    """What is told again is measured anew, and its live jobs are counted from 0."""
    world = World(read_cluster("1x2cpu"), [job(0, 1), job(0, 1), job(0, 2)])
    told = [len(event.new_specs) for event in world._arrivals(START_US)]
    assert told == [1, 0, 1]


def test_a_plugin_orders_jobs_as_it_does_live() -> None:
    jobs = (job(0, 10), job(1, 9), job(2, 5), job(2, 7))
    record = rehearse("1x1cpu", *jobs, policy="scheduler_mode=plugin:shortest_job_first")
    assert starts(record) == [0, 22, 10, 15]


def test_a_plugin_that_raises_ends_the_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShortestJobFirst, "schedule", lambda *_: "first")
    with pytest.raises(PluginFailed, match="the plug-in shortest_job_first raised TypeError: expected of schedule"):
        rehearse("1x1cpu", job(0, 10), policy="scheduler_mode=plugin:shortest_job_first")


def test_a_graph_is_ordered_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the first job, longest first takes ten seconds on two CPUs: 5 + 3, 4 + 3 + 3. Nine are enough."""
    install_entry_points(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    jobs = (job(0, 1, cpu=2), *(job(0, run_s, after=(0,)) for run_s in (5, 4, 3, 3, 3)))
    assert max(ends(rehearse("1x2cpu", *jobs, policy="scheduler_mode=dependency_graph"))) == 11
    assert max(ends(rehearse("1x2cpu", *jobs, policy="scheduler_mode=plugin:graph_search"))) == 10
    behind = (job(0, 4), job(0, 4), job(0, 2), job(0, 6, after=(2,)))
    found = starts(rehearse("1x2cpu", *behind, policy="scheduler_mode=plugin:graph_search"))
    assert found[2:] == [0, 2], "what waits behind the short one is known before it starts"


def test_what_was_queued_ahead_stays_there_though_somebody_older_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Last in, first out: a short job goes to the slot's queue before the older long one, and is not asked back."""
    passes = iter(range(1_000))
    monkeypatch.setattr(world, "step", lambda *given: next(passes) >= 0 and step(*given))
    jobs = (job(0, 0.01), job(0.02, 0.01), job(0.021, 5), job(0.022, 0.01))
    record = rehearse("1x1cpu", *jobs, policy="scheduler_mode=lifo")
    assert starts(record) == [0, 0.02, 0.04, 0.03]
    assert record.attempts == len(jobs)


def test_learnt_run_times_let_short_jobs_pass(tmp_path: Path) -> None:
    """Nobody declares anything; what was learnt of the first ones lets later ones into the gaps before wide jobs."""
    file = tmp_path / "w.yaml"
    file.write_text("""\
streams:
  - {name: short, jobs: 300, arrivals: {poisson: 20/1m}, run_time: {lognormal: {median: 20s, sigma: 0.5}},
     declared: none}
  - {name: long, jobs: 30, arrivals: {poisson: 2/1m}, run_time: {lognormal: {median: 5m, sigma: 0.3}},
     resources: {cpu: 4}, declared: none}
  - {name: wide, jobs: 12, arrivals: {poisson: 1/1m}, run_time: {lognormal: {median: 2m, sigma: 0.3}},
     resources: {cpu: 16}, declared: none}
""")
    jobs = read_workload(str(file), seed=2)
    learnt, unlearnt = (report("4x16cpu", *jobs, policy=f"learn_run_times={on}") for on in ("true", "false"))
    assert learnt.wait_s.mean < 0.7 * unlearnt.wait_s.mean
    assert learnt.unfinished == unlearnt.unfinished == 0
