"""The Python side on three real nodes: back ends, asyncio, many clients, and clients that die."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pytest

from kos_ray.client import connect
from kos_ray.client.calls import Call
from kos_ray.client.executor import KosExecutor
from tests.ray.conftest import NODE_CPUS, KosCluster, wait_until

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _by_value() -> None:
    """Functions of this file travel by value: no slot can import the tests."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


class OwnError(Exception):
    pass


def square(number: int) -> int:
    return number * number


def broken(text: str) -> None:
    raise OwnError(text)


def until_there(path: str) -> str:
    """Runs until a file is there: as long as a test wants, on however slow a machine."""
    while not Path(path).exists():
        time.sleep(0.02)
    return path


def test_code_for_concurrent_futures(kos: KosCluster, tmp_path: Path) -> None:
    """What a pool of processes did, the cluster does: results, order, exceptions, cancelling."""
    with KosExecutor(kos.client) as executor:
        assert list(executor.map(square, range(200), timeout=120)) == [i * i for i in range(200)]
        futures = {executor.submit(square, i): i for i in range(50)}
        assert all(future.result() == futures[future] ** 2 for future in as_completed(futures, 120))
        failed = executor.submit(broken, "mine")
        with pytest.raises(OwnError, match="mine") as caught:
            failed.result(60)
        assert "in broken" in str(caught.value.__cause__.__notes__)
        gate = tmp_path / "gate"
        running = executor.submit(until_there, str(gate))
        wait_until(running.running)
        assert not running.cancel(), "as in a pool, what runs is not cancelled"
        gate.touch()
        assert running.result(60) == str(gate)


def test_grid_search(kos: KosCluster) -> None:
    """scikit-learn's search on the cluster finds what it finds here."""
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    from kos_ray.client.joblib import register

    register()
    data, target = load_iris(return_X_y=True)
    grid = {"C": [0.1, 1, 10], "kernel": ["linear", "rbf"]}
    here = GridSearchCV(SVC(), grid, cv=3).fit(data, target)
    before = kos.client.status().jobs.get("succeeded", 0)
    with joblib.parallel_config("kos", client=kos.client):
        there = GridSearchCV(SVC(), grid, cv=3).fit(data, target)
    assert there.best_params_ == here.best_params_
    assert there.best_score_ == pytest.approx(here.best_score_)
    assert list(there.cv_results_["mean_test_score"]) == pytest.approx(list(here.cv_results_["mean_test_score"]))
    assert kos.client.status().jobs["succeeded"] > before, "it ran there"


def test_asyncio(kos: KosCluster) -> None:
    """Hundreds of jobs awaited at once, dependencies, failures, events as they come."""
    import kos_ray

    async def main() -> None:
        async with kos_ray.connect_async(start=False) as client:
            array = await client.map(square, range(300))
            jobs = await asyncio.gather(*(client.submit(square, i) for i in range(50)))
            assert await asyncio.gather(*jobs) == [i * i for i in range(50)]
            total = await client.submit(sum, array, name="total")
            assert await total.result(120) == sum(i * i for i in range(300))
            assert len({job.id async for job in array.as_ended(60)}) == 300
            with pytest.raises(kos_ray.JobFailed, match="OwnError: no"):
                await (await client.submit(broken, "no")).result(60)
            assert (await (await client.job("total")).status()).state == "succeeded"

    asyncio.run(main())


def _reach(path: str) -> str:
    return Path(path).read_text()


def _count_words(text: str, others: list[int]) -> int:
    return len(text.split()) + sum(others)


