"""Clusters, workloads and policies as people write them, and what they are told when they write them wrong."""

import gzip
from pathlib import Path

import pytest

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.policy import Discipline
from kos_ray.rehearsal.cluster import read_cluster
from kos_ray.rehearsal.psplib import read_projects
from kos_ray.rehearsal.read import read_policy, read_workload
from kos_ray.rehearsal.report import report_of
from kos_ray.rehearsal.world import World

EXAMPLE = str(Path(__file__).parents[3] / "configs/examples/rehearsal.yaml")
SWF = """\
; MaxProcs: 128
; Note: a few lines of a log
1 0 -1 1451 128 -1 -1 -1 2000 -1 -1 1 1 -1 -1 -1 -1 -1
3 20 -1 0 -1 -1 -1 64 -1 -1 -1 4 1 -1 -1 -1 -1 -1
2 10 -1 10 1 -1 -1 -1 -1 -1 -1 -1 1 -1 -1 -1 -1 -1
4 30 -1 -1 8 -1 -1 -1 -1 -1 -1 4 5 -1 -1 -1 -1 -1
"""


def test_clusters_in_short_and_in_a_file(tmp_path: Path) -> None:
    nodes = read_cluster("2x64cpu8gpu256GiB,1x4cpu")
    assert [node.resources.as_units() for node in nodes] == [
        *[{"CPU": 64, "GPU": 8, "memory": 256 * 2**30}] * 2,
        {"CPU": 4},
    ]
    assert len({node.id for node in nodes}) == 3
    file = tmp_path / "c.yaml"
    file.write_text("nodes:\n  - {count: 2, cpu: 64, memory: 1GiB, fpga: 2, labels: {zone: a}}\n")
    found = read_cluster(str(file))
    assert found[1].resources.as_units() == {"CPU": 64, "fpga": 2, "memory": 2**30}
    assert dict(found[0].labels)["zone"] == "a"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("many", "--cluster: expected nodes such as 100x64cpu8gpu"),
        ("0x4cpu", "--cluster: expected 1 to 1000000 nodes, found 0"),
        ("1x4furlongs", "the unit 'furlongs'"),
        ("1x0cpu", "found one that has nothing"),
    ],
)
def test_wrong_clusters_say_so(text: str, expected: str) -> None:
    with pytest.raises(InvalidSpec, match=expected):
        read_cluster(text)


def test_wrong_cluster_files_name_the_line(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("nodes:\n  - {cpu: 4}\n  - {cpu: much}\n")
    with pytest.raises(InvalidSpec, match=r"c\.yaml:3: nodes\[1\]: cpu: expected a number such as 1 or 0.5"):
        read_cluster(str(file))


def test_synthetic_jobs_are_drawn_from_the_seed() -> None:
    first, again, other = (read_workload(EXAMPLE, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == 252
    assert [job.at_us for job in first] == sorted(job.at_us for job in first)
    notebooks = [job for job in first if job.spec.type == "notebooks"]
    gaps = notebooks[-1].at_us / len(notebooks) / 1_000_000
    assert 8 < gaps < 12.5  # six a minute
    assert {job.members for job in first if job.spec.type == "training"} == {4}
    assert {job.spec.run_ms for job in first if job.spec.type == "reports"} == {0}
    assert all(60 <= job.run_us / 1e6 <= 300 for job in first if job.spec.type == "reports")


def test_a_further_stream_changes_nothing_of_the_others(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(Path(EXAMPLE).read_text() + "  - {name: more, jobs: 5, run_time: 1s}\n")
    more = [job for job in read_workload(str(file), seed=3) if job.spec.type != "more"]
    assert more == list(read_workload(EXAMPLE, seed=3))


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("{jobs: 1}", r"w\.yaml:2: streams\[0\]: expected 'run_time' in every stream"),
        ("{jobs: 1, run_tme: 1s}", r"w\.yaml:2: streams\[0\]\.run_tme: .*did you mean \"run_time\""),
        ("{jobs: 0, run_time: 1s}", "expected a number of jobs from 1"),
        ("{jobs: 1, run_time: soon}", r"streams\[0\]\.run_time: expected a time"),
        ("{jobs: 1, run_time: {normal: 3}}", "expected one of exponential, lognormal, uniform, found normal"),
        ("{jobs: 1, run_time: {uniform: [2s, 1s]}}", "uniform: expected two times"),
        ("{jobs: 1, run_time: 1s, arrivals: {poisson: often}}", "poisson: expected a rate such as 10/1m"),
        ("{jobs: 1, run_time: 1s, resources: [{cpu: 1, weight: -1}]}", "expected a number from 0"),
        ("{jobs: 1, run_time: 1s, priority: huge}", r"streams\[0\]\.priority: expected one of critical"),
    ],
)
def test_wrong_streams_name_the_line(tmp_path: Path, stream: str, expected: str) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(f"streams:\n  - {stream}\n")
    with pytest.raises(InvalidSpec, match=expected):
        read_workload(str(file))


def test_swf(tmp_path: Path) -> None:
    """Jobs that never ran are left out; processors asked for stand in for those that are not known."""
    file = tmp_path / "log.swf.gz"
    file.write_bytes(gzip.compress(SWF.encode()))
    jobs = read_workload(str(file), arrival_scale=0.5)
    assert [(job.name, job.at_us, job.run_us, job.spec.run_ms, job.user) for job in jobs] == [
        ("1", 0, 1_451_000_000, 2_000_000, "u1"),
        ("2", 5_000_000, 10_000_000, 10_000, ""),
        ("3", 10_000_000, 0, 1, "u4"),
    ]
    assert [job.spec.resources.as_units() for job in jobs] == [{"CPU": 128}, {"CPU": 1}, {"CPU": 64}]
    assert {job.spec.run_ms for job in read_workload(str(file), declared=False)} == {0}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1 2 3", r"log\.swf:2: expected 18 columns .*, found 3"),
        ("1 x" + " -1" * 16, r"log\.swf:2: column 2: expected a number from -1 on, found 'x'"),
        ("1 -1" + " -1" * 16, r"log\.swf:2: column 2: expected a submit time of 0 or more"),
        ("; nothing", r"log\.swf:1: expected at least one job that ran, found none"),
    ],
)
def test_wrong_logs_name_the_line(tmp_path: Path, line: str, expected: str) -> None:
    file = tmp_path / "log.swf"
    file.write_text(f"; a log\n{line}\n")
    with pytest.raises(InvalidSpec, match=expected):
        read_workload(str(file))


