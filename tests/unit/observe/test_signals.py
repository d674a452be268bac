"""What the ends of jobs call for, who is told of it, and how: signatures, ids, tries, dead letters."""

import json
import pickle
import stat
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from kos_ray.journal.codec import encode_body
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import Hook, JobState, Notify, Spec
from kos_ray.model.payload import inline, open_payload
from kos_ray.model.policy import Namespace, Policy, changed
from kos_ray.model.views import JobView
from kos_ray.observe import outbox
from kos_ray.observe.outbox import Entry, Outbox
from kos_ray.observe.signals import Signals
from kos_ray.observe.webhook import NotDelivered, deliver, new_secret, own_secret, sign
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import lower
from kos_ray.spec.policies import change_of
from kos_ray.spec.settings import parse_settings

ID = "01890000-0000-7000-8000-000000000001"
URL = Notify(url="http://receiver/")
CLEAN = Spec(entry="m:clean", type="clean")


class Frame:
    def __init__(self, *records: Any, seq: int = 10) -> None:
        self.first_seq = seq
        self.now_us = 1_000_000
        self.events = tuple(one for one in records if isinstance(one, e.EVENT_TYPES))
        self.decisions = tuple(one for one in records if isinstance(one, d.DECISION_TYPES))


class Rows:
    """A journal in memory: jobs by key."""

    def __init__(self, **jobs: tuple[int, Spec, dict[str, Any]]) -> None:
        self.jobs = {key: (spec, JobView(id=name, key=key, **more)) for name, (key, spec, more) in jobs.items()}  # type: ignore[arg-type]
        self.asked = 0

    def views(self, keys: list[Any]) -> list[JobView]:
        self.asked += 1
        return [self.jobs[key][1] for key in keys]

    def spec_of(self, key: int) -> Spec:
        return self.jobs[key][0]

    def args(self, keys: list[Any]) -> dict[Any, bytes]:
        return dict.fromkeys(keys, b"\x00the same")

    def result(self, key: int) -> tuple[JobState, bytes]:
        return JobState[self.jobs[key][1].state.upper()], inline(pickle.dumps({"rows": 3}))

    def resolve(self, _: str, ref: str) -> Any:
        return next(((key, -1) for key, (_, view) in self.jobs.items() if view.id == ref), None)

    def following(self, after: int) -> tuple[int, bool]:
        return 1, after == 0 and any(spec.hooks or spec.notify or spec.results_to for spec, _ in self.jobs.values())


def finish(*keys: int, state: JobState = JobState.FAILED) -> d.Finish:
    return d.Finish(keys=keys, state=state, reason=1)  # type: ignore[arg-type]


def read(rows: Rows, *records: Any, policy: Policy | None = None, seq: int = 10) -> list[Entry]:
    return Signals(rows, "cluster0rest", policy or Policy()).read(Frame(*records, seq=seq))  # type: ignore[arg-type]


def told(entry: Entry) -> tuple[dict[str, Any], dict[str, Any]]:
    to, _, body = entry.body.partition(b"\n")
    return json.loads(to), json.loads(body)


def test_a_failure_is_told_to_those_whom_job_namespace_and_cluster_name() -> None:
    spec = Spec(entry="m:f", namespace="team", notify=(Notify(url="http://job/"), URL))
    team = Namespace(name="team", notify=(Notify(url="http://team/", states=("failed",)),))
    other = Namespace(name="other", notify=(Notify(url="http://other/"),))
    policy = Policy(notify=(URL, Notify(url="http://done/", states=("succeeded",))), namespaces=(other, team))
    rows = Rows(job=(7, spec, {"state": "failed", "error": "boom", "attempt": 3}))
    found = read(rows, e.JournalResumed(since_us=1, reason=""), finish(7), policy=policy)
    assert [one.target for one in found] == ["http://job/", "http://receiver/", "http://team/"]
    assert [one.id for one in found] == [f"msg_cluster0_11_7_{place}" for place in range(3)], "behind the frame's event"
    _, event = told(found[0])
    assert event["type"] == "agent.signal.taskFailure"
    assert event["timestamp"] == "1970-01-01T00:00:01Z"
    assert {name: event["data"][name] for name in ("id", "error", "attempt", "seq")} == {
        "id": "job",
        "error": "boom",
        "attempt": 3,
        "seq": 11,
    }
    assert found == read(rows, e.JournalResumed(since_us=1, reason=""), finish(7), policy=policy), "however often"


