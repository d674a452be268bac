"""The herald, beside a journal and without Ray: what is delivered, what is asked for again."""

import json
import pickle
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from kos_ray.journal.store import Journal
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.errors import Refused
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import AttemptEnd, Hook, JobState, Notify, Sink, SlotKind, Spec
from kos_ray.model.node import Node
from kos_ray.model.payload import inline
from kos_ray.model.policy import Policy
from kos_ray.model.protocol import Accepted, Submit
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources
from kos_ray.observe.signals import Signals
from kos_ray.runtime.herald import Asked as Reading
from kos_ray.runtime.herald import Herald

CPU = Resources.of({"CPU": 1})


def entered(journal: Journal, first: int, spec: Spec, end: AttemptEnd, result: bytes = b"") -> e.AttemptsEnded:
    """A job that was submitted and launched, and how its attempt ended."""
    keys = (JobKey(first),)
    submitted = e.JobsSubmitted(
        request_id=f"r{first}",
        first=keys[0],
        ids=(f"job{first}",),
        counts=(-1,),
        specs=(SpecKey(first),),
        args=(b"",),
        new_specs=((SpecKey(first), spec),),
    )
    node = Node(NodeId("n"), "n", CPU)
    add(journal, [e.NodesJoined(nodes=(node,)), submitted], [])
    add(journal, [], [d.Launch(node=node.id, kind=SlotKind(CPU), slots=1, keys=keys, attempts=(1,))])
    return e.AttemptsEnded(
        node=node.id,
        keys=keys,
        attempts=(1,),
        ends=(end,),
        entered_us=(1,),
        ended_us=(2,),
        pids=(1,),
        results=(result,),
    )


def failing(journal: Journal, first: int, spec: Spec) -> None:
    """A job that fails."""
    ended = entered(journal, first, spec, AttemptEnd.FAILED)
    add(journal, [ended], [d.Finish(keys=ended.keys, state=JobState.FAILED, reason=Reason.USER_ERROR)])


def add(journal: Journal, events: list[e.Event], decisions: list[d.Decision]) -> None:
    journal.append(now_us=journal.last_now_us + 1, epoch=1, events=events, decisions=decisions)


class Asked:
    """A scheduler that is away at first, and a receiver."""

    def __init__(self) -> None:
        self.submits: list[Submit] = []
        self.posted: list[tuple[Any, ...]] = []
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.enough = threading.Event()
        self.wanted = 0
        asked = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                asked.bodies.append((self.headers["webhook-id"], body))
                self.send_response(200)
                self.end_headers()
                asked.look()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def post(self, *message: Any) -> None:
        self.posted.append(message)
        self.look()
        if len(self.posted) == 1:
            raise Refused("mailbox done: is full")

    def submit(self, submit: Submit) -> Accepted:
        self.submits.append(submit)
        self.look()
        if len(self.submits) == 1:
            raise ConnectionError("the scheduler is away")
        return Accepted(refused="the journal cannot write") if len(self.submits) == 2 else Accepted(first=JobKey(99))

    def look(self) -> None:
        if len(self.submits) + len(self.bodies) + len(self.posted) >= self.wanted:
            self.enough.set()

    def wait(self, count: int) -> None:
        self.wanted = count
        self.look()
        assert self.enough.wait(30)
        self.enough.clear()


def test_a_hook_is_asked_for_until_it_is_accepted_and_told_once(tmp_path: Path) -> None:
    asked = Asked()
    url = f"http://127.0.0.1:{asked.server.server_port}/"
    journal = Journal.open(tmp_path)
    failing(journal, 1, Spec(entry="m:f", notify=(Notify(url=url),)))
    herald = Herald(tmp_path, asked.submit, Policy, asked.post)
    assert herald._outbox.seq is None
    herald._outbox.take([], journal.last_seq, 0)  # what ended before is not told
    spec = Spec(entry="m:g", hooks=(Hook(on="failure", spec=Spec(entry="m:clean")),), notify=(Notify(url=url),))
    failing(journal, 2, spec)
    herald.start()
    herald.start()
    asked.wait(4)
    herald.stop()
    assert len({submit.request_id for submit in asked.submits}) == 1
    assert len(asked.submits) == 3
    assert [body["data"]["id"] for _, body in asked.bodies] == ["job2"]
    again = Herald(tmp_path, asked.submit, Policy, asked.post)
    assert again._outbox.seq == journal.last_seq
    assert again.entries() == []
    failing(journal, 3, replace(spec, entry="m:h"))
    again.start()
    asked.wait(6)
    again.stop()
    assert [body["data"]["id"] for _, body in asked.bodies] == ["job2", "job3"]
    journal.close()
    asked.server.shutdown()
    asked.server.server_close()


