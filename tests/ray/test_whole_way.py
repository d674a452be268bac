"""A recorded workflow and two thousand small jobs on three nodes, proved from outside."""

from dataclasses import replace
from pathlib import Path

import proof
import pytest
import ray

from kos_ray.model import payload
from kos_ray.model.errors import JobCancelled, JobFailed, JobSkipped, Refused
from kos_ray.spec.arguments import pack
from kos_ray.spec.lower import Draft
from kos_ray.spec.rehearse import final_digests
from kos_ray.spec.wfformat import import_wfformat
from tests.ray.conftest import CODE, NODE_CPUS, KosCluster, most_at_once, proofs, wait_until

EXAMPLE = Path(__file__).parents[2] / "configs" / "examples" / "montage-chameleon-2mass-005d-001.json"

pytestmark = pytest.mark.ray


def proving(kos: KosCluster, drafts: list[Draft], folder: Path) -> list[Draft]:
    """The drafts of a workflow with tasks that prove themselves."""
    import io
    import pickle

    from kos_ray.spec.arguments import Input

    class Load(pickle.Unpickler):
        def persistent_load(self, pid: tuple[str, int]) -> Input:
            return Input(pid[1])

    hash_, bundle = kos.client._bundles.of_folder(CODE)
    kos.client._store(hash_, bundle)
    found = []
    for draft in drafts:
        data = payload.open_payload(draft.args[0])
        assert isinstance(data, bytes)
        args, kwargs = Load(io.BytesIO(data)).load()
        spec = replace(draft.spec, entry="proof:replay", code=hash_)
        found.append(replace(draft, spec=spec, args=(pack((str(folder), *args), kwargs),)))
    return found


def test_workflow_and_small_jobs(kos: KosCluster, tmp_path: Path) -> None:
    """Every job succeeds after its parents, and nowhere more runs at once than the node has."""
    drafts = import_wfformat(EXAMPLE, scale_time=0.02, scale_data=0.001, name="montage")
    jobs = kos.client.submit_drafts(proving(kos, drafts, tmp_path))
    array = kos.client.map(proof.small, [(str(tmp_path), i) for i in range(2_000)], code=CODE)
    assert array.results(240) == [i * i for i in range(2_000)]
    results = {draft.name: job.result(240) for draft, job in zip(drafts, jobs, strict=True)}

    expected = final_digests(drafts)
    assert {name: results[name]["digest"] for name in expected} == expected
    records = proofs(tmp_path)
    assert len(records) == 2_058, "every job ran exactly once"
    by_name = {record["name"]: record for record in records}
    for draft in drafts:
        own = by_name[draft.name.split("/")[1]]
        for parent, _ in draft.after:
            assert by_name[parent.split("/")[1]]["exit"] <= own["entry"]
    most = most_at_once(records)
    assert len(most) == 3, "all three nodes took part"
    assert all(1 <= cpus <= NODE_CPUS for cpus in most.values()), most


def test_foreign_work_sees_our_reservations(kos: KosCluster, tmp_path: Path) -> None:
    """Ray keeps a foreign task waiting that does not fit beside our slots, and runs one that does."""
    count = 3 * NODE_CPUS - 1
    jobs = [kos.client.submit(proof.hold, str(tmp_path), str(i), code=CODE) for i in range(count)]
    wait_until(lambda: len(proofs(tmp_path)) == count)

    @ray.remote(max_retries=0)
    def foreign() -> str:
        return "ran"

    too_large = foreign.options(num_cpus=2).remote()
    assert ray.get(foreign.options(num_cpus=1).remote(), timeout=30) == "ran"
    ready, _ = ray.wait([too_large], timeout=1)
    assert not ready, "two CPUs of one node were given away that our slots hold"
    (tmp_path / "release").touch()
    assert [job.result(60) for job in jobs] == [str(i) for i in range(count)]
    assert ray.get(too_large, timeout=30) == "ran"


def test_namespaces_never_share_a_process(kos: KosCluster) -> None:
    """Jobs of two tenants run in different processes, also one after the other."""
    from kos_ray.client import connect

    with connect(start=False, namespace="one") as one, connect(start=False, namespace="two") as two:
        first = one.map(proof.pid, range(200), code=CODE)
        second = two.map(proof.pid, range(200), code=CODE)
        pids = set(first.results(120)), set(second.results(120))
        pids[0].update(one.map(proof.pid, range(50), code=CODE).results(120))
    assert not pids[0] & pids[1]