def test_what_calls_for_nothing_costs_no_question() -> None:
    rows = Rows(job=(7, Spec(entry="m:f"), {"state": "succeeded"}))
    assert read(rows, finish(7, state=JobState.SUCCEEDED), policy=Policy(notify=(URL,))) == []
    assert rows.asked == 0


def test_settings_that_change_hold_from_then_on() -> None:
    rows = Rows(job=(7, Spec(entry="m:f"), {"state": "failed"}))
    signals = Signals(rows, "c", Policy())  # type: ignore[arg-type]
    assert signals.read(Frame(finish(7))) == []  # type: ignore[arg-type]
    assert signals.read(Frame(e.PolicyChanged(request_id="r", policy=Policy(notify=(URL,))), seq=20)) == []  # type: ignore[arg-type]
    assert len(signals.read(Frame(finish(7), seq=30))) == 1  # type: ignore[arg-type]


def test_frames_that_can_call_for_nothing_are_not_read() -> None:
    ends = encode_body([], [finish(7)])
    settings = encode_body([e.PolicyChanged(request_id="r", policy=Policy(notify=(URL,)))], [])
    signals = Signals(Rows(job=(7, Spec(entry="m:f"), {"state": "failed"})), "c", Policy())  # type: ignore[arg-type]
    assert not signals.needs(ends)
    assert signals.needs(settings)
    signals.read(Frame(e.PolicyChanged(request_id="r", policy=Policy(notify=(URL,)))))  # type: ignore[arg-type]
    assert signals.needs(ends)
    hooked = Rows(job=(7, Spec(entry="m:f", notify=(URL,)), {"state": "failed"}))
    assert Signals(hooked, "c", Policy()).needs(ends)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        ("failed", ["end", "failure"]),
        ("lost", ["end", "failure"]),
        ("succeeded", ["end", "success"]),
        ("cancelled", ["end"]),
        ("skipped", ["end"]),
    ],
)
def test_hooks_follow_the_ends_that_they_name(state: str, wanted: list[str]) -> None:
    hooks = tuple(Hook(on=on, spec=replace(CLEAN, type=on)) for on in ("end", "failure", "success", "child_failure"))
    rows = Rows(job=(7, Spec(entry="m:f", hooks=hooks), {"state": state}))
    found = read(rows, finish(7, state=JobState[state.upper()]))
    assert [one.target for one in found] == [f"{on}: {on}" for on in wanted]
    assert {one.kind for one in found} == {"hook"}


def test_a_hook_is_one_request_however_often_it_is_read() -> None:
    hook = Hook(on="failure", spec=CLEAN, args='[["a"], {"b": 2}]')
    rows = Rows(**{ID: (7, Spec(entry="m:f", hooks=(hook, hook)), {"state": "failed", "error": "boom"})})
    first, second = read(rows, finish(7))
    again, _ = read(rows, finish(7))
    submit = pickle.loads(first.body)
    assert submit == pickle.loads(again.body)
    assert submit.request_id == first.id != second.id
    assert submit.arrays[0].id != pickle.loads(second.body).arrays[0].id
    assert submit.sender == f"failure of {ID}"
    packed = open_payload(submit.arrays[0].args[0])
    assert isinstance(packed, bytes)
    args, kwargs = pickle.loads(packed)
    assert (args[0]["data"]["error"], args[1:], kwargs) == ("boom", ("a",), {"b": 2})


def test_commands_and_fallbacks_get_what_is_theirs() -> None:
    command = Hook(on="failure", spec=Spec(command=("sh",), env=(("A", "b"),)))
    receiver = Hook(on="fallback", spec=CLEAN)
    rows = Rows(job=(7, Spec(entry="m:f", hooks=(command, receiver)), {"state": "failed"}))
    first, second = (pickle.loads(one.body) for one in read(rows, finish(7)))
    env = dict(first.specs[0][1].env)
    assert env["A"] == "b"
    assert json.loads(env["KOS_EVENT"])["data"]["id"] == "job"
    assert second.arrays[0].args == (b"\x00the same",)


