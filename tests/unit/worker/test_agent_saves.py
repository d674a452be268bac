"""Saves of agents: what is in them when messages run at the same time, and whom they hold up."""

import threading
from typing import Any

import pytest

from kos_ray.model.errors import KosError
from kos_ray.model.job import AttemptEnd, Carries
from kos_ray.model.payload import inline
from kos_ray.worker import agent_saves
from kos_ray.worker.agent_saves import Saves

_WAIT_S = 20.0
DONE = (int(AttemptEnd.SUCCEEDED), inline(b"done"), None)


class Agent:
    """Counts its messages; what is stored of it, when the test lets it be stored."""

    def __init__(self, **carries: Any) -> None:
        self.count = 0
        self.stored: list[tuple[dict[str, Any], str]] = []
        self.storing, self.may_store = threading.Event(), threading.Event()
        self.may_store.set()
        self.wrong: list[str] = []
        self.told = threading.Event()
        self.while_packing: list[Any] = []
        self.saves = Saves(Carries(name="counter", **carries), self, self.state, self._wrong)  # type: ignore[arg-type]

    def _wrong(self, text: str) -> None:
        self.wrong.append(text)
        self.told.set()

    def state(self) -> int:
        return self.count

    def packed(self, state: dict[str, Any]) -> Any:
        found = dict(state)
        if self.while_packing:
            self.while_packing.pop(0)()
        return found

    def snapshot(self, payload: Any, why: str) -> None:
        self.storing.set()
        assert self.may_store.wait(_WAIT_S)
        self.stored.append((payload, why))

    def message(self, name: str) -> "Message":
        return Message(self, name)


class Message(threading.Thread):
    """One that runs until it may end."""

    def __init__(self, agent: Agent, name: str) -> None:
        super().__init__(daemon=True)
        self.agent, self.public_id = agent, name
        self.runs, self.may_end, self.over = threading.Event(), threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        self.agent.saves.handle(self.public_id, self._call)
        self.over.set()

    def _call(self) -> tuple[int, bytes, None]:
        self.runs.set()
        assert self.may_end.wait(_WAIT_S)
        self.agent.count += 1
        return DONE

    def end(self) -> None:
        self.may_end.set()
        assert self.over.wait(_WAIT_S)


def until(met: Any) -> None:
    """Wait for another thread that says nothing itself."""
    turn = threading.Event()
    for _ in range(2_000):
        if met():
            return
        turn.wait(0.01)
    raise AssertionError("it never came to that")


def test_a_message_that_ends_while_the_last_save_is_stored_has_no_outcome() -> None:
    agent = Agent()
    late = agent.message("late")
    assert late.runs.wait(_WAIT_S)
    agent.may_store.clear()
    leaving = threading.Thread(target=agent.saves.last, daemon=True)
    leaving.start()
    assert agent.storing.wait(_WAIT_S)
    late.may_end.set()
    until(lambda: agent.count == 1)
    agent.may_store.set()
    leaving.join(_WAIT_S)
    assert agent.stored == [({"state": 0, "handled": {}}, "suspend")]
    assert not late.over.wait(0.2), "it is handled again: nothing keeps its effect"


def waiting_for_its_save(agent: Agent) -> Message:
    """A message that has ended beside one that runs, and whose effect is to be saved."""
    assert agent.message("long").runs.wait(_WAIT_S)
    short = agent.message("short")
    short.may_end.set()
    until(lambda: agent.saves._gate._saving)
    return short


def test_who_waits_for_its_save_when_the_agent_goes_has_its_outcome_when_the_last_one_is_stored() -> None:
    agent = Agent(snapshot_every=1)
    short = waiting_for_its_save(agent)
    agent.may_store.clear()
    leaving = threading.Thread(target=agent.saves.last, daemon=True)
    leaving.start()
    assert agent.storing.wait(_WAIT_S)
    assert not short.over.wait(0.2), "its effect is nowhere yet"
    agent.may_store.set()
    assert short.over.wait(_WAIT_S)
    assert agent.stored == [({"state": 1, "handled": {"short": inline(b"done")}}, "suspend")]


def test_who_waits_for_its_save_has_no_outcome_where_the_last_one_fails() -> None:
    agent = Agent(snapshot_every=1)
    short = waiting_for_its_save(agent)

    def fails() -> None:
        raise OSError("the disk is full")

    agent.while_packing = [fails]
    with pytest.raises(OSError, match="full"):
        agent.saves.last()
    assert not short.over.wait(0.2), "its effect is lost: it is handled again"


def test_what_ends_while_the_last_save_is_packed_is_in_it_with_its_result() -> None:
    agent = Agent()
    late = agent.message("late")
    assert late.runs.wait(_WAIT_S)

    def ends() -> None:
        late.may_end.set()
        until(lambda: "late" in agent.saves._handled)

    agent.while_packing = [ends]
    agent.saves.last()
    assert agent.stored == [({"state": 1, "handled": {"late": inline(b"done")}}, "suspend")]


@pytest.mark.parametrize("error", [OSError("the disk is full"), ValueError("no state"), KosError("too large")])
def test_a_save_in_between_that_fails_costs_nobody_anything(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = Agent(snapshot_every=1)

    def fails() -> None:
        raise error

    agent.while_packing = [fails]
    agent.message("first").end()
    assert str(error) in capsys.readouterr().err
    agent.message("second").end()
    assert [payload["state"] for payload, _ in agent.stored] == [2]
    agent.while_packing = [fails]
    agent.saves.asked()
    assert agent.told.wait(_WAIT_S)
    assert str(error) in agent.wrong[0]


def test_who_asks_for_a_save_holds_nobody_up_behind_a_long_message() -> None:
    agent = Agent()
    long = agent.message("long")
    assert long.runs.wait(_WAIT_S)
    for _ in range(3):
        agent.saves.asked()
    until(lambda: agent.saves._gate._saving)
    agent.message("short").end()
    agent.message("another").end()
    assert not agent.stored
    long.end()
    until(lambda: agent.stored)
    assert [payload["state"] for payload, _ in agent.stored] == [3], "and asked three times, it is one save"
    agent.saves.asked()
    until(lambda: len(agent.stored) == 2)


def test_a_save_is_made_though_there_is_always_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those behind it are held up for a moment, in which those that run end."""
    monkeypatch.setattr(agent_saves, "_OPEN_S", 0.05)
    monkeypatch.setattr(agent_saves, "_SHUT_S", _WAIT_S)
    agent = Agent()
    first = agent.message("first")
    assert first.runs.wait(_WAIT_S)
    agent.saves.asked()
    until(lambda: agent.saves._gate._saving)
    second = agent.message("second")
    assert second.runs.wait(_WAIT_S), "it is let in at first"
    until(lambda: agent.saves._gate._saving)
    third = agent.message("third")
    until(lambda: agent.saves._gate._waiting)
    first.end()
    second.end()
    assert third.runs.wait(_WAIT_S)
    assert [payload["state"] for payload, _ in agent.stored] == [2]
    third.end()
