import hashlib
import pickle
import signal
import threading
import zipfile

import pytest

from kos_ray.model.errors import NonRetryable, RetryAfter
from kos_ray.model.payload import INLINE_LIMIT, BlobRef, open_payload, raised_by
from kos_ray.worker.results import Unpicklable, describe, describe_exit, judged, pack_exception, pack_result


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "é", b"x", [1, {"a": (2,)}], {1, 2}])
def test_values_come_back(value, tmp_path):
    assert pickle.loads(open_payload(pack_result(value, tmp_path))) == value


def test_functions_travel_by_value(tmp_path):
    captured = 3
    assert pickle.loads(open_payload(pack_result(lambda x: x + captured, tmp_path)))(4) == 7


def test_large_values_go_to_the_outbox_by_hash(tmp_path):
    (tmp_path / "outbox").mkdir()
    value = b"x" * INLINE_LIMIT
    ref = open_payload(pack_result(value, tmp_path))
    assert isinstance(ref, BlobRef)
    (file,) = (tmp_path / "outbox").iterdir()
    data = file.read_bytes()
    assert (file.name, ref.hash, ref.size) == (hashlib.sha256(data).hexdigest(), file.name, len(data))
    assert pickle.loads(data) == value


def test_what_cannot_be_pickled_is_named(tmp_path):
    with pytest.raises(Unpicklable, match="lock, cannot be pickled"):
        pack_result(threading.Lock(), tmp_path)


class Custom(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_errors_are_described_without_the_callers_frame():
    def user_code() -> None:
        raise ValueError("broken")

    try:
        user_code()
    except ValueError as caught:
        kind, message, text = describe(caught)
    assert (kind, message) == ("ValueError", "broken")
    assert "in user_code" in text
    assert "in test_errors" not in text


class Told(Exception):
    """Takes other arguments than it hands on, as most of them do."""

    def __init__(self, one: str, held: object) -> None:
        super().__init__(f"told {one}")
        self.held = held


def test_exceptions_travel_where_they_can():
    again = pickle.loads(raised_by(pack_exception(Told("x", b"y"))))
    assert (type(again), str(again), again.held) == (Told, "told x", b"y")
    decoding = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no")
    assert str(pickle.loads(raised_by(pack_exception(decoding)))) == str(decoding)
    assert open_payload(pack_exception(Told("x", b"y"))) is None, "it is no value"
    for stays in (Told("x", bytes(INLINE_LIMIT)), Told("x", threading.Lock()), SystemExit(1)):
        assert pack_exception(stays) == b""


def test_an_error_whose_text_raises_is_still_described():
    kind, message, text = describe(Custom())
    assert kind.endswith("test_results.Custom")
    assert (message, text) == ("(its text cannot be shown: RuntimeError)", "")


def test_long_messages_are_cut_in_the_middle():
    _, message, _ = describe(ValueError("a" * 50_000 + "b" * 50_000))
    assert len(message) < 20_000
    assert message.startswith("aaa")
    assert message.endswith("bbb")
    assert "characters left out" in message


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-signal.SIGKILL, "was killed by signal 9 (SIGKILL)"),
        (-60, "was killed by signal 60 (an unknown signal)"),
    ],
)
def test_exits_in_words(code, text):
    assert describe_exit(code) == text


class Passing(RetryAfter):
    """A class of the user's."""


class Hopeless(NonRetryable, ValueError):
    """Another one."""


@pytest.mark.parametrize(
    ("error", "not_on", "more"),
    [
        (ValueError("x"), (), ()),
        (RetryAfter(1.5), (), (1_500,)),
        (RetryAfter(0), (), (1,)),
        (Passing(2, "busy"), (), (2_000,)),
        (NonRetryable("x"), (), (-1,)),
        (Hopeless("x"), (), (-1,)),
        (UnicodeError("x"), ("KeyError", "ValueError"), (-1,)),
        (KeyError("x"), ("ValueError",), ()),
        (zipfile.BadZipFile("x"), ("zipfile.BadZipFile",), (-1,)),
        (zipfile.BadZipFile("x"), ("tarfile.BadZipFile",), ()),
        (Passing(2), ("RetryAfter",), (-1,)),
    ],
)
def test_an_error_says_when_it_is_to_be_tried_again(error, not_on, more):
    assert judged(error, not_on) == (*describe(error), *more)


def test_a_pause_that_is_asked_for_travels_and_is_bounded():
    again = pickle.loads(pickle.dumps(Passing(2, "busy")))
    assert (again.seconds, str(again)) == (2, "busy; to be tried again after 2 s")
    for seconds in (-1, float("nan"), 1e9):
        with pytest.raises(ValueError, match="expected from 0 to"):
            RetryAfter(seconds)