def test_a_failure_goes_up_to_the_first_that_listens() -> None:
    listens = Spec(entry="m:f", hooks=(Hook(on="child_failure", spec=CLEAN),))
    quiet = Spec(entry="m:f")
    rows = Rows(
        top=(1, listens, {"state": "running"}),
        middle=(2, quiet, {"state": "running", "parent": "top"}),
        child=(3, quiet, {"state": "failed", "parent": "middle"}),
    )
    (found,) = read(rows, finish(3))
    assert pickle.loads(found.body).sender == "child_failure of child"
    assert read(Rows(child=(3, quiet, {"state": "failed", "parent": "gone"})), finish(3)) == []


# --- the outbox


def entry(name: str) -> Entry:
    return Entry(id=name, kind="notify", target="t", body=b"b")


def test_what_is_taken_is_there_after_a_restart_and_comes_once(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "notify" / "outbox.db")
    assert box.seq is None
    box.take([entry("a"), entry("b")], 7, 0)
    box.close()
    again = Outbox(tmp_path / "notify" / "outbox.db")
    assert again.seq == 7
    again.take([entry("b"), entry("c")], 9, 0)
    assert [one.id for one in again.due("notify", 0, 10)] == ["a", "b", "c"]
    again.done(again.due("notify", 0, 1)[0])
    assert [one.id for one in again.entries()] == ["b", "c"]
    again.close()


