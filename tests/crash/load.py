"""A client's life beside the crash: it hands over jobs of every kind, and notes what it was told in a file."""

import json
import os
import time
from pathlib import Path
from typing import Any

import kos_ray
from kos_ray.client import Client, Job
from kos_ray.journal.backup import copy_state
from kos_ray.model.errors import KosError
from kos_ray.runtime import audit, connect
from kos_ray.spec.policies import parse_words
from kos_ray.worker import failpoint
from tests.crash.code import crash_jobs

CODE = Path(__file__).parent / "code"
#: seconds for all that was handed over to end
END_S = 60.0
#: a crash is charged like any failure: enough tries for one at any moment
AGAIN: dict[str, Any] = {"retry": 6, "backoff": {"first": "10ms", "max": "20ms"}, "code": CODE}
HALF: dict[str, Any] = {"resources": {"cpu": 0.5}}
UNEVEN = 40
SETTINGS = parse_words(["idle_slot=100ms", "grace=300ms", "heartbeat_interval=100ms"])


class Noted:
    """A file of lines, each synced before the next is written."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def __call__(self, **line: Any) -> None:
        os.write(self._descriptor, (json.dumps(line | {"at": time.monotonic()}) + "\n").encode())
        os.fsync(self._descriptor)


def run(folder: Path) -> None:
    """Start a scheduler, hand over, wait for all, and note each answer."""
    state = folder / "state"
    connect._scheduler(state)
    noted = Noted(folder / "told")
    with kos_ray.connect(start=False) as client:
        client.settings(SETTINGS)
        jobs = _submitted(client, folder, noted)
        _wish(client, folder, noted)
        client._ask("snapshot")
        noted(what="anchor", anchor=audit.anchor(state))
        for name, job in jobs.items():
            state_now = job.wait(END_S)
            result = job.result(END_S) if state_now is not None and state_now.name == "SUCCEEDED" else None
            told = len(result) if isinstance(result, bytes) else result
            noted(what="ended", name=name, state=state_now.name if state_now else "", result=told)
            if name.startswith("parent-") and result:
                for number, child in enumerate(result, 1):
                    noted(what="acked", name=f"{name}-{number}", id=child, kind="plain")
                    client.job(child).wait(END_S)
        client._ask("snapshot")
        noted(what="anchor", anchor=audit.anchor(state))


def _submitted(client: Client, folder: Path, noted: Noted) -> dict[str, Job]:
    """Jobs of all kinds by name, each noted when it is acknowledged."""
    jobs: dict[str, Job] = {}
    where = str(folder)

    def took(kind: str, name: str, job: Job) -> Job:
        noted(what="acked", name=name, id=job.id, kind=kind)
        jobs[name] = job
        return job

    for i in range(4):
        took("plain", f"plain-{i}", client.submit(crash_jobs.plain, where, f"plain-{i}", **AGAIN, **HALF))
    names = [f"item-{i}" for i in range(24)]
    array = client.map(crash_jobs.item, [(where, name) for name in names], **AGAIN)
    for name, job in zip(names, array, strict=True):
        took("plain", name, job)
    names = [f"uneven-{i}" for i in range(UNEVEN)]
    for name, job in zip(names, client.map(crash_jobs.uneven, [(where, name) for name in names], **AGAIN), strict=True):
        took("plain", name, job)
    for i in range(4):
        once = client.submit(crash_jobs.slow, where, f"once-{i}", guarantee="at_most_once", code=CODE, **HALF)
        took("once", f"once-{i}", once)
    for kind, function in (("flaky", crash_jobs.flaky), ("saved", crash_jobs.saved), ("parent", crash_jobs.parent)):
        for i in range(2):
            took(kind, f"{kind}-{i}", client.submit(function, where, f"{kind}-{i}", **AGAIN))
    noted(what="anchor", anchor=audit.anchor(folder / "state"))
    for i in range(2):
        value = took("large", f"large-{i}", client.submit(crash_jobs.large, where, f"large-{i}", **AGAIN))
        took("length", f"length-{i}", client.submit(crash_jobs.length, where, f"length-{i}", value, **AGAIN))
    took("plain", "stubborn", client.submit(crash_jobs.stubborn, where, "stubborn", timeout="300ms", **AGAIN))
    sent = client.submit(crash_jobs.length, where, "sent", b"x" * crash_jobs.LARGE, **AGAIN)
    took("sent", "sent", sent)
    took("command", "command", _command(client))
    return jobs


def _command(client: Client) -> Job:
    from kos_ray.spec.load import load_text
    from kos_ray.spec.lower import lower

    text = json.dumps({"run": ["sh", "-c", "sleep 0.05"], "retry": 6, "backoff": {"first": "10ms"}})
    return client.submit_drafts(lower([load_text(text, "crash")]))[0]  # type: ignore[return-value]


def _wish(client: Client, folder: Path, noted: Noted) -> None:
    """Cancel one that runs, hold and release others."""
    job = client.submit(crash_jobs.patient, str(folder), "patient", **AGAIN)
    noted(what="acked", name="patient", id=job.id, kind="cancelled")
    (folder / "history").touch()  # nobody may have been entered yet
    while '"patient"' not in (folder / "history").read_text():
        time.sleep(0.005)
    many = client.map(crash_jobs.item, [(str(folder), f"held-{i}") for i in range(40)], **AGAIN)
    for i, held in enumerate(many):
        noted(what="acked", name=f"held-{i}", id=held.id, kind="plain")
    client.hold([many.id])
    client.release([many.id])
    client.cancel([job.id])
    assert many.wait(END_S)
    assert job.wait(END_S) is not None


def back_up(folder: Path) -> None:
    """A backup, into a folder of its own for each try; waits for the first acknowledgement."""
    failpoint.arm()
    told = folder / "told"
    while not told.exists() or "anchor" not in told.read_text():
        time.sleep(0.005)
    number = len(list(folder.glob("backup-*")))
    try:
        copied = copy_state(folder / "state", folder / f"backup-{number}")
    except KosError as error:
        raise SystemExit(f"no backup: {error}") from None
    Noted(folder / "backups")(path=copied.path, anchor=copied.anchor)