def test_a_workflow_goes_on_from_what_failed(kos: KosCluster, tmp_path: Path) -> None:
    """What failed and what waited for it run again, under another name; what succeeded is not made twice."""
    import kos_ray

    missing = tmp_path / "input"
    with kos_ray.workflow("again", client=kos.client) as flow:
        text = flow.submit(_reach, str(missing), name="text")
        numbers = flow.map(abs, [-1, -2, -3], name="numbers")
        flow.submit(_count_words, text, numbers, name="words")
    assert flow.wait(60)
    assert kos.client.get("again/words").state == "skipped"
    missing.write_text("one two")
    handles = kos.client.rerun("again", from_failed=True)
    assert len(handles) == 2, "the array succeeded"
    assert kos.client.job("again@2/words").result(60) == 2 + 6
    with pytest.raises(kos_ray.NotFound):
        kos.client.rerun("nothing of that name")
    assert {view.name for view in kos.client.jobs(prefix="again@2/")} == {"again@2/text", "again@2/words"}


def test_workflow_and_decorated(kos: KosCluster) -> None:
    """A DAG is handed over as one, and shows itself."""
    import kos_ray

    twice = kos_ray.job(cpu=1, retry=1)(lambda number: 2 * number)
    with connect(start=False) as client:
        with kos_ray.workflow("tour") as flow:
            first = flow.submit(twice, 3)
            parts = flow.map(square, range(4))
            last = flow.submit(lambda number, numbers: number + sum(numbers), first, parts, name="last")
        assert last.result(60) == 20
        assert client.job("tour/last").result(1) == 20
        assert flow.svg().count(": succeeded") == 3
        assert twice.submit(4).result(60) == 8
        assert "succeeded" in client.jobs(limit=5)._repr_html_()  # type: ignore[attr-defined]


FIRST = """
import os, signal, sys, time
import kos_ray as kos

def slow(number):
    time.sleep(1)
    return number * number

client = kos.connect(sys.argv[1], start=False)
jobs = client.submit_many([kos.Call(slow, (i,), name=f"cell-{i}") for i in range(8)])
array = client.map(slow, range(4))
print(jobs[3].id, array.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

SECOND = """
import sys
import kos_ray as kos

with kos.connect(sys.argv[1], start=False) as client:
    assert client.job("cell-5").result(120) == 25
    assert client.job(sys.argv[2]).result(120) == 9
    assert client.array(sys.argv[3]).results(120) == [0, 1, 4, 9]
    assert [client.job(f"cell-{i}").result(120) for i in range(8)] == [i * i for i in range(8)]
    try:
        client.job("cell-99")
    except kos.NotFound as error:
        print("not found:", error)
"""


def test_a_restarted_kernel_finds_its_jobs(kos: KosCluster, tmp_path: Path) -> None:
    """The process that submitted is killed; another one has the results by id and by name."""
    first = _python(tmp_path, FIRST, kos.client.address)
    assert first.returncode == -signal.SIGKILL, first.stderr
    second = _python(tmp_path, SECOND, kos.client.address, *first.stdout.split())
    assert second.returncode == 0, second.stderr
    assert "not found:" in second.stdout


def test_fifty_clients_at_once(kos: KosCluster) -> None:
    """Each has its own results, whatever the others do."""

    def one(number: int) -> list[int]:
        with connect(start=False) as client:
            jobs = client.submit_many([Call(_offset, (number, i)) for i in range(20)])
            array = client.map(square, range(number, number + 20))
            return jobs.results(200) + array.results(200)

    with ThreadPoolExecutor(50) as threads:
        results = list(threads.map(one, range(50)))
    assert results == [[n * n + i for i in range(20)] + [i * i for i in range(n, n + 20)] for n in range(50)]
    wait_until(lambda: threading.active_count() < 30)


def _offset(number: int, index: int) -> int:
    return number * number + index


CROWD = """
import sys
from concurrent.futures import ThreadPoolExecutor
import kos_ray as kos

address, process, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def one(thread):
    number = process * threads + thread
    with kos.connect(address, start=False) as client:
        jobs = client.submit_many([kos.Call(pow, (number, i), name=f"crowd-{number}-{i}") for i in range(20)])
        array = client.map(abs, range(-number - 20, -number))
        last = client.submit(sum, array, name=f"crowd-{number}")
        assert jobs.results(200) == [number ** i for i in range(20)], number
        assert array.results(200) == list(range(number + 20, number, -1)), number
        assert last.result(200) == sum(range(number + 1, number + 21)), number
        found = [client.job(f"crowd-{number}-{i}").result(200) for i in (0, 19)]
        assert found == [1, number ** 19], number
    return number