def test_only_the_running_attempt_is_charged(kos: KosCluster, tmp_path: Path) -> None:
    """A slot that dies takes only the attempt along that ran in it; those queued behind run once."""
    kos.client.map(proof.pid, range(100), code=CODE).results(60)  # short ones: attempts are queued ahead from now on
    items = [(str(tmp_path), i) for i in range(40)]
    array = kos.client.map(proof.die_once, items, code=CODE, retry=1, backoff={"first": "10ms"})
    assert array.results(60) == list(range(40))
    ran = [record["name"] for record in proofs(tmp_path)]
    assert sorted(ran, key=int) == sorted([*map(str, range(40)), "0"], key=int)
    assert [attempt.end for attempt in array[0].history()] == ["crashed", "succeeded"]
    for job in list(array)[1:]:
        assert "crashed" not in [attempt.end for attempt in job.history()]


def test_large_values_travel_as_blobs(kos: KosCluster) -> None:
    """A result and an argument of several megabytes arrive whole, wherever producer and consumer run."""
    parts = kos.client.map(proof.large, [3_000_000] * 6, code=CODE)
    total = kos.client.submit(proof.length, *parts, b"y" * 1_000_000, code=CODE)
    assert total.result(120) == 19_000_000
    assert parts[5].result(10) == b"x" * 3_000_000


def test_commands_logs_and_failures(kos: KosCluster, tmp_path: Path) -> None:
    """A command's exit code decides; what a job prints is found again; a failure carries its traceback."""
    from kos_ray.spec.load import load_text
    from kos_ray.spec.lower import lower

    text = """
    - {id: fine, run: [sh, -c, "echo out; echo err >&2"]}
    - {id: broken, run: [sh, -c, "exit 3"]}
    - {id: never, run: ["true"], after: {ok: [broken]}}
    - {id: anyway, run: ["true"], after: {any: [broken], not_ok: [never]}}
    """
    fine, broken, never, anyway = kos.client.submit_drafts(lower([load_text(text, "jobs.yaml")]))
    assert fine.result(60) == 0
    assert fine.logs() == "out\nerr\n"
    with pytest.raises(JobFailed, match="3"):
        broken.result(60)
    with pytest.raises(JobSkipped):
        never.result(60)
    assert anyway.result(60) == 0
    spoken = kos.client.submit(proof.speak, "hello from a slot", code=CODE)
    spoken.result(60)
    assert spoken.logs() == "hello from a slot\n"
    flaky = kos.client.submit(proof.fail, 2, str(tmp_path), code=CODE, retry=2, backoff={"first": "10ms"})
    assert flaky.result(60) == 3
    assert [attempt.end for attempt in flaky.history()] == ["failed", "failed", "succeeded"]
    hopeless = kos.client.submit(proof.fail, 9, str(tmp_path), code=CODE)
    with pytest.raises(JobFailed, match="ValueError: attempt 4") as caught:
        hopeless.result(60)
    assert "proof.py" in caught.value.remote_traceback


def test_cancel_and_timeout(kos: KosCluster, tmp_path: Path) -> None:
    """A running job is ended on request and by its timeout; its slot's CPU is free again."""
    held = kos.client.submit(proof.hold, str(tmp_path), "held", code=CODE)
    waiting = kos.client.submit(proof.hold, str(tmp_path), "waiting", code=CODE, after=[held])
    wait_until(lambda: len(proofs(tmp_path)) == 1)
    assert held.cancel()
    with pytest.raises(JobCancelled):
        held.result(60)
    with pytest.raises(JobSkipped):
        waiting.result(60)
    assert not held.cancel(), "it is over"
    late = kos.client.submit(proof.hold, str(tmp_path), "late", code=CODE, timeout="300ms")
    with pytest.raises(JobFailed, match=r"timed out|timeout"):
        late.result(60)
    wait_until(lambda: ray.available_resources().get("CPU", 0) == 3 * NODE_CPUS)


def test_refusals_name_the_place_and_store_nothing(kos: KosCluster) -> None:
    """What cannot be accepted is refused whole."""
    before = kos.client.status().jobs
    with pytest.raises(Refused, match="no such job"):
        kos.client.submit(proof.pid, 1, code=CODE, after=["nobody"])
    kos.client.submit(proof.pid, 1, code=CODE, name="mine").result(60)
    with pytest.raises(Refused, match="'mine' is taken"):
        kos.client.submit(proof.pid, 1, code=CODE, name="mine")
    after = kos.client.status().jobs
    assert after["succeeded"] == before["succeeded"] + 1
    assert sum(after.values()) == sum(before.values()) + 1
