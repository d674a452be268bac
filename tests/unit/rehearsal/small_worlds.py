"""Small workloads for rehearsals, in a line each."""

from kos_ray.model.job import Eviction, Spec
from kos_ray.model.policy import Policy, changed
from kos_ray.model.resources import Resources
from kos_ray.rehearsal.cluster import read_cluster
from kos_ray.rehearsal.record import Record
from kos_ray.rehearsal.report import Report, report_of
from kos_ray.rehearsal.workload import ENTRY, SECOND_US, VirtualJob
from kos_ray.rehearsal.world import World
from kos_ray.spec.policies import parse_words


def job(at_s: float, run_s: float, *, cpu: float = 1, gpu: float = 0, band: int = 3, saves: bool = False, **more):
    """A job of `cpu` CPUs that comes at `at_s` and declares its run time."""
    resources = Resources.of({name: units for name, units in (("CPU", cpu), ("GPU", gpu)) if units})
    spec = Spec(
        type="test",
        entry=ENTRY,
        resources=resources,
        band=band,
        run_ms=round(run_s * 1_000) if more.pop("declared", True) else 0,
        namespace=more.pop("namespace", "default"),
        eviction=Eviction.CHECKPOINT if saves else Eviction.REQUEUE,
        grace_ms=1_000,
        single_use=more.get("members", 1) > 1,
    )
    return VirtualJob(name="", at_us=round(at_s * SECOND_US), run_us=round(run_s * SECOND_US), spec=spec, **more)


def rehearse(cluster: str, *jobs: VirtualJob, policy: str = "") -> Record:
    wanted = changed(Policy(), parse_words(policy.split())) if policy else None
    return World(read_cluster(cluster), jobs, wanted, check=True).run()


def report(cluster: str, *jobs: VirtualJob, policy: str = "") -> Report:
    return report_of(rehearse(cluster, *jobs, policy=policy))


def starts(record: Record) -> list[float]:
    """When each job started, in seconds."""
    return [(times.start_us - record.start_us) / SECOND_US for times in record.times]


def ends(record: Record) -> list[float]:
    return [(times.end_us - record.start_us) / SECOND_US for times in record.times]