with ThreadPoolExecutor(threads) as pool:
    print(*pool.map(one, range(threads)))
"""


def test_forty_eight_clients_in_six_processes(kos: KosCluster, tmp_path: Path) -> None:
    """Processes that know nothing of each other hand in at once: each thread of each has its own results."""
    before = kos.client.status().jobs.get("succeeded", 0)
    command = [sys.executable, "-c", CROWD, kos.client.address]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    crowd = [subprocess.Popen([*command, str(process), "8"], **pipes) for process in range(6)]
    for process, driver in enumerate(crowd):
        out, err = driver.communicate(timeout=250)
        assert (driver.returncode, out.split()) == (0, [str(process * 8 + thread) for thread in range(8)]), err
    assert kos.client.status().jobs["succeeded"] == before + 48 * 41


KILLED = """
import os, pathlib, signal, sys
import kos_ray as kos
from kos_ray.runtime.connect import Connection

address, name, point, file = sys.argv[1:]
client = kos.connect(address, start=False)
with kos.workflow(f"{name}-before", client=client) as flow:
    for i in range(200):
        flow.submit(len, "abc", name=f"job{i}")
plain = {method: getattr(Connection, method) for method in ("ask_scheduler", "ask_reader")}
asked = []

def die():
    print("reached", point, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

def ask_scheduler(self, method, *args):
    if method != "submit":
        return plain["ask_scheduler"](self, method, *args)
    if args[0] not in asked:  # the same is sent again where the way was busy
        asked.append(args[0])
    pathlib.Path(file).write_bytes(args[0])
    if point == "before the message" or (point == "between two requests" and len(asked) == 2):
        die()
    if point == "between two requests":
        return plain["ask_scheduler"](self, method, *args)
    import ray
    ref = self.scheduler.submit.remote(*args)
    if point == "before the answer is read":
        ray.wait([ref], fetch_local=False)
    die()

def ask_reader(self, method, *args, **kwargs):
    if method == "blob_put":
        asked.append(method)
        if point == "between two blobs" and len(asked) == 2:
            die()
    return plain["ask_reader"](self, method, *args, **kwargs)

Connection.ask_scheduler, Connection.ask_reader = ask_scheduler, ask_reader
if point == "between two requests":
    client.submit_many([kos.Call(len, ("abc",), name=f"{name}/job{i}") for i in range(5_200)])
elif point == "between two blobs":
    client.submit_many([kos.Call(len, (bytes([i]) * 100_000,), name=f"{name}/job{i}") for i in range(3)])
else:
    with kos.workflow(name, client=client) as flow:
        for i in range(200):
            flow.submit(len, "abc", name=f"job{i}")
"""

#: where a driver kills itself, and how many of its jobs may be there: once the process is gone, and when whatever
#: was still on its way has been handled
POINTS = {
    "before the message": ((0,), 0),
    "the message is in the transport": ((0, 200), 200),
    "before the answer is read": ((200,), 200),
    "between two requests": ((5_000,), 5_000),
    "between two blobs": ((0,), 0),
}


def test_a_client_killed_in_mid_submit_leaves_all_or_nothing(kos: KosCluster, tmp_path: Path) -> None:
    """Drivers kill themselves at every step of handing over; of each request, all jobs are there or none is."""
    drivers = {}
    for number, point in enumerate(POINTS):
        words = [kos.client.address, f"killed{number}", point, str(tmp_path / f"request{number}")]
        command = [sys.executable, "-c", KILLED, *words]
        drivers[point] = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
    for number, (point, driver) in enumerate(drivers.items()):
        out, err = driver.communicate(timeout=200)
        assert (driver.returncode, out.strip()) == (-signal.SIGKILL, f"reached {point}"), err
        there, settled = POINTS[point]
        assert _there(kos, f"killed{number}-before/") == 200, "acknowledged is stored"
        assert _there(kos, f"killed{number}/") in there, point
        if len(there) > 1:
            # Nobody can tell whether the message still arrives. Whoever sends it again settles that, as a client does
            # whose answer was lost: a request counts once, whenever its copies come.
            kos.client._connection.ask_scheduler("submit", (tmp_path / f"request{number}").read_bytes())
        assert _there(kos, f"killed{number}/") == settled, point


def _there(kos: KosCluster, prefix: str) -> int:
    """Jobs whose names begin so: one question, one statement, one moment of the journal."""
    return len(kos.client.jobs(prefix=prefix, limit=10_000))


MEETING = """
import time
from pathlib import Path
from parts.sizes import SIZE

def meet(folder, number):
    \"""Returns when as many of its kind run at once as the cluster has CPUs.\"""
    Path(folder, str(number)).touch()
    while len(list(Path(folder).iterdir())) < SIZE:
        time.sleep(0.01)
    return [number, SIZE]

def once(text):
    print(text)
    return text
"""


def test_documents_bring_the_code_of_their_folder(kos: KosCluster, tmp_path: Path) -> None:
    """`kos submit` from the user's own folder: functions of its modules run on all three nodes."""
    project, met = tmp_path / "project", tmp_path / "met"
    (project / "parts").mkdir(parents=True)
    met.mkdir()
    (project / "ours.py").write_text(MEETING)
    (project / "parts" / "sizes.py").write_text(f"SIZE = {3 * NODE_CPUS}\n")
    jobs: list[dict[str, Any]] = [
        {"id": f"meet-{i}", "entry": "ours:meet", "args": [str(met), i]} for i in range(3 * NODE_CPUS)
    ]
    jobs.append({"id": "once", "type": "once", "action": {"module": "ours", "function": "once", "args": ["said"]}})
    (project / "jobs.json").write_text(json.dumps(jobs))
    _kos(kos, project, "submit", "jobs.json", "--wait")
    views = [kos.client.get(f"meet-{i}") for i in range(3 * NODE_CPUS)]
    assert [kos.client.job(view.id).result(60) for view in views] == [[i, 3 * NODE_CPUS] for i in range(len(views))]
    assert len({view.node for view in views}) == 3
    assert kos.client.logs("once") == "said\n"

    (project / "jobs.json").write_text(json.dumps(jobs[-1] | {"id": "beside"}))
    _kos(kos, tmp_path, "submit", "project/jobs.json", "--wait")
    (project / "jobs.json").write_text(json.dumps(jobs[-1] | {"id": "from-option"}))
    shutil.copy(project / "jobs.json", met)
    _kos(kos, met, "submit", "jobs.json", "--code", str(project), "--wait")


def _kos(kos: KosCluster, folder: Path, *words: str) -> str:
    command = [str(Path(sys.executable).parent / "kos"), *words]
    environment = {**os.environ, "KOS_ADDRESS": kos.client.address}
    done = subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, timeout=200, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_reference_runs(kos: KosCluster, tmp_path: Path) -> None:
    """Every Python example of docs/python.md, one after the other, as one program."""
    text = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 8
    program = tmp_path / "reference.py"
    program.write_text("\n".join(blocks))
    environment = {**os.environ, "KOS_ADDRESS": kos.client.address}
    command = [sys.executable, str(program)]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_the_notebook_runs(kos: KosCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook of first steps, from its first cell to its last; its kernel is restarted in the middle."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("KOS_ADDRESS", kos.client.address)
    notebook = nbformat.read(ROOT / "notebooks" / "first_steps.ipynb", as_version=4)
    half = next(i for i, cell in enumerate(notebook.cells) if "restart" in cell.metadata.get("tags", []))
    for cells in (notebook.cells[:half], notebook.cells[half:]):
        part = nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)
        NotebookClient(part, timeout=120, kernel_name="python3").execute()
    assert "succeeded" in str(part.cells[1].outputs), "the kernel that was started anew found the job"


def _python(folder: Path, program: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *args]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=200, cwd=folder)
