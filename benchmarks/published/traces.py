"""Traces of training jobs with gangs (Philly) and the NASA iPSC log, beside EASY and SJF with exact run times."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.published.data import rehearsed, table
from benchmarks.report import Row
from kos_ray.rehearsal.cluster import read_cluster
from kos_ray.rehearsal.read import read_workload

#: the reference's policy, and ours beside it. Its SJF has no bound of waiting, so ours has none either
POLICIES = {"easy": "default", "sjf_backfill": "scheduler_mode=plugin:shortest_job_first aging=0"}
#: what the instants of the NASA log's arrivals are multiplied by; at 0.5 the load is above 1
_SCALES = (1.0, 0.7, 0.6)


def rows(data: Path) -> Iterator[Row]:
    """All of them."""
    yield from gangs(data)
    yield from nasa(data)


def gangs(data: Path) -> Iterator[Row]:
    """By trace of gangs: mean completion and longest wait of each policy."""
    folder = data / "gpu-gang-traces"
    for found in table(folder / "reference_computed.csv"):
        policy = POLICIES.get(found["policy"])
        if policy is None:
            continue
        jobs = read_workload(str(folder / found["file"]))
        report, _ = rehearsed(read_cluster(f"1x{found['pool_gpus']}gpu"), jobs, policy)
        name = f"{found['file'].partition('.')[0]}_{found['policy'].partition('_')[0]}"
        yield _row(f"{name}_completion", report.completion_s.mean, found["mean_jct_s"])
        yield _row(f"{name}_longest_wait", report.wait_s.max, found["max_wait_s"])


def nasa(data: Path) -> Iterator[Row]:
    """Of the NASA log, by how close arrivals are: mean and longest wait."""
    folder = data / "swf-nasa-ipsc"
    for found in table(folder / "reference_computed.csv"):
        scale = float(found["arrival_scale"])
        if found["policy"] != "easy" or scale not in _SCALES:
            continue
        jobs = read_workload(str(folder / "NASA-iPSC-1993-oct-nov.swf.gz"), arrival_scale=scale)
        report, _ = rehearsed(read_cluster("1x128cpu"), jobs, POLICIES["easy"])
        yield _row(f"nasa_{scale:g}_wait", report.wait_s.mean, found["mean_wait_s"])
        yield _row(f"nasa_{scale:g}_longest_wait", report.wait_s.max, found["max_wait_s"])


def _row(name: str, mine: float, theirs: str) -> Row:
    """Ours is to be no more than theirs, to as many digits as theirs has."""
    digits, peer = len(theirs.partition(".")[2]), float(theirs)
    met = round(mine, digits) <= peer
    return Row(name=name, value=mine, unit="s", peer=peer, ratio=mine / peer, goal="<= 1x", met=met)
