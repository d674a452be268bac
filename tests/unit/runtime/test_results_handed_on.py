"""Results on their way: what is written, told and put; the same however often, and what is refused for good."""

import datetime as dt
import hashlib
import json
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kos_ray.journal.blobs import FileBlobStore
from kos_ray.model.errors import Refused
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState, Notify, Sink, Spec
from kos_ray.model.payload import INLINE_LIMIT, BlobRef, inline, referring
from kos_ray.model.views import JobView
from kos_ray.observe import results as packed
from kos_ray.observe.results import Parcel
from kos_ray.observe.webhook import NotDelivered
from kos_ray.runtime.results import Results

EVENT = {
    "type": "job_result",
    "timestamp": "2026-11-22T08:00:00Z",
    "data": {"id": "j/1", "name": "", "type": "scan", "namespace": "team"},
}


class Away:
    """A mailbox of the cluster."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, str, Any]] = []

    def __call__(self, namespace: str, name: str, id_: str, value: bytes) -> None:
        if name == "full":
            raise Refused("mailbox full would hold too many")
        self.got.append((namespace, name, id_, pickle.loads(value)))


@pytest.fixture
def away() -> Away:
    return Away()


@pytest.fixture
def send(tmp_path: Path, away: Away) -> Callable[..., None]:
    found = Results(tmp_path, lambda: (str(tmp_path / "shared"),), lambda _: "whsec_AAAA", away)

    def send(value: Any, payload: bytes | None = None, **said: Any) -> None:
        sent = inline(pickle.dumps(value, 5)) if payload is None else payload
        parcel = Parcel(sink=Sink(**said), namespace="team", event=EVENT, payload=sent)
        found.deliver("res_1", pickle.dumps(parcel))

    return send


def test_a_file_is_there_as_a_whole_and_the_same_again(send: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "results" / "scan" / "2026-11-22" / "j_1.json"
    for _ in range(2):
        send({"rows": 3, "on": dt.date(2026, 1, 2), "of": {2, 1}}, file="{type}/{date}/{id}.json")
        assert json.loads(path.read_text()) == {"rows": 3, "on": "2026-01-02", "of": [1, 2]}
    assert [one.name for one in path.parent.iterdir()] == ["j_1.json"]


def test_texts_and_bytes_are_written_as_they_are_and_pickles_whatever_they_hold(
    send: Callable[..., None], tmp_path: Path
) -> None:
    send("a text\n", file="{id}.txt")
    send(b"\x00\x01", file="{name}-{id}.bin")
    send(Path("/a"), file="{id}.pkl")
    found = tmp_path / "results"
    assert (found / "j_1.txt").read_text() == "a text\n"
    assert (found / "j_1-j_1.bin").read_bytes() == b"\x00\x01"
    assert pickle.loads((found / "j_1.pkl").read_bytes()) == Path("/a")


def test_large_ones_come_from_their_blob(send: Callable[..., None], tmp_path: Path) -> None:
    data = pickle.dumps("x" * INLINE_LIMIT * 2, 5)
    ref = FileBlobStore(tmp_path / "blobs", max_bytes=1 << 30).put([data])
    assert ref == BlobRef(hashlib.sha256(data).hexdigest(), len(data))
    send(None, referring(ref), file="{id}.txt")
    send(None, referring(ref), file="{id}.pkl")
    assert (tmp_path / "results" / "j_1.txt").read_text() == "x" * INLINE_LIMIT * 2
    assert (tmp_path / "results" / "j_1.pkl").read_bytes() == data
    with pytest.raises(NotDelivered, match="bytes at most") as raised:
        send(None, referring(ref), mailbox="done")
    assert raised.value.final
    gone = referring(BlobRef("0" * 64, 10))
    with pytest.raises(NotDelivered, match="not there any more") as raised:
        send(None, gone, file="{id}.pkl")
    assert raised.value.final
    assert not list((tmp_path / "results").glob(".*")), "nothing half done is left"


def test_only_folders_that_the_settings_name_are_written_to(send: Callable[..., None], tmp_path: Path) -> None:
    send(1, file=f"{tmp_path}/shared/deep/{{id}}.json")
    assert (tmp_path / "shared" / "deep" / "j_1.json").read_text() == "1\n"
    (tmp_path / "results").mkdir(exist_ok=True)
    (tmp_path / "results" / "out").symlink_to(tmp_path)
    for file in (f"{tmp_path}/elsewhere/{{id}}", "out/{id}"):
        with pytest.raises(NotDelivered, match="see result_folders") as raised:
            send(1, file=file)
        assert raised.value.final
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("{id:>1000}.json", "without a form"),
        ("x{id:.0}.json", "without a form"),
        ("{id}-{job}.json", r"expected \{id\}, .*found \{job\}"),
        ("{id}\0/{id}.json", "null"),
        ("{id", "expected '}'"),
    ],
)
def test_a_template_that_no_document_may_have_is_refused_for_good(
    send: Callable[..., None], tmp_path: Path, file: str, found: str
) -> None:
    with pytest.raises(NotDelivered, match=found) as raised:
        send(1, file=file)
    assert raised.value.final
    assert not list(tmp_path.rglob("*.json"))


def test_no_code_of_a_result_runs_on_the_head(send: Callable[..., None], tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "run"),)

    with pytest.raises(NotDelivered, match="file that ends with") as raised:
        send(Bad(), file="{id}.json")
    assert raised.value.final
    assert not (tmp_path / "run").exists()


def doubled(times: int, of: type = list) -> Any:
    value: Any = of(["x"])
    for _ in range(times):
        value = of([value, value])
    return value


#: lists in lists, more than pickle itself would write
DEEP = b"\x80\x05" + b"]" * 5_000 + b"a" * 4_999 + b"."
NOT_JSON = ({(1, 2): 3}, [10**5_000], [float("nan")], {"loss": float("-inf")}, ["\ud800"], {1: {dt.date.max: 1}})


@pytest.mark.parametrize("value", [doubled(18), {doubled(18, tuple)}])
def test_a_small_pickle_that_is_large_as_json_is_refused_while_it_is_written(
    send: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    assert len(pickle.dumps(value, 5)) < 200
    monkeypatch.setattr("kos_ray.runtime.results._READ_MAX", 256 * 1024)
    for said in ({"file": "{id}.json"}, {"url": "http://127.0.0.1:1/"}):
        with pytest.raises(NotDelivered, match=r"bytes as JSON.*ends with") as raised:
            send(value, **said)
        assert raised.value.final
    assert not list((tmp_path / "results").iterdir()), "nothing half done is left"
    send(doubled(4), file="{id}.json")
    assert json.loads((tmp_path / "results" / "j_1.json").read_text()) == doubled(4)


@pytest.mark.parametrize("pickled", [DEEP, *(pickle.dumps(one, 5) for one in NOT_JSON)])
def test_what_json_has_not_is_refused_for_good(send: Callable[..., None], tmp_path: Path, pickled: bytes) -> None:
    for said in ({"file": "{id}.json"}, {"url": "http://127.0.0.1:1/"}):
        with pytest.raises(NotDelivered, match=r"cannot be written as JSON .*ends with \.pkl") as raised:
            send(None, inline(pickled), **said)
        assert raised.value.final
    send(None, inline(pickled), file="{id}.pkl")
    assert [one.name for one in (tmp_path / "results").iterdir()] == ["j_1.pkl"]


def set_of_a_tuple_that_nobody_can_hash() -> bytes:
    """Forty pairs of pairs: its hash is asked for 2**40 times."""
    body = pickle.dumps(doubled(40, tuple), 3)[2:-1]  # without its head and its end
    return b"\x80\x05\x8f(" + body + b"\x90."


#: the place of one thing that is remembered is so large that what remembers them takes 32 GiB
MEMO_BOMB = b"\x80\x05Nr" + (2**31 - 1).to_bytes(4, "little") + b"."
#: a tuple in a tuple, so deep that no stack is long enough for its hash
DEEP_TUPLE = b"\x80\x05\x8f()" + b"\x85" * 300_000 + b"\x90."
BOMBS = {
    "memory": (MEMO_BOMB, "takes more than 1024 MiB of memory when it is read"),
    "time": (set_of_a_tuple_that_nobody_can_hash(), "takes more than 1 s of processor time when it is read"),
    "stack": (DEEP_TUPLE, "cannot be read .*killed by signal 11"),
    "half of one": (b"\x80\x05]", "cannot be read .*EOFError"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_goes_off_in_a_process_of_its_own_and_the_job_is_named(
    send: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bomb: str
) -> None:
    pickled, told = BOMBS[bomb]
    monkeypatch.setattr("kos_ray.runtime.results._CPU_S", 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ref = FileBlobStore(tmp_path / "blobs", max_bytes=1 << 30).put([pickled])
    for said in ({"file": "{id}.json"}, {"url": "http://127.0.0.1:1/"}):
        large = len(pickled) > INLINE_LIMIT
        if large and "url" in said:
            continue  # it is refused for its size
        with pytest.raises(NotDelivered, match=f"^the result of job j/1 {told}") as raised:
            send(None, referring(ref) if large else inline(pickled), **said)
        assert raised.value.final
    assert not list((tmp_path / "results").iterdir()), "nothing half done is left"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024, "KiB in this process"


def test_half_of_a_surrogate_pair_is_no_text(send: Callable[..., None]) -> None:
    with pytest.raises(NotDelivered, match="as a text") as raised:
        send("\ud800", file="{id}.txt")
    assert raised.value.final


def test_what_a_kill_has_left_goes_with_the_next_try(
    send: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results"
    partials: list[Path] = []

    def fails(_: int) -> None:
        partials.extend(folder.iterdir())
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="full"):
            send([1], file="{id}.json")
    (partial,) = partials
    assert not partial.exists()
    partial.write_text("half of")
    send([1], file="{id}.json")
    assert [one.name for one in folder.iterdir()] == ["j_1.json"]


def test_mailboxes_get_it_under_an_id_and_one_that_is_full_is_tried_again(
    send: Callable[..., None], away: Away
) -> None:
    send([1, 2], mailbox="done")
    assert away.got == [("team", "done", "res_1", [1, 2])]
    with pytest.raises(NotDelivered, match="too many") as raised:
        send([1], mailbox="full")
    assert not raised.value.final
    with pytest.raises(NotDelivered, match="1 to 500 signs, found 501") as raised:
        send([1], mailbox="a" * 501)
    assert raised.value.final


def test_a_webhook_gets_the_event_with_the_result(send: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Notify, str, Any]] = []
    monkeypatch.setattr(
        "kos_ray.runtime.results.deliver", lambda target, id_, body, *_: told.append((target, id_, json.loads(body)))
    )
    send({"rows": 3}, url="http://receiver/", secret_file="/s")
    ((target, id_, event),) = told
    assert (target, id_) == (Notify(url="http://receiver/", secret_file="/s"), "res_1")
    assert event == {**EVENT, "data": {**EVENT["data"], "result": {"rows": 3}}}  # type: ignore[dict-item]


def test_entries_have_the_same_ids_however_often_they_are_made() -> None:
    message = Sink(spec=Spec(receiver="indexer", entry="take", type="indexer.take"), args=b"\x00args")
    spec = Spec(results_to=(Sink(mailbox="done"), message))
    view = JobView(id="01890000-0000-7000-8000-000000000001", key=JobKey(7), state=JobState.SUCCEEDED.name.lower())
    first, again = (list(packed.entries(spec, view, b"\x00p", EVENT, cluster_id="c", seq=4)) for _ in range(2))
    assert first == again
    assert [one.kind for one in first] == ["result", "hook"]
    submit = pickle.loads(first[1].body)
    (array,) = submit.arrays
    assert (submit.request_id, array.inputs, array.args) == (first[1].id, (view.id,), (b"\x00args",))