def test_receivers_take_turns_and_a_clock_that_is_set_back_delays_nothing(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.db")
    many = [replace(entry(f"a{number:02}"), target="silent") for number in range(40)]
    box.take([*many, replace(entry("b0"), target="other"), replace(entry("c0"), kind="hook")], 1, 10**15)
    found = [one.id for one in box.due("notify", 0, 32)]
    assert found[:3] == ["a00", "b0", "a01"]
    assert len(found) == 1 + outbox.SHARE
    assert [one.id for one in box.due("hook", 0, 32)] == ["c0"]
    (one,) = box.due("hook", 10**15, 1)
    box.failed(one, "503", 10**15, final=False)
    assert box.due("hook", 10**15, 1) == []
    assert [one.id for one in box.due("hook", 10**14, 1)] == ["c0"]
    box.close()


def test_tries_come_ever_later_and_end(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.db")
    box.take([entry("a")], 1, 0)
    now_us, pauses = 0, []
    for _ in range(1_000):
        (one,) = box.due("notify", now_us, 1)
        if box.failed(one, "503", now_us, final=False):
            break
        (waiting,) = box.entries()
        pauses.append((waiting.due_us - now_us) // 1_000_000)
        assert box.due("notify", waiting.due_us - 1, 1) == []
        now_us = waiting.due_us
    assert pauses[:4] == [1, 2, 4, 8]
    assert max(pauses) == outbox.LONGEST_US // 1_000_000
    assert outbox.GIVE_UP_US - outbox.LONGEST_US <= now_us <= outbox.GIVE_UP_US
    (dead,) = box.entries()
    assert (dead.dead, dead.error) == (True, "503")
    assert box.due("notify", 1 << 60, 1) == []
    assert box.redrive(["other"], 5) == 0
    assert box.redrive([], now_us) == 1
    assert [one.tries for one in box.due("notify", now_us, 1)] == [0]
    box.close()


# --- telling


class Receiver(BaseHTTPRequestHandler):
    status = 200
    got: list[tuple[dict[str, str], bytes]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.status)
        self.send_header("location", "http://127.0.0.1:1/")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[str]:
    Receiver.status = 200
    Receiver.got.clear()
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_the_signature_is_that_of_the_standard() -> None:
    """Secret, id, time and body of an example of the standard; the value is HMAC-SHA256 as it defines it."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    assert (
        sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )
    with pytest.raises(ValueError, match="whsec_"):
        sign("whsec_!", "m", 1, b"")
    assert sign(new_secret(), "m", 1, b"") != sign(new_secret(), "m", 1, b"")


def test_a_webhook_has_the_headers_of_the_standard(receiver: str) -> None:
    secret = new_secret()
    deliver(Notify(url=receiver), "msg_1", b"{}", secret, 1_700_000_000)
    headers, body = Receiver.got[0]
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_1", "1700000000")
    assert headers["webhook-signature"] == sign(secret, "msg_1", 1_700_000_000, body)
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(("status", "final"), [(503, False), (404, False), (302, False), (410, True)])
def test_what_is_not_taken_is_tried_again(receiver: str, status: int, final: bool) -> None:
    Receiver.status = status
    with pytest.raises(NotDelivered, match=str(status)) as caught:
        deliver(Notify(url=receiver), "m", b"{}", new_secret(), 1)
    assert caught.value.final == final


def test_a_command_gets_the_event_on_its_input(tmp_path: Path) -> None:
    deliver(Notify(command=("sh", "-c", f"cat > {tmp_path}/got")), "m", b"{}", "", 1)
    assert (tmp_path / "got").read_bytes() == b"{}"
    with pytest.raises(NotDelivered, match="exit code 3: no"):
        deliver(Notify(command=("sh", "-c", "echo no >&2; exit 3")), "m", b"{}", "", 1)
    with pytest.raises(NotDelivered, match="No such file"):
        deliver(Notify(command=("/nowhere",)), "m", b"{}", "", 1)


def test_the_clusters_secret_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "notify" / "secret"
    assert own_secret(path) == own_secret(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- written by people

SETTINGS = parse_settings("handlers: {clean: 'm:clean', shell: 'sh clean.sh'}")


def test_hooks_and_notify_are_read_from_documents() -> None:
    text = """
    run: exit 1
    on_failure: [clean, {run: echo, priority: high}]
    on_success: {entry: "m:done", args: [1]}
    on_end: {run: "true", on_failure: clean}
    notify: [https://example.org/hook, {url: "http://h/", states: [succeeded, failed]}]
    """
    (draft,) = lower([load_text(text, settings=SETTINGS)], namespace="team")
    assert [(hook.on, hook.spec.type, hook.spec.namespace) for hook in draft.spec.hooks] == [
        ("failure", "clean", "team"),
        ("failure", "shell", "team"),
        ("success", "done", "team"),
        ("end", "shell", "team"),
    ]
    assert draft.spec.hooks[2].args == "[[1], {}]"
    assert [hook.spec.entry for hook in draft.spec.hooks[3].spec.hooks] == ["m:clean"]
    assert draft.spec.notify[0] == Notify(url="https://example.org/hook")
    assert draft.spec.notify[1].states == ("succeeded", "failed")


def test_fallback_receivers_have_the_payload_one_after_another() -> None:
    text = "{type: clean, payload: {n: 1}, retry: 2, id: x, fallback: [shell, clean]}"
    (draft,) = lower([load_text(text, settings=SETTINGS)])
    (hook,) = draft.spec.hooks
    assert (hook.on, hook.spec.command, hook.spec.retries) == ("fallback", ("sh", "-c", "sh clean.sh"), 2)
    assert json.loads(dict(hook.spec.env)["KOS_PAYLOAD"]) == {"n": 1}
    (last,) = hook.spec.hooks
    assert (last.on, last.spec.entry, last.args) == ("fallback", "m:clean", '[[{"n": 1}], {}]')
    assert last.spec.hooks == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{run: x, on_failure: nobody}", "found none"),
        ("{run: x, on_failure: {run: y, id: z}}", "one job that waits for nobody, found id"),
        ("{run: x, on_failure: {run: y, count: 3}}", "found count"),
        ("{run: x, on_failure: 5}", "expected a job, or the type of one"),
        ("{run: x, notify: ftp://h/}", "expected a URL such as"),
        ("{run: x, notify: {command: echo}}", "only settings name commands"),
        ("{run: x, notify: {url: 'http://h/', states: done}}", "expected succeeded"),
        ("{run: x, notify: {uri: 'http://h/'}}", "did you mean .url"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InvalidSpec, match=said) as caught:
        load_text(text, settings=SETTINGS)
    assert "<text>:1" in str(caught.value)


def test_settings_name_who_is_told() -> None:
    policy = changed(Policy(), change_of("notify", [{"command": "mail root", "states": ["lost"]}, "https://h/"]))
    assert policy.notify == (Notify(command=("sh", "-c", "mail root"), states=("lost",)), Notify(url="https://h/"))
    assert changed(policy, change_of("notify", [])).notify == ()
