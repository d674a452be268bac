import threading
from pathlib import Path

import pytest

from kos_ray.model.errors import KosError
from kos_ray.model.job import Spec
from kos_ray.worker.children import Family
from kos_ray.worker.context import Context, context, provide
from kos_ray.worker.voice import Progress, Voice


@pytest.fixture
def said():
    return []


@pytest.fixture
def voice(said, tmp_path):
    progress = Progress(lambda *message: said.append(message))
    yield Voice(progress, lambda *_: None, Family(None), tmp_path, Spec(), job_id="j", key=1, attempt=2)
    progress.close()


@pytest.fixture
def made(tmp_path, voice):
    made = Context(
        job_id="j",
        key=1,
        attempt=2,
        node="n",
        deadline=None,
        scratch=tmp_path / "s",
        stop_asked=lambda: True,
        voice=voice,
        restored=lambda: [1, 2],
        gang=lambda: None,
    )
    provide(lambda: made)
    yield made
    provide(None)


def test_outside_a_job_it_says_so():
    with pytest.raises(KosError, match="outside a job"):
        context()


def test_between_attempts_it_says_so():
    provide(lambda: None)
    try:
        with pytest.raises(KosError, match="outside a job"):
            context()
    finally:
        provide(None)


def test_inside_a_job_it_is_that_jobs(made):
    assert context() is made
    assert context().should_stop()


def test_scratch_is_made_when_it_is_asked_for(made, tmp_path):
    assert not (tmp_path / "s").exists()
    assert made.scratch == Path(tmp_path / "s")
    assert made.scratch.is_dir()


def test_the_logger_gets_one_handler(made):
    assert made.logger is made.logger
    assert len(made.logger.handlers) == 1


def test_the_newest_progress_is_said_and_nobody_waits():
    said, held, sending = [], threading.Event(), threading.Event()

    def send(*message):
        sending.set()
        held.wait(30)
        said.append(message)

    progress = Progress(send)
    progress.say(1, 2, 0.1, "first")
    assert sending.wait(30)
    for step in range(1_000):  # the line is stuck meanwhile
        progress.say(1, 2, step / 1_000, f"step {step}")
    held.set()
    progress.flush()
    progress.close()
    assert said == [(1, 2, 1_000, "first"), (1, 2, 9_990, "step 999")]


def test_long_messages_are_cut(made, said, voice):
    made.progress(1, "x" * 1_000)
    voice._progress.flush()
    assert said == [(1, 2, 10_000, "x" * 200)]


@pytest.mark.parametrize("fraction", [-0.1, 1.01, float("nan"), float("inf"), "0.5", None, 3 + 1j])
def test_a_fraction_that_is_none(made, fraction):
    with pytest.raises(KosError, match="expected a fraction from 0 to 1, found"):
        made.progress(fraction)


def test_after_its_end_nothing_is_said(made, voice):
    voice.over = True
    with pytest.raises(KosError, match="attempt 2 of job j is over"):
        made.progress(0.5)


def test_what_was_restored_is_loaded_once(made):
    made.restored.append(3)
    assert made.restored == [1, 2, 3]
