"""Locks under holders that pause past their leases; `python -m benchmarks.locks` runs a million operations."""

import pytest

from kos_ray.model.locks import GrantLocks, LockAsked, LockMode, Party
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.locks import PASSED_MAX, Locks, from_snapshot, to_snapshot
from kos_ray.sim.locks import World

MS = 1_000


def test_no_stale_guarded_write_is_taken_and_some_are_refused() -> None:
    world = World(7).run(100_000)
    assert world.stale_writes == 0
    assert world.sink.refused > 500
    assert min(world.counts[what] for what in ("lease over", "lock_deadlock", "lock_timeout", "released")) > 50


def test_a_sink_that_does_not_look_loses_updates() -> None:
    """So the test above bites: the same world, but for the guard."""
    assert World(7, guarded=False).run(20_000).stale_writes > 50


class Table:
    """Locks, and what was granted in which order."""

    def __init__(self) -> None:
        self.locks = Locks()
        self.granted: list[str] = []
        self.refused: dict[str, Reason] = {}
        self.told = ""

    def ask(self, party: str, lock: str = "a", mode: LockMode = LockMode.EXCLUSIVE, **fields: int) -> str:
        ticket = f"{party}:{lock}:{len(self.locks.asks)}"
        asked = LockAsked(ticket=ticket, lock=f"d\0{lock}", party=Party(id=party, told=party), mode=mode, **fields)
        self.locks.asked(asked)
        self.decide()
        return ticket

    def decide(self, now_us: int = 0) -> None:
        for decision in self.locks.decide(now_us):
            if isinstance(decision, GrantLocks):
                self.locks.granted(decision)
                self.granted += decision.tickets
            else:
                self.locks.refused(decision)
                self.refused[decision.ticket] = Reason(decision.reason)
                self.told = decision.told

    def leave(self, *tickets: str) -> None:
        self.locks.left(tickets)
        self.decide()

    def fence(self, ticket: str) -> int:
        return self.locks.asks[ticket].fence


def test_it_is_granted_by_band_then_by_arrival() -> None:
    table = Table()
    first = table.ask("first")
    late, urgent, later = table.ask("late"), table.ask("urgent", band=0), table.ask("later")
    for ticket in (first, urgent, late, later):
        assert table.granted[-1] == ticket
        table.leave(ticket)


def test_shared_ones_hold_it_together_and_do_not_starve_who_wants_it_alone() -> None:
    table = Table()
    one = table.ask("one", mode=LockMode.SHARED)
    two = table.ask("two", mode=LockMode.SHARED)
    alone = table.ask("alone")
    three = table.ask("three", mode=LockMode.SHARED)
    assert table.granted == [one, two]
    assert table.fence(one) == table.fence(two)
    table.leave(one, two)
    assert table.granted[2:] == [alone]
    table.leave(alone)
    assert table.granted[3:] == [three]


def test_whoever_was_passed_often_is_passed_no_more() -> None:
    table = Table()
    holder, low = table.ask("holder"), table.ask("low", band=5)
    for number in range(PASSED_MAX + 4):
        table.ask(f"high-{number}", band=0)
    for _ in range(PASSED_MAX + 1):
        assert table.granted[-1] != low
        table.leave(table.granted[-1])
    assert table.granted[-1] == low
    assert table.granted[0] == holder


def test_fences_rise_through_everything() -> None:
    table = Table()
    seen = 0
    for round_ in range(20):
        ticket = table.ask(f"p{round_}")
        assert table.fence(ticket) > seen
        seen = table.fence(ticket)
        table.locks.left([ticket], Reason.LEASE_OVER if round_ % 2 else Reason.NONE)
        assert not table.locks.by_name
        table.locks = from_snapshot(to_snapshot(table.locks))


def test_who_has_it_has_it_once_more_and_it_is_free_when_all_is_released() -> None:
    table = Table()
    outer, waits = table.ask("p"), table.ask("q")
    inner = table.ask("p")
    assert table.fence(inner) == table.fence(outer)
    table.leave(outer)
    assert table.granted[-1] != waits
    table.leave(inner)
    assert table.granted[-1] == waits


def test_who_has_it_shared_cannot_have_it_alone() -> None:
    table = Table()
    table.ask("p", mode=LockMode.SHARED)
    assert table.refused[table.ask("p")] is Reason.LOCK_DEADLOCK


@pytest.mark.parametrize("length", [2, 3, 7])
def test_a_cycle_is_found_at_the_ask_and_named(length: int) -> None:
    table = Table()
    for number in range(length):
        table.ask(f"p{number}", f"l{number}")
    for number in range(length - 1):
        table.ask(f"p{number}", f"l{number + 1}")
    assert not table.refused
    last = table.ask(f"p{length - 1}", "l0")
    assert table.refused == {last: Reason.LOCK_DEADLOCK}
    assert all(f"p{number} waits for l{(number + 1) % length}" in table.told for number in range(length))


def test_waiting_behind_somebody_counts_as_waiting_for_him() -> None:
    """A lock is shared, another wants it alone; a third would stand behind that one, and has what the first wants."""
    table = Table()
    table.ask("c", "l", LockMode.SHARED)
    table.ask("a", "m")
    table.ask("b", "l")
    table.ask("c", "m")
    assert table.refused[table.ask("a", "l", LockMode.SHARED)] is Reason.LOCK_DEADLOCK


def test_waits_end_in_time() -> None:
    table = Table()
    table.ask("p")
    late = table.ask("q", until_us=5 * MS)
    table.decide(5 * MS - 1)
    assert not table.refused
    assert table.locks.next_due_us() == 5 * MS
    table.decide(5 * MS)
    assert table.refused == {late: Reason.LOCK_TIMEOUT}


def test_a_snapshot_holds_all_of_it() -> None:
    world = World(3).run(5_000)
    found = from_snapshot(to_snapshot(world.locks))
    assert to_snapshot(found) == to_snapshot(world.locks)
    assert {party: set(asks) for party, asks in found.of_party.items()} == {
        party: set(asks) for party, asks in world.locks.of_party.items()
    }
