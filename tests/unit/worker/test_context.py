from pathlib import Path

import pytest

from kos_ray.model.errors import KosError
from kos_ray.worker.context import Context, context, provide


@pytest.fixture
def made(tmp_path):
    made = Context(
        job_id="j", key=1, attempt=2, node="n", deadline=None, scratch=tmp_path / "s", stop_asked=lambda: True
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
