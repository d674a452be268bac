"""What a job says and asks while it runs, on a real cluster."""

from pathlib import Path

import pytest
import said

from kos_ray.observe.tables import job_table
from tests.ray.conftest import CODE, KosCluster, wait_until

pytestmark = pytest.mark.ray


def test_progress_is_seen_while_the_job_runs(kos: KosCluster, tmp_path: Path) -> None:
    """The view, the list and whoever watches have it before the job ends."""
    job = kos.client.submit(said.half_way, str(tmp_path), name="half-way", code=CODE)
    seen = next(view for views in kos.client.watch(["half-way"], 120) for view in views if view.progress is not None)
    assert (seen.progress, seen.progress_text) == (0.5, "epoch 5 of 10")
    assert job.status.progress == 0.5
    assert any("50 %: epoch 5 of 10" in row for row in job_table(kos.client.jobs(), 0, 10_000).rows)
    wait_until(lambda: job.state == "running")
    (tmp_path / "seen").touch()
    assert job.result(60) == "done"
