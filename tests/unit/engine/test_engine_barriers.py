"""Barriers in the engine: rounds, batches, parties that are done, late or lost, through restarts."""

from typing import Any

from engine_build import NODE, Hands, array, ended
from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.engine.coordination import looked_at, status
from kos_ray.engine.inbox import CoordinationWish
from kos_ray.journal.verify import verify
from kos_ray.model.barriers import OnLoss
from kos_ray.model.errors import Refused
from kos_ray.model.events import AttemptsEntered
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain

S = 1_000_000


class Meeting(Hands):
    """Hands that take part in one barrier."""

    def wish(self, verb: str, **fields: Any) -> Any:
        wish = CoordinationWish(verb, fields, "ann")
        self.engine.wish(wish, self.answers.append)
        self.tick()
        answer = self.answers[-1]
        return answer if isinstance(answer, Refused) else status(wish, self.engine.state) or answer

    def join(self, *tickets: str, parties: int = 2, batch: bool = False, on_loss: int = 0, job: int = 0) -> Any:
        for ticket in tickets:
            party = {"id": ticket, "told": f"party {ticket}", "job": job, "attempt": 1 if job else 0}
            said = {"namespace": "default", "name": "epoch", "parties": parties, "batch": batch, "on_loss": on_loss}
            answer = self.wish("join", **said, ticket=ticket, party=party, ttl_ms=10_000)
        return answer

    def reach(self, ticket: str, number: int = 1, wait_ms: int = -1) -> str:
        return str(self.wish("reach", ticket=ticket, number=number, wait_ms=wait_ms)["state"])

    def leave(self, ticket: str, *, lost: bool = False) -> None:
        self.wish("leave_barrier", ticket=ticket, lost=lost)

    def again(self) -> "Meeting":
        found = Meeting(self.journal, self.time_us)
        found.tick()
        return found


def test_all_go_on_together_round_after_round() -> None:
    hands = Meeting()
    hands.join("a", "b")
    for number in (1, 2, 3):
        assert hands.reach("a", number) == "waiting"
        hands = hands.again()
        assert hands.reach("b", number) == "open"
        assert hands.reach("a", number) == "open"
    found = hands.wish("reach", ticket="a", number=3, wait_ms=-1)
    assert found == {"state": "open", "round": 3}
    assert verify(hands.journal).differences == ()


def test_who_is_done_is_not_waited_for() -> None:
    hands = Meeting()
    hands.join("a", "b", "c", parties=3)
    hands.reach("a")
    hands.reach("b")
    hands.leave("c")
    assert hands.reach("a") == "open"
    hands.leave("a")
    hands.leave("b")
    assert looked_at("barriers", {}, hands.engine.state) == []


def test_a_party_that_is_lost_breaks_it_and_is_named() -> None:
    hands = Meeting()
    hands.join("a", "b", "c", parties=3)
    hands.reach("a")
    hands.leave("c", lost=True)
    found = hands.wish("reach", ticket="a", number=1, wait_ms=-1)
    assert (found["state"], found["told"]) == ("party_lost", "party c was lost")
    assert hands.reach("b") == "party_lost"
    assert "is broken" in str(hands.join("d", parties=3))
    hands.leave("a")
    hands.leave("b")
    assert hands.join("d", parties=3) == {}


def test_it_goes_on_with_the_rest_where_that_was_said_and_the_lost_one_may_come_back() -> None:
    hands = Meeting()
    hands.join("a", "b", "c", parties=3, on_loss=OnLoss.GO_ON)
    hands.reach("a")
    hands.reach("b")
    hands.time_us += 8 * S
    hands.engine.renewed(["a", "b"])
    hands.time_us += 4 * S
    hands.tick()
    assert hands.reach("a") == "open"
    hands.join("d", parties=3, on_loss=OnLoss.GO_ON)
    hands.reach("a", 2)
    assert hands.reach("b", 2) == "waiting"
    assert hands.reach("d") == "open"


def test_who_waits_too_long_breaks_it() -> None:
    hands = Meeting()
    hands.join("a", "b")
    hands.reach("a", wait_ms=2_000)
    due_us = hands.engine.next_due_us()
    assert due_us is not None
    hands.time_us = due_us
    hands.tick()
    assert hands.reach("a") == "barrier_timeout"
    assert looked_at("barriers", {}, hands.engine.state)[0]["broken"] == "party a waited for 1 more"


def test_in_batches_so_many_go_on_whoever_they_are() -> None:
    hands = Meeting()
    hands.join("a", "b", "c", "d", "e", batch=True)
    assert [hands.reach(name) for name in "abcde"] == ["waiting", "open", "waiting", "open", "waiting"]
    assert hands.reach("a", 2) == "open"
    assert hands.reach("e") == "open"
    hands.reach("b", 2, 1_000)
    hands.time_us += S
    hands.tick()
    assert hands.reach("b", 2) == "open"


def test_an_attempt_that_ends_without_leaving_is_lost() -> None:
    hands = Meeting()
    hands.greet()
    hands.submit(array())
    hands.tick()
    hands.engine.post(AttemptsEntered(node=NODE.id, keys=(JobKey(1),), attempts=(1,), entered_us=(1,)))
    hands.join("j", job=1)
    hands.join("a")
    hands.reach("a")
    hands.engine.post(ended(1, 1, AttemptEnd.CRASHED))
    hands.tick()
    assert hands.reach("a") == "party_lost"


def test_who_does_not_fit_is_refused() -> None:
    hands = Meeting()
    hands.join("a", "b")
    assert "all of its 2 parties" in str(hands.join("c"))
    assert "expected what the others say" in str(hands.join("c", parties=3))
    assert "parties: expected" in str(hands.join("c", parties=0))


STEPS = st.lists(st.tuples(st.sampled_from(("reach", "leave", "lose", "again")), st.integers(0, 3)), max_size=30)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_nobody_goes_on_before_all_have_come(steps: list[tuple[str, int]]) -> None:
    """Rounds differ by one at most between those who take part from the beginning; a broken one opens no more."""
    hands = Meeting()
    passed = dict.fromkeys("0123", 0)
    hands.join(*passed, parties=4)
    for step, which in steps:
        ticket = str(which)
        if step == "again":
            hands = hands.again()
        elif step in ("leave", "lose"):
            hands.leave(ticket, lost=step == "lose")
            passed.pop(ticket, None)
        elif step == "reach" and ticket in passed:
            hands.reach(ticket, passed[ticket] + 1)
            for other in passed:
                passed[other] += status(
                    CoordinationWish("reach", {"ticket": other, "number": passed[other] + 1}), hands.engine.state
                ) == {"state": "open", "round": passed[other] + 1}
        assert max(passed.values(), default=0) - min(passed.values(), default=0) == 0
    plain = state_to_plain(hands.engine.state)
    assert state_to_plain(state_from_plain(plain))["coordination"] == plain["coordination"]
    assert state_to_plain(hands.again().engine.state)["coordination"] == plain["coordination"]