def test_gang_traces(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("job_id,arrival_s,gpus,duration_v100_s,job_type\n7,20.5,4,100.5,a\n8,3,1,10,b\n9,4,2,,c\n")
    jobs = read_workload(str(file))
    assert [(job.name, job.at_us, job.members, job.run_us, job.spec.run_ms) for job in jobs] == [
        ("8", 3_000_000, 1, 10_000_000, 10_000),
        ("7", 20_500_000, 4, 100_500_000, 100_500),
    ]
    found = report_of(World(read_cluster("2x4gpu"), jobs, check=True).run())
    assert (found.makespan_s, found.jobs, found.attempts) == (121, 2, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", r"t\.csv:1: expected a column arrival_s or submit_time, found none"),
        ("arrival_s,gpus\n", r"t\.csv:1: expected a column duration_s or"),
        ("arrival_s,gpus,duration\n1,2\n", r"t\.csv:2: expected 3 columns, found 2"),
        ("arrival_s,gpus,duration\n1,2,3\n1,2,soon\n", r"t\.csv:3: duration: expected a number of 0 or more"),
        ("arrival_s,gpus,duration\n1,0.5,3\n", r"t\.csv:2: gpus: expected a whole number from 1"),
        ("arrival_s,gpus,duration\n1,2,\n", r"t\.csv:1: expected at least one job with a duration"),
    ],
)
def test_wrong_traces_name_the_line(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "t.csv"
    file.write_text(text)
    with pytest.raises(InvalidSpec, match=expected):
        read_workload(str(file))


def test_a_recorded_workflow() -> None:
    """Between the bounds of any schedule that leaves nobody idle: the critical path, and Graham's."""
    jobs = read_workload(str(Path(EXAMPLE).parent / "montage-chameleon-2mass-005d-001.json"))
    assert (len(jobs), sum(len(job.after) for job in jobs)) == (58, 114)
    chains: list[float] = []
    for job in jobs:
        assert all(parent < len(chains) for parent in job.after)
        chains.append(job.run_us / 1e6 + max((chains[parent] for parent in job.after), default=0))
    work = sum(job.run_us for job in jobs) / 1e6
    found = report_of(World(read_cluster("1x4cpu"), jobs, check=True).run())
    assert {job.spec.resources.as_units()["CPU"] for job in jobs} == {1}
    assert max(*chains, work / 4) <= found.makespan_s <= max(chains) + (work - max(chains)) / 4


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="expected a workload"):
        read_workload("log.txt")
    with pytest.raises(InvalidSpec, match="cannot be read"):
        read_workload(str(tmp_path / "none.swf"))
    (tmp_path / "no.swf.gz").write_text("plain")
    with pytest.raises(InvalidSpec, match="cannot be read"):
        read_workload(str(tmp_path / "no.swf.gz"))