def test_a_hook_does_not_wait_for_a_receiver_that_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr("kos_ray.runtime.herald.deliver", lambda *_: answers.wait(60))
    asked = Asked()
    journal = Journal.open(tmp_path)
    herald = Herald(tmp_path, asked.submit, Policy, asked.post)
    herald._outbox.take([], journal.last_seq, 0)
    told = (Notify(url="http://silent/"),)
    for first in range(1, 6):
        failing(journal, first, Spec(entry=f"m:f{first}", notify=told))
    hook = Hook(on="failure", spec=Spec(entry="m:clean"))
    failing(journal, 6, Spec(entry="m:f6", hooks=(hook,), notify=told))
    herald.start()
    asked.wait(3)
    assert not answers.is_set()
    answers.set()
    herald.stop()
    journal.close()
    asked.server.shutdown()
    asked.server.server_close()


def test_a_test_is_sent_to_all_that_the_settings_name(tmp_path: Path) -> None:
    Journal.open(tmp_path).close()
    asked = Asked()
    url = f"http://127.0.0.1:{asked.server.server_port}/"
    policy = Policy(notify=(Notify(url=url), Notify(command=("false",))))
    herald = Herald(tmp_path, asked.submit, lambda: policy, asked.post)
    assert herald.test("") == [{"target": url, "error": ""}, {"target": "false", "error": "exit code 1"}]
    assert asked.bodies[0][1]["type"] == "kos.test"
    assert herald.redrive([]) == 0
    herald.stop()
    asked.server.shutdown()
    asked.server.server_close()


def succeeding(journal: Journal, first: int, spec: Spec, result: bytes) -> None:
    """A job that succeeds."""
    ended = entered(journal, first, spec, AttemptEnd.SUCCEEDED, result)
    add(journal, [ended], [d.Finish(keys=ended.keys, state=JobState.SUCCEEDED, reason=Reason.SUCCEEDED)])


def test_results_arrive_through_a_death_at_each_step(tmp_path: Path) -> None:
    """The herald dies before it has delivered, and after that before it has noted so: nothing is lost, ids are kept."""
    asked = Asked()
    asked.wanted = 5
    journal = Journal.open(tmp_path)
    message = Sink(spec=Spec(receiver="indexer", entry="take"))
    sinks = (Sink(file="{id}.json"), Sink(mailbox="done"), message)
    first = Herald(tmp_path, asked.submit, Policy, asked.post)
    first._outbox.take([], journal.last_seq, 0)
    succeeding(journal, 1, Spec(entry="m:f", results_to=sinks), inline(pickle.dumps({"rows": 3}, 5)))
    reader = Reading(tmp_path)
    signals = Signals(reader, reader.status().cluster_id, Policy())
    first._read(reader, signals)
    kept = [(entry["kind"], entry["id"]) for entry in first.entries()]
    assert sorted(kind for kind, _ in kept) == ["hook", "result", "result"]
    for entry in first._outbox.due("result", 1, 10):
        first._try(entry)  # and it dies here
    first._outbox.close()
    again = Herald(tmp_path, asked.submit, Policy, asked.post)
    again._read(reader, signals)
    assert [(entry["kind"], entry["id"]) for entry in again.entries()] == kept
    again.start()
    asked.wait(5)
    again.stop()
    assert len({submit.request_id for submit in asked.submits}) == 1
    assert {message[:2] for message in asked.posted} == {("default", "done")}
    assert len(asked.posted) == 2
    assert len({message[2] for message in asked.posted}) == 1, "one id for the mailbox"
    assert json.loads((tmp_path / "results" / "job1.json").read_text()) == {"rows": 3}
    assert Herald(tmp_path, asked.submit, Policy, asked.post).entries() == []
    reader.close()
    journal.close()
    asked.server.shutdown()
    asked.server.server_close()
