"""openb on a sample: 11 nodes, 100 pods and what is drawn of them."""

from pathlib import Path
from random import Random

import pytest

from benchmarks.published.openb import Devices, Run, Runs, allocated, arrivals, rows
from kos_ray.model.job import SlotKind
from kos_ray.model.resources import UNIT, Resources
from kos_ray.rehearsal.openb import read_nodes, read_pods
from kos_ray.scheduler.fgd import gpus_of

SAMPLES = Path(__file__).parent / "data"
FOLDER = SAMPLES / "fgd-openb"


def test_the_strategy_gives_out_more_than_the_default() -> None:
    found = {
        (name, policy): round(allocated(Run(SAMPLES, name, policy, 46)), 2)
        for name in ("default", "gpuspec20")
        for policy in ("fgd", "default")
    }
    assert found == {
        ("default", "fgd"): 95.48,
        ("default", "default"): 94.67,
        ("gpuspec20", "fgd"): 89.72,
        ("gpuspec20", "default"): 82.36,
    }


def test_rows_have_the_published_figures_beside_them() -> None:
    (row,) = rows(SAMPLES, Runs(("default",), (42,), ("fgd",)), workers=1)
    assert row.name == "openb_default_fgd"
    assert row.peer == 95.227
    assert "BestFit 92.86" in row.unit
    assert row.met is (round(row.value, 2) >= 95.23)


@pytest.mark.parametrize("seed", [42, 43])
def test_what_is_asked_for_in_the_end(seed: int) -> None:

    pods = arrivals(read_pods(FOLDER / "openb_pod_list_default.csv.gz"), 30 * UNIT, Random(seed))
    asked = sum(gpus_of(pod.resources) for pod in pods)
    assert 1.3 * 30 * UNIT - UNIT <= asked <= 1.3 * 30 * UNIT + 8 * UNIT


def test_a_start_without_a_device_fails_loudly() -> None:
    nodes = read_nodes(FOLDER / "openb_node_list_gpu_node.csv.gz")
    devices, part = Devices(nodes), SlotKind(resources=Resources.of({"GPU": 0.6}))
    node = next(node for node in nodes if gpus_of(node.resources) == 2 * UNIT)
    devices.take(node.id, part)
    devices.take(node.id, part)
    with pytest.raises(AssertionError, match=r"expected a GPU with 0.6 free, found \[0.4, 0.4\]"):
        devices.take(node.id, part)