def test_policies(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("scheduler_mode: lifo\n")
    assert read_policy(str(file))[0].discipline is Discipline.LIFO
    policy, _ = read_policy('scheduler_mode=fifo licences="{a: 2}"')
    assert (policy.discipline, policy.licences) == (Discipline.FIFO, (("a", 20_000),))
    assert read_policy("scheduler_mode=plugin:shortest_job_first")[0].plugin == "shortest_job_first"
    with pytest.raises(InvalidSpec, match="plugin:absent: expected the name of an entry point"):
        read_policy("scheduler_mode=plugin:absent")
    with pytest.raises(InvalidSpec, match="expected KEY=VALUE"):
        read_policy("quickly")


PROJECT = """\
{"name": "p1", "capacities": [4, 2], "tasks": [[0, [0, 0], [1]], [3, [2, 0], [3]], [5, [1, 1], [3]], [0, [0, 0], []]]}
{"name": "p2", "capacities": [1], "tasks": [[2, [1], []]]}
"""


def test_projects(tmp_path: Path) -> None:
    """Tasks that stand for the start and the end are left out."""
    file = tmp_path / "p.jsonl.gz"
    file.write_bytes(gzip.compress(PROJECT.encode()))
    jobs = read_workload(f"{file}#p1")
    assert [(job.name, job.run_us, job.spec.run_ms, job.after) for job in jobs] == [
        ("2", 3_000_000, 3_000, ()),
        ("3", 5_000_000, 5_000, ()),
    ]
    assert [job.spec.resources.as_units() for job in jobs] == [{"R1": 2}, {"R1": 1, "R2": 1}]
    assert read_projects(file)["p1"].node().resources.as_units() == {"R1": 4, "R2": 2}
    chain = PROJECT.replace("[3, [2, 0], [3]]", "[3, [2, 0], [2]]")
    file.write_bytes(gzip.compress(chain.encode()))
    assert [job.after for job in read_workload(f"{file}#p1")] == [(), (0,)]
    for name, found in (("#p3", "'p3'"), ("", "'none'")):
        with pytest.raises(InvalidSpec, match=f"expected the name of one of its 2 projects .* p1, p2; found {found}"):
            read_workload(f"{file}{name}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n{", r"p\.jsonl:2: expected a project as JSON"),
        ("[]", r"p\.jsonl:1: expected a project as a mapping"),
        ('{"name": "p", "capacities": [1]}', "p.jsonl:1: expected 'tasks' in a project, found none"),
        ('{"name": "p", "capacities": [1], "tasks": [[1, [1]]]}', r"1: tasks\[0\]: expected a task \[duration"),
        ('{"name": "p", "capacities": [1], "tasks": [[1, [1, 1], []]]}', r"tasks\[0\]: expected 1 demands, found 2"),
        ('{"name": "p", "capacities": [1], "tasks": [[1, [2], []]]}', "expected no demand above the capacity of 1"),
        ('{"name": "p", "capacities": [1], "tasks": [[1, [1], [0]]]}', "expected successors from 1 to 0, found 0"),
        ('{"name": "p", "capacities": [1], "tasks": [[-1, [1], []]]}', "expected whole numbers from 0"),
        ('{"name": "p", "capacities": [1], "tasks": [[0, [0], []]]}', "expected at least one task with a duration"),
        ("", "expected at least one project, found none"),
    ],
)
def test_wrong_projects_name_the_line(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(text)
    with pytest.raises(InvalidSpec, match=expected):
        read_workload(str(file))


PODS = """\
name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
p2,6000,1024,1,460,V100M16|T4,LS,Running,7,17,7
p1,12000,2048,2,1000,,LS,Running,0,5,0
p3,1000,512,0,0,,BE,Running,9,9,9
"""


def test_openb(tmp_path: Path) -> None:
    pods, nodes = tmp_path / "pods.csv", tmp_path / "nodes.csv"
    pods.write_text(PODS)
    nodes.write_text("sn,cpu_milli,memory_mib,gpu,model\nn1,64000,262144,2,P100\nn2,8000,1024,0,\n")
    first, second, third = read_workload(str(pods))
    assert [job.name for job in (first, second, third)] == ["p1", "p2", "p3"]
    assert first.spec.resources.as_units() == {"CPU": 12, "GPU": 2, "memory": 2 * 2**30}
    assert second.spec.resources.as_units() == {"CPU": 6, "GPU": 0.46, "memory": 2**30}
    assert [found.values for found in second.spec.where.labels] == [("V100M16", "T4")]
    assert (second.at_us, second.run_us, third.run_us) == (7_000_000, 10_000_000, 1_000_000)
    one, two = read_cluster(str(nodes))
    assert one.resources.as_units() == {"CPU": 64, "GPU": 2, "memory": 256 * 2**30}
    assert dict(one.labels)["gpu"] == "P100"
    assert two.resources.as_units() == {"CPU": 8, "memory": 2**30}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("460", "46.0", r"pods.csv:2: gpu_milli: expected a whole number >= 0, found '46.0'"),
        ("2,1000", "2,500", r"pods.csv:3: expected up to 1000 gpu_milli, and 1000 of several GPUs, found 500 of 2"),
        (",BE", "", r"pods.csv:4: expected 11 columns, found 10"),
    ],
)
def test_wrong_pods_name_the_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    pods = tmp_path / "pods.csv"
    pods.write_text(PODS.replace(old, new))
    with pytest.raises(InvalidSpec, match=expected):
        read_workload(str(pods))


def test_wrong_nodes_name_the_columns(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text("sn,cpu_milli,gpu,model\n")
    with pytest.raises(InvalidSpec, match=r"nodes.csv:1: expected a column memory_mib, found sn, "):
        read_cluster(str(tmp_path / "nodes.csv"))
