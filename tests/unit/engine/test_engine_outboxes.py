"""Outboxes of clients, and the cache of payloads."""

import pytest
from engine_build import SPEC, Hands, array

from kos_ray.engine import payloads as payloads_module
from kos_ray.engine.payloads import Payloads
from kos_ray.engine.sessions import Sessions
from kos_ray.model.events import JobsSubmitted
from kos_ray.model.job import JobState


def test_a_portion_is_told_again_until_it_is_acknowledged() -> None:
    session = Sessions().get("w")
    assert session.take(0) is None
    session.put(1, JobState.SUCCEEDED, 0, b"r", None)
    first = session.take(0)
    assert first is not None
    session.put(2, JobState.FAILED, 0, b"", ("Error", "no", ""))
    assert session.take(0) is first, "what comes meanwhile waits"
    second = session.take(first.number)
    assert second is not None
    assert (second.number, second.keys, second.errors) == (2, (2,), ((0, "Error", "no", ""),))
    assert session.take(2) is None


def test_whoever_waits_is_woken_once() -> None:
    session = Sessions().get("w")
    woken: list[int] = []
    session.wake = lambda: woken.append(1)
    session.notify()
    session.notify()
    assert woken == [1]


def test_outcomes_go_to_everyone_who_watches_and_to_nobody_who_left() -> None:
    sessions = Sessions()
    sessions.watch("a", [1, 2])
    sessions.watch("b", [2])
    sessions.watch("b", [2])
    assert len(sessions.take_watchers(2)) == 2
    assert sessions.take_watchers(2) == ()
    sessions.close("a")
    assert sessions.take_watchers(1) == ()
    assert not sessions.watching


def test_a_closed_outbox_wakes_its_poll_and_leaves_others_alone() -> None:
    sessions = Sessions()
    sessions.watch("a", [1])
    sessions.watch("b", [1])
    woken: list[int] = []
    sessions.get("a").wake = lambda: woken.append(1)
    sessions.close("a")
    sessions.close("a")
    assert woken == [1]
    assert sessions.take_watchers(1) == (sessions.get("b"),)


def event(first: int, counts: tuple[int, ...], size: int = 1) -> JobsSubmitted:
    jobs = sum(map(abs, counts))
    return JobsSubmitted(
        request_id=str(first),
        first=first,
        ids=tuple(f"a{first}-{i}" for i in range(len(counts))),
        counts=counts,
        specs=(1,) * len(counts),
        args=tuple(bytes([first + i]) * size for i in range(jobs)),
    )


def test_arguments_and_ids_come_from_memory_or_from_the_journal() -> None:
    hands = Hands()
    hands.submit(array("first", count=2), array("single"))
    cache = Payloads(hands.journal)
    assert cache.launch_data([2, 3]) == (("first.1", "single"), (b"", b""))
    cache.submitted(event(4, (2, -1)))
    cache.submitted(event(7, (-1,)))
    ids, args = cache.launch_data([7, 1, 5, 6])
    assert ids == ("a7-0", "first.0", "a4-0.1", "a4-1")
    assert args == (b"\x07", b"", b"\x05", b"\x06")


def test_a_submission_is_forgotten_with_its_last_job() -> None:
    hands = Hands()
    cache = Payloads(hands.journal)
    cache.submitted(event(1, (3,)))
    cache.finished([1, 3])
    assert cache.launch_data([2]) == (("a1-0.1",), (b"\x02",))
    cache.finished([2])
    with pytest.raises(KeyError):
        cache.launch_data([2])


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads_module, "_ARGS_BYTES_MAX", 300)
    monkeypatch.setattr(payloads_module, "_RESULTS_BYTES_MAX", 250)
    hands = Hands()
    hands.submit(array("a", count=2))
    cache = Payloads(hands.journal)
    cache.submitted(event(1, (-1,), size=200))
    cache.submitted(event(2, (-1,), size=200))
    assert cache.launch_data([1]) == (("a.0",), (b"",)), "the oldest was dropped: the journal has it"
    assert cache.launch_data([2])[1] == (b"\x02" * 200,)
    cache.ended({1: b"123456", 2: b"123456", 3: b""})
    assert cache.results([2]) == {2: b"123456"}
    assert cache.results([1]) == {}


def test_specs_are_told_to_an_agent_once_in_a_session() -> None:
    hands = Hands()
    hands.greet()
    hands.submit(array("a"))
    hands.submit(array("b"), request="2")
    told = [spec for _, orders in hands.sent for _, spec in orders.new_specs]
    assert told == [SPEC]
    hands.greet(session=2, queued=(1, 2), queued_attempts=(1, 1))
    hands.submit(array("c"), request="3")
    hands.report(*[])
    assert hands.sent[-1][1].session == 2
