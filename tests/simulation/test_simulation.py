"""The rehearsal itself: a fixed batch of seeds, its determinism, and proof that it finds what is broken on purpose."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from kos_ray.engine import admission as admission_module
from kos_ray.engine import engine as engine_module
from kos_ray.engine import schedules as schedules_module
from kos_ray.model.job import AttemptEnd
from kos_ray.model.protocol import Holding
from kos_ray.model.reasons import Reason
from kos_ray.scheduler import settle as settle_module
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.schedules import Standing, Verdicts
from kos_ray.scheduler.state import State
from kos_ray.sim import __main__ as command
from kos_ray.sim.batch import Batch, run_batch
from kos_ray.sim.run import run_seed

SEEDS = range(1, 151)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return run_batch(SEEDS)


def test_every_promise_is_kept(batch: Batch) -> None:
    told = [f"make simulate SEEDS=1 FIRST_SEED={result.seed}: {result.violation}" for result in batch.failed]
    assert not told, "\n".join(told)


def test_enough_happened_to_mean_something(batch: Batch) -> None:
    assert batch.vacuous() == []
    assert set(batch.outcomes) == {"succeeded", "failed", "cancelled", "skipped", "lost"}


def test_one_seed_is_one_history() -> None:
    first, second = run_seed(7), run_seed(7)
    assert first == second
    assert first.hash
    assert run_seed(8).hash != first.hash


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_history_is_the_same_in_every_process(hash_seed: str) -> None:
    code = "from kos_ray.sim.run import run_seed; print([run_seed(seed).hash for seed in (3, 4, 5)])"
    environment = {"PYTHONHASHSEED": hash_seed, "PATH": ""}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == str([run_seed(seed).hash for seed in (3, 4, 5)])


def test_a_batch_in_which_nothing_happened_is_a_failed_batch() -> None:
    batch = Batch(seeds=100)
    told = batch.vacuous()
    assert "only 0 jobs finished in 100 seeds" in told
    assert "only 0 faults took effect in 100 seeds" in told
    assert "the failpoint engine.before_step was never reached" in told


def test_a_failure_says_how_to_replay_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Planted: what never reached its node is not sent again."""

    def forget(_state: State, _holding: Holding) -> list[object]:
        return []

    monkeypatch.setattr(engine_module, "undelivered", forget)
    assert command.main(["--seeds", "60", "--first-seed", "1", "--jobs", "1"]) == 1
    told = capsys.readouterr().out
    assert "quiet seconds" in told
    assert "replay it: make simulate SEEDS=1 FIRST_SEED=" in told
    assert "faults landed:" in told


def test_an_at_most_once_job_that_is_run_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the guarantee is not looked at when an attempt has ended."""
    monkeypatch.setattr(settle_module, "Guarantee", SimpleNamespace(AT_MOST_ONCE=None))
    failed = run_batch(range(1, 41)).failed
    assert any("an at-most-once job entered twice" in result.violation for result in failed)


def test_a_key_that_makes_two_jobs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: nobody looks whether an idempotency key is taken."""
    monkeypatch.setattr(admission_module, "known_arrays", lambda *_: {})
    assert any("a good request was refused" in result.violation for result in run_batch(range(1, 21)).failed)


def test_a_schedule_that_fires_though_it_is_paused_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a pause is noted, and not looked at."""
    real = schedules_module.judge_fires

    def heedless(standing: Standing, nominals: list[int], now_us: int) -> Verdicts:
        paused, standing.paused = standing.paused, False
        try:
            return real(standing, nominals, now_us)
        finally:
            standing.paused = paused

    monkeypatch.setattr(schedules_module, "judge_fires", heedless)
    failed = run_batch(range(1, 41)).failed
    assert any("it fires though it is paused" in result.violation for result in failed)


def test_members_that_fail_while_their_gang_is_stopped_are_not_charged() -> None:
    assert not run_seed(670).violation


def test_a_try_more_than_was_asked_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the last retry is given twice, to members of gangs alone."""
    real = settle_module._failed

    def once_more(groups: Any, state: State, job: Job, end: AttemptEnd, now_us: int) -> Any:
        if job.failures == job.entry.spec.retries and job.key in state.gang_of:
            groups.retry.append((job.key, now_us + 300_000_000, Reason.USER_ERROR))
            return None
        return real(groups, state, job, end, now_us)

    monkeypatch.setattr(settle_module, "_failed", once_more)
    failed = run_batch(range(1, 61)).failed
    assert any("tried more often than asked for" in result.violation for result in failed)


def test_exclusive_work_that_starts_before_a_lease_is_over_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a lost node is taken for dead at once."""
    monkeypatch.setattr(settle_module, "lease_over_us", lambda _lease_us: 0)
    failed = run_batch(range(111, 126)).failed
    assert any("exclusive work is entered while it runs elsewhere" in result.violation for result in failed)


def test_a_job_that_gets_no_more_memory_than_it_ran_out_of_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle_module, "more_memory", lambda *_: 0)
    failed = run_batch(range(1, 31)).failed
    assert any("no more memory than it ran out of" in result.violation for result in failed)
