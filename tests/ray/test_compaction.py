"""Retention while the scheduler runs, and its death behind it."""

import os
import signal
import sys
import time

import cloudpickle
import pytest

from kos_ray.journal.verify import verify
from kos_ray.model.errors import NotFound
from kos_ray.runtime import audit
from tests.ray.conftest import KosCluster
from tests.ray.test_deaths import scheduler_pid

pytestmark = pytest.mark.ray


def double(number: int) -> int:
    return 2 * number


def test_the_live_scheduler_compacts_and_its_next_life_goes_on(kos: KosCluster) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    over = kos.client.map(double, range(2_000))
    assert over.results(120) == [2 * i for i in range(2_000)]
    first = kos.client.submit(double, 1)
    held = kos.client.submit(double, first, after=[first], resources={"cpu": 99})
    assert first.result(60) == 2
    now_us = time.time_ns() // 1_000
    dry = audit.compact(kos.state_dir, now_us, dry=True)
    done = audit.compact(kos.state_dir, now_us, dry=False)
    assert dry is not None
    assert done is not None
    assert done.jobs == dry.jobs == 2_000
    assert verify(kos.state_dir).good
    assert kos.client.job(first.id).result(60) == 2, "a job that is not over waits for it"
    with pytest.raises(NotFound, match="retention removed"):
        kos.client.job(over.id)
    assert kos.client.submit(double, 21).result(60) == 42
    pid, epoch = scheduler_pid()
    os.kill(pid, signal.SIGKILL)
    assert kos.client.submit(double, 4).result(120) == 8
    assert scheduler_pid()[1] == epoch + 1
    assert kos.client.cancel([held.id]) == 1
    assert verify(kos.state_dir).good
