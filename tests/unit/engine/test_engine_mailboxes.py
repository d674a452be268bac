"""Mailboxes and signals in the engine: at least once, in order, deduplicated, bounded, through restarts."""

from typing import Any

from engine_build import Hands, array, ended
from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.engine.coordination import looked_at, status
from kos_ray.engine.inbox import CoordinationWish
from kos_ray.journal.verify import verify
from kos_ray.model.errors import Refused
from kos_ray.model.events import CancelRequested
from kos_ray.model.ids import JobKey
from kos_ray.model.mailboxes import BYTES_MAX, MESSAGES_MAX, VALUE_MAX
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain

BOX = {"namespace": "default", "name": "orders"}
S = 1_000_000


class Posting(Hands):
    """Hands that put and take."""

    def wish(self, verb: str, **fields: Any) -> Any:
        wish = CoordinationWish(verb=verb, fields=fields, by="ann")
        self.engine.wish(wish, self.answers.append)
        self.tick()
        answer = self.answers[-1]
        return answer if isinstance(answer, Refused) else status(wish, self.engine.state) or answer

    def put(self, *ids: str, value: bytes = b"v") -> Any:
        return self.wish("put", **BOX, messages=[(id_, value) for id_ in ids])

    def take(self, ticket: str, verb: str = "take", wait_ms: int = 0, job: int = 0, **fields: Any) -> Any:
        party = {"id": ticket, "told": ticket, "job": job, "attempt": 1 if job else 0}
        plain = {**BOX, "ttl_ms": 10_000, "deliveries": 2, "party": party, **fields}
        return self.wish(verb, **plain, ticket=ticket, wait_ms=wait_ms)

    def settle(self, ticket: str, *, handled: bool) -> Any:
        return self.wish("settle_takes", tickets=[ticket], handled=handled)

    def again(self) -> "Posting":
        found = Posting(self.journal, self.time_us)
        found.tick()
        return found

    @property
    def box(self) -> dict[str, Any]:
        return looked_at("mailboxes", {}, self.engine.state)[0]


def test_messages_are_taken_in_order_and_gone_when_handled() -> None:
    hands = Posting()
    hands.put("a", "b")
    assert hands.put("b", "c") == {"known": ["b"]}
    first, second = hands.take("1"), hands.take("2")
    assert (first["id"], second["id"], first["deliveries"]) == ("a", "b", 1)
    assert hands.settle("1", handled=True) == {"known": ["1"]}
    assert hands.settle("1", handled=True) == {"known": []}
    hands.settle("2", handled=False)
    assert hands.take("3")["id"] == "b"
    assert hands.take("4")["id"] == "c"
    assert hands.take("5") == {"state": "empty"}
    assert hands.put("a") == {"known": ["a"]}
    assert verify(hands.journal).differences == ()


def test_whoever_waits_gets_what_comes() -> None:
    hands = Posting()
    assert hands.take("1", wait_ms=5_000) == {"state": "waiting"}
    assert hands.take("2", wait_ms=-1) == {"state": "waiting"}
    hands = hands.again()
    hands.put("a", "b")
    assert hands.take("1")["id"] == "a"
    assert hands.take("2")["id"] == "b"
    assert hands.take("3", wait_ms=2_000) == {"state": "waiting"}
    hands.time_us += 2 * S
    hands.tick()
    assert hands.take("3") == {"state": "empty"}


def test_what_a_dead_taker_had_goes_to_the_next_and_dies_after_so_many() -> None:
    hands = Posting()
    hands.put("bad", "good")
    for number in range(2):
        assert hands.take(f"{number}")["id"] == "bad"
        hands.time_us += 11 * S
        hands.tick()
    assert (hands.box["dead"], hands.box["ready"]) == (1, 1)
    hands = hands.again()
    assert hands.take("9")["id"] == "good"
    (dead,) = looked_at("messages", {**BOX, "dead": True, "most": 10}, hands.engine.state)
    assert (dead["id"], dead["deliveries"]) == ("bad", 2)
    assert hands.wish("revive", **BOX) == {"messages": 1}
    assert hands.take("10")["id"] == "bad"


