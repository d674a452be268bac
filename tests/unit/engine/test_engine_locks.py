"""Locks in the engine: asked for, leased, released with attempts, through restarts of the scheduler."""

from typing import Any

from engine_build import NODE, Hands, array, ended

from kos_ray.engine.coordination import looked_at, status
from kos_ray.engine.inbox import CoordinationWish
from kos_ray.journal.verify import verify
from kos_ray.model.errors import Refused
from kos_ray.model.events import AttemptsEntered
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd
from kos_ray.model.locks import LeasesOver
from kos_ray.scheduler.machine import rehearse
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.scheduler.state import State

S = 1_000_000


class Locking(Hands):
    """Hands that ask for locks."""

    def ask(self, ticket: str, name: str = "a", **fields: Any) -> Any:
        party = {"id": ticket.partition(":")[0], "told": ticket, **fields.pop("party", {})}
        plain = {"name": name, "namespace": "default", "mode": 0, "band": -1, "ttl_ms": 10_000, "wait_ms": -1}
        return self.wish("lock", {**plain, **fields, "ticket": ticket, "party": party})

    def wish(self, verb: str, fields: dict[str, Any]) -> Any:
        wish = CoordinationWish(verb=verb, fields=fields, by="ann")
        self.engine.wish(wish, self.answers.append)
        self.tick()
        return self.answers[-1] if isinstance(self.answers[-1], Refused) else status(wish, self.engine.state)

    def state_of(self, ticket: str) -> str:
        found = status(CoordinationWish("lock", {"ticket": ticket}), self.engine.state)
        assert found is not None
        return str(found["state"])

    def pass_time(self, us: int) -> None:
        self.time_us += us
        self.tick()

    def again(self) -> "Locking":
        """The next scheduler, from the journal of this one."""
        found = Locking(self.journal, self.time_us)
        found.tick()
        return found


def test_one_has_it_and_the_other_waits_until_it_is_released() -> None:
    hands = Locking()
    assert hands.ask("p:1") == {"state": "held", "fence": 1}
    assert hands.ask("q:1") == {"state": "waiting", "held_by": "p:1"}
    assert hands.ask("q:1")["state"] == "waiting"
    assert [one["by"] for one in looked_at("locks", {}, hands.engine.state)[0]["waiting"]] == ["q:1"]
    hands.wish("leave", {"tickets": ["p:1"]})
    assert hands.ask("q:1") == {"state": "held", "fence": 2}
    assert verify(hands.journal).differences == ()


def test_a_lease_that_nobody_renews_is_over_a_tenth_later_than_agreed() -> None:
    hands = Locking()
    hands.ask("p:1")
    hands.ask("q:1")
    hands.pass_time(9 * S)
    assert hands.engine.renewed(["p:1", "x"]) == ["x"]
    hands.engine.renewed(["q:1"])
    hands.pass_time(10 * S)
    assert hands.state_of("p:1") == "held"
    assert (hands.engine.next_due_us() or 0) > 0
    hands.engine.renewed(["q:1"])
    hands.pass_time(S + 100_000)
    assert hands.state_of("p:1") == "lease_over"
    assert hands.state_of("q:1") == "held"
    assert hands.engine.renewed(["p:1"]) == ["p:1"]


def test_a_restart_keeps_who_has_it_and_gives_everybody_the_whole_time() -> None:
    hands = Locking()
    hands.ask("p:1")
    hands.ask("q:1", wait_ms=60_000)
    hands.pass_time(9 * S)
    hands = hands.again()
    hands.pass_time(10 * S)
    assert (hands.state_of("p:1"), hands.state_of("q:1")) == ("held", "waiting")
    hands.engine.renewed(["q:1"])
    hands.pass_time(2 * S)
    assert (hands.state_of("p:1"), hands.state_of("q:1")) == ("lease_over", "held")
    hands.wish("leave", {"tickets": ["q:1"]})
    hands = hands.again()
    assert hands.ask("r:1") == {"state": "held", "fence": 3}


def test_a_wait_ends_and_so_does_a_deadlock() -> None:
    hands = Locking()
    hands.ask("p:1", "a")
    hands.ask("q:1", "b")
    assert hands.ask("r:1", "a", wait_ms=0)["state"] == "lock_timeout"
    hands.ask("r:2", "a", wait_ms=5_000)
    hands.ask("p:2", "b")
    found = hands.ask("q:2", "a")
    assert found["state"] == "lock_deadlock"
    assert found["told"] == "q:2 waits for a → p:2 waits for b, which q:2 holds"
    due_us = hands.engine.next_due_us()
    assert due_us is not None
    hands.pass_time(due_us - hands.time_us)
    assert hands.state_of("r:2") == "lock_timeout"


def test_what_an_attempt_has_goes_with_its_end() -> None:
    hands = Locking()
    hands.greet()
    hands.submit(array())
    hands.tick()
    hands.engine.post(AttemptsEntered(node=NODE.id, keys=(JobKey(1),), attempts=(1,), entered_us=(1,)))
    hands.ask("j:1", party={"job": 1, "attempt": 1})
    assert looked_at("locks", {}, hands.engine.state)[0]["holders"][0]["band"] == 3
    hands.ask("q:1")
    assert isinstance(hands.ask("j:2", party={"job": 1, "attempt": 2}), Refused)
    hands.engine.post(ended(1, 1, AttemptEnd.CRASHED))
    hands.tick()
    assert hands.state_of("q:1") == "held"
    assert not hands.engine.state.coordination.of_job


def test_it_can_be_taken_away() -> None:
    hands = Locking()
    hands.ask("p:1")
    hands.wish("break_lock", {"namespace": "default", "name": "a", "note": "it hangs"})
    found = status(CoordinationWish("lock", {"ticket": "p:1"}), hands.engine.state)
    assert found is not None
    assert (found["state"], found["told"]) == ("lock_broken", "ann took it away: it hangs")
    assert isinstance(hands.wish("break_lock", {"namespace": "default", "name": "a", "note": ""}), Refused)


def test_what_makes_no_sense_is_refused() -> None:
    hands = Locking()
    for wrong in ({"name": ""}, {"name": "x" * 501}, {"ttl_ms": 10}, {"ttl_ms": 10**9}, {"party": {"job": 77}}):
        assert isinstance(hands.ask("p:1", **wrong), Refused)
    assert not hands.engine.state.coordination.locks.by_name


def test_frames_and_snapshots_give_the_same_state() -> None:
    hands = Locking()
    for number in range(30):
        hands.ask(f"p{number % 5}:{number}", f"l{number % 3}", mode=number % 2, wait_ms=(number % 4) * 3_000 - 1)
        if number % 7 == 6:
            hands.wish("leave", {"tickets": [f"p{number % 5}:{number}"]})
        hands.pass_time(700_000)
    plain = state_to_plain(hands.engine.state)
    assert state_to_plain(state_from_plain(plain))["coordination"] == plain["coordination"]
    state = State()
    for frame in hands.journal.frames():
        assert rehearse(state, frame.events, frame.decisions, frame.now_us) is None
    assert state_to_plain(state)["coordination"] == plain["coordination"]
    assert state_to_plain(hands.again().engine.state)["coordination"] == plain["coordination"]
    assert any(isinstance(event, LeasesOver) for frame in hands.journal.frames() for event in frame.events)
