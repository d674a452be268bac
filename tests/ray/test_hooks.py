"""What follows the end of a job, and who is told: a real cluster, a real receiver, and kills in between."""

import base64
import hashlib
import hmac
import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import ray

from kos_ray.runtime.names import RAY_NAMESPACE, READER
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import lower
from kos_ray.spec.settings import parse_settings
from tests.ray.conftest import CODE, KosCluster, wait_until
from tests.ray.test_deaths import scheduler_pid

pytestmark = pytest.mark.ray


class Receiver:
    """A real HTTP server that verifies what it gets; `refuse` of the next requests are answered 503."""

    def __init__(self, port: int = 0) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.refused = 0
        self.refuse = 0
        self.secret = b""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                message, when = self.headers["webhook-id"], self.headers["webhook-timestamp"]
                signed = hmac.new(receiver.secret, f"{message}.{when}.".encode() + body, hashlib.sha256).digest()
                good = self.headers["webhook-signature"] == "v1," + base64.b64encode(signed).decode()
                if receiver.refuse:
                    receiver.refuse -= 1
                    receiver.refused += 1
                    self.send_response(503)
                else:
                    if good:
                        receiver.got.append((message, json.loads(body)))
                    self.send_response(204 if good else 401)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def kill(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def reader() -> Any:
    return ray.get_actor(READER, namespace=RAY_NAMESPACE)


def reader_pid() -> int:
    from ray._private.state import actors

    return int(actors(reader()._actor_id.hex())["Pid"])


def secret() -> bytes:
    text = ray.get(reader().notify_secret.remote())
    return base64.b64decode(text.removeprefix("whsec_"))


def submit(kos: KosCluster, document: str) -> list[Any]:
    settings = parse_settings("handlers: {broken: hooked:fails, fine: hooked:works}")
    return list(kos.client.submit_drafts(lower([load_text(document, settings=settings)]), code=[CODE]))


def test_every_failure_is_told_under_one_id_whoever_dies(kos: KosCluster) -> None:
    receiver = Receiver()
    receiver.secret = secret()
    kos.client.settings({"policy": {"notify": ({"url": f"http://127.0.0.1:{receiver.port}/"},)}})
    receiver.refuse = 2
    import hooked

    first = [kos.client.submit(hooked.fails, i, code=CODE) for i in range(3)]
    wait_until(lambda: receiver.refused == 2 and len(receiver.got) >= 3)
    port = receiver.port
    receiver.kill()
    second = [kos.client.submit(hooked.fails, i, code=CODE) for i in range(3)]
    wait_until(lambda: all(job.state == "failed" for job in second))
    os.kill(scheduler_pid()[0], signal.SIGKILL)
    os.kill(reader_pid(), signal.SIGKILL)
    again = Receiver(port)
    again.secret, again.got = receiver.secret, receiver.got
    failed = {job.id for job in (*first, *second)}
    wait_until(lambda: failed <= {event["data"]["id"] for _, event in again.got}, 120)
    ids: dict[str, set[str]] = {}
    for message, event in again.got:
        ids.setdefault(event["data"]["id"], set()).add(message)
        assert event["type"] == "agent.signal.taskFailure"
        assert event["data"]["error"] == "it always fails"
    assert all(len(found) == 1 for found in ids.values()), "the same event has the same id"
    kos.client.settings({"policy": {"notify": None}})
    again.kill()


def followed(folder: Path) -> list[list[Any]]:
    path = folder / "followed"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_each_failure_is_followed_by_one_job(kos: KosCluster, tmp_path: Path) -> None:
    document = f"{{entry: 'hooked:fails', count: 5, on_failure: {{entry: 'hooked:follows', args: [{tmp_path}]}}}}"
    (array,) = submit(kos, document)
    wait_until(lambda: len(followed(tmp_path)) >= 3)
    os.kill(scheduler_pid()[0], signal.SIGKILL)
    wait_until(lambda: len(followed(tmp_path)) >= 5)
    wait_until(lambda: not ray.get(reader().notifications.remote()))
    assert sorted(line[1] for line in followed(tmp_path)) == sorted(f"{array.id}.{i}" for i in range(5))
    assert {(line[0], line[3]) for line in followed(tmp_path)} == {("agent.signal.taskFailure", "it always fails")}


def test_commands_fallbacks_and_parents(kos: KosCluster, tmp_path: Path) -> None:
    """A command finds the event in its environment, the next receiver the payload; the parent hears of its child."""
    submit(
        kos,
        f"""
        - {{run: "exit 3", on_failure: {{run: "echo $KOS_EVENT > {tmp_path}/event"}}}}
        - {{type: broken, payload: {{n: 7}}, fallback: [broken, fine]}}
        """,
    )
    wait_until(lambda: (tmp_path / "event").exists() and (tmp_path / "event").read_text().endswith("\n"))
    assert json.loads((tmp_path / "event").read_text())["data"]["state"] == "failed"
    wait_until(lambda: any(view.state == "succeeded" for view in kos.client.jobs(type="fine")))
    (view,) = kos.client.jobs(type="fine")
    assert kos.client.job(view.id).result(60) == {"n": 7}
    assert len(kos.client.jobs(type="broken")) == 2
    import hooked

    def parent() -> str:
        import kos_ray

        return str(kos_ray.context().submit(hooked.fails).job_id)

    hook = {"entry": "hooked:follows", "args": [str(tmp_path)]}
    child = kos.client.submit(parent, code=CODE, on_child_failure=hook).result(60)
    wait_until(lambda: len(followed(tmp_path)) == 1)
    assert followed(tmp_path)[0][1] == child