def test_it_is_bounded_and_says_so() -> None:
    hands = Posting()
    assert "expected messages of at most" in str(hands.put("x", value=b"v" * (VALUE_MAX + 1)))
    ids = [str(number) for number in range(MESSAGES_MAX + 1)]
    assert f"{MESSAGES_MAX} at most" in str(hands.put(*ids))
    assert hands.put(*ids[:-1]) == {"known": []}
    assert "at most" in str(hands.put("more"))
    hands = Posting()
    many = [str(number) for number in range(BYTES_MAX // VALUE_MAX + 1)]
    assert "16 MiB" in str(hands.put(*many, value=b"v" * VALUE_MAX))
    assert looked_at("mailboxes", {}, hands.engine.state) == []


def test_a_signal_waits_for_its_job_and_goes_with_it() -> None:
    hands = Posting()
    hands.greet()
    hands.submit(array())
    said = {"namespace": "default", "name": "go", "agent": ""}
    hands.wish("signal", **said, job=1, messages=[("s", b"v")])
    hands.wish("signal", **said, job=1, messages=[("t", b"v")])
    assert hands.take("other", "await_signal", name="go") == {"state": "empty"}
    found = hands.take("own", "await_signal", name="go", job=1)
    assert found["id"] == "s"
    hands.engine.post(CancelRequested(request_id="c", keys=(JobKey(1),)))
    hands.tick()
    job = hands.engine.state.jobs[JobKey(1)]
    assert job.state.name == "STOPPING"
    hands.engine.post(ended(1, 1))
    hands.tick()
    assert looked_at("mailboxes", {}, hands.engine.state) == []
    assert hands.engine.state.coordination.mailboxes.bytes == 0
    assert isinstance(hands.wish("signal", **said, job=1, messages=[("u", b"v")]), Refused)


def test_a_signal_to_nobody_in_particular_is_for_the_first_who_asks() -> None:
    hands = Posting()
    hands.wish("signal", namespace="default", name="go", agent="", job=0, messages=[("s", b"v")])
    assert hands.take("one", "await_signal", name="go")["id"] == "s"
    assert hands.take("two", "await_signal", name="go") == {"state": "empty"}
    assert isinstance(hands.wish("signal", namespace="default", name="go", agent="x", job=0, messages=[]), Refused)


STEPS = st.lists(
    st.tuples(st.sampled_from(("put", "take", "ack", "back", "die", "again")), st.integers(0, 5)), max_size=40
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_no_message_is_lost_and_none_is_with_two(steps: list[tuple[str, int]]) -> None:
    """Each that was put is ready, taken, dead or handled; handled once."""
    hands = Posting()
    put, handled, tickets = 0, set(), {}
    for number, (step, which) in enumerate(steps):
        if step == "put":
            hands.put(f"m{put}")
            put += 1
        elif step == "take":
            found = hands.take(f"t{number}")
            if found["state"] == "taken":
                assert found["id"] not in {*tickets.values(), *handled}
                tickets[f"t{number}"] = found["id"]
        elif step == "again":
            hands = hands.again()
        elif tickets:
            ticket = sorted(tickets)[which % len(tickets)]
            if step == "die":
                hands.wish("leave", tickets=[ticket])
            else:
                hands.settle(ticket, handled=step == "ack")
            id_ = tickets.pop(ticket)
            handled |= {id_} if step == "ack" else set()
        if put:
            box = hands.box
            assert (box["ready"] + box["dead"] + len(handled), box["taken"]) == (put - len(tickets), len(tickets))
            assert box["bytes"] == put - len(handled)
    plain = state_to_plain(hands.engine.state)
    assert state_to_plain(state_from_plain(plain))["coordination"] == plain["coordination"]
    assert state_to_plain(hands.again().engine.state)["coordination"] == plain["coordination"]
