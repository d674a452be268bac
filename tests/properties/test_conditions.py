"""Conditions of reactions against a model that knows all events at once and asks each definition of them, naively."""

import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.model.occasion import Occasion, Trigger
from kos_ray.model.wire import from_plain, to_plain
from kos_ray.timing.conditions import EMPTY, Fire, KeyState, given_of, heard, key_of, time_passed
from kos_ray.timing.occasions import told_of

SECOND = 1_000_000
NAMES = ("a", "b", "c")
HORIZON = 10_000


class Happened(NamedTuple):
    at: int
    number: int
    name: str
    temp: int
    room: str


class Outcome(NamedTuple):
    """The numbers of the events of one fire; of a sequence only the last one's is looked at."""

    numbers: tuple[int, ...]
    dropped: bool = False


EVENTS = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(NAMES), st.integers(25, 35), st.sampled_from(["x", "y"])), max_size=25
)
WHAT = st.one_of(
    st.just(()),
    st.tuples(st.just("becomes temp > 30"), st.sampled_from(["", "until temp < 28"]), st.sampled_from(["", "for 7s"])),
    st.tuples(st.integers(1, 9).map(lambda n: f"absent {n}s")),
    st.tuples(st.builds("count {} within {}s".format, st.integers(1, 4), st.integers(1, 12))),
    st.tuples(st.builds("{} within {}s".format, st.sampled_from(["all", "sequence"]), st.integers(1, 15))),
)
FLOW = st.tuples(
    st.sampled_from(["", "by room"]),
    st.sampled_from(["", "debounce 4s"]),
    st.sampled_from(["", "throttle 2 per 10s"]),
    st.sampled_from(["", "batch 3 or 9s"]),
)


def raw(clauses: Sequence[str], events: Sequence[Happened]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Instants and numbers of what the conditions alone let fire."""
    words = {text.split()[0]: text for text in clauses if text}
    length = {word: int(text.rpartition(" ")[2].rstrip("s")) for word, text in words.items() if text.endswith("s")}
    if "becomes" in words:
        yield from thresholds(events, 28 if "until" in words else None, length.get("for", 0))
    elif "absent" in words:
        after = [*(one.at for one in events[1:]), HORIZON]
        for one, following in zip(events, after, strict=True):
            if following - one.at >= length["absent"]:
                yield one.at + length["absent"], (one.number,)
    elif "count" in words:
        yield from since_last(events, length["count"], lambda some, last: counted(some, int(words["count"].split()[1])))
    elif "all" in words:
        yield from since_last(events, length["all"], lambda some, last: every(some))
    elif "sequence" in words:
        yield from since_last(events, length["sequence"], in_order)
    else:
        yield from ((one.at, (one.number,)) for one in events)


def thresholds(events: Sequence[Happened], until: int | None, hold: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    begun: Happened | None = None
    for one in events:
        if begun is None:
            begun = one if one.temp > 30 else None
        elif (one.temp < until) if until is not None else not one.temp > 30:
            if one.at - begun.at >= hold:
                yield begun.at + hold, (begun.number,)
            begun = None
    if begun is not None:
        yield begun.at + hold, (begun.number,)


def since_last(events: Sequence[Happened], within: int, found: Any) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Whatever `found` sees in the events since the last fire that are near enough to the present one."""
    begin = 0
    for place, one in enumerate(events):
        near = [other for other in events[begin : place + 1] if one.at - other.at < within]
        if numbers := found(near, one):
            yield one.at, numbers
            begin = place + 1


def counted(near: Sequence[Happened], count: int) -> tuple[int, ...]:
    return tuple(one.number for one in near[-count:]) if len(near) >= count else ()


def every(near: Sequence[Happened]) -> tuple[int, ...]:
    last = {one.name: one.number for one in near}
    return tuple(sorted(last.values())) if len(last) == len(NAMES) else ()


def in_order(near: Sequence[Happened], last: Happened) -> tuple[int, ...]:
    found = any(tuple(one.name for one in some) == NAMES for some in combinations(near, 3) if some[-1] is last)
    return (last.number,) if found else ()


def flowed(clauses: Sequence[str], fires: list[tuple[int, tuple[int, ...]]]) -> Iterator[tuple[int, Outcome]]:
    """Debounce, throttle, batch: in this order, each over all that the one before lets through."""
    if "debounce 4s" in clauses:
        after = [*(at for at, _ in fires[1:]), HORIZON]
        fires = [(at + 4, numbers) for (at, numbers), next_at in zip(fires, after, strict=False) if next_at >= at + 4]
    let: list[int] = []
    batch: list[tuple[int, tuple[int, ...]]] = []
    for at, numbers in [*fires, (HORIZON, ())]:
        if batch and at >= batch[0][0] + 9:
            yield batch[0][0] + 9, Outcome(tuple(number for _, some in batch for number in some))
            batch = []
        if not numbers:
            break
        if "throttle 2 per 10s" in clauses:
            if len([passed for passed in let if passed > at - 10]) >= 2:
                yield at, Outcome(numbers, dropped=True)
                continue
            let.append(at)
        if "batch 3 or 9s" not in clauses:
            yield at, Outcome(numbers)
            continue
        batch.append((at, numbers))
        if len(batch) == 3:
            yield at, Outcome(tuple(number for _, some in batch for number in some))
            batch = []


def as_outcome(fire: Fire, *, last_only: bool) -> Outcome:
    numbers = tuple(json.loads(text)["data"]["number"] for text in fire.told)
    return Outcome(numbers[-1:] if last_only else numbers, fire.dropped)


@settings(max_examples=400, deadline=None)
@given(steps=EVENTS, what=WHAT, flow=FLOW, looks=st.lists(st.integers(0, 80), max_size=8))
def test_as_the_definitions_say(
    steps: list[tuple[int, str, int, str]], what: tuple[str, ...], flow: tuple[str, ...], looks: list[int]
) -> None:
    """Whenever somebody looks at timers, and though the state is read from a snapshot again and again."""
    at = 0
    events = []
    for number, (step, name, temp, room) in enumerate(steps):
        at += step
        events.append(Happened(at, number, name, temp, room))
    clauses = tuple(text for text in (*flow, *what) if text)
    trigger = Trigger(events=NAMES, given=clauses)
    read = given_of(trigger)
    states: dict[str, KeyState] = {}
    fired: dict[str, list[Outcome]] = {}
    # of a sequence, which of several chains it was says nothing; a batch of them cannot be told apart then
    last_only = any(text.startswith("sequence") for text in what) and "batch 3 or 9s" not in flow

    def note(key: str, found: tuple[KeyState, list[Fire]]) -> None:
        states[key] = from_plain(KeyState, to_plain(found[0]))
        fired.setdefault(key, []).extend(as_outcome(fire, last_only=last_only) for fire in found[1])

    moments: list[tuple[int, int, Happened | None]] = [(one.at, 1, one) for one in events]
    moments += [(look, 0, None) for look in looks] + [(HORIZON, 0, None)]
    for moment, _, one in sorted(moments, key=lambda entry: entry[:2]):
        if one is None:
            for key, state in list(states.items()):
                note(key, time_passed(read, state, moment * SECOND))
            continue
        data = json.dumps({"number": one.number, "temp": one.temp, "room": one.room})
        occasion = Occasion(id=f"{one.number}", name=one.name, data=data)
        key = key_of(read, occasion)
        note(key, heard(trigger, states.get(key, EMPTY), occasion, told_of(occasion), moment * SECOND))

    for key in {one.room if "by room" in clauses else "" for one in events}:
        mine = [one for one in events if key in ("", one.room)]
        expected = [outcome for _, outcome in flowed(clauses, list(raw(what, mine)))]
        if any(text.startswith("sequence") for text in what) and not last_only:
            lengths = [(len(one.numbers), one.dropped) for one in fired.get(key, [])]
            assert lengths == [(3 * len(one.numbers), one.dropped) for one in expected]
        else:
            assert fired.get(key, []) == expected


def test_a_state_that_holds_nothing_is_empty() -> None:
    """What cannot make a difference any more is forgotten, so that keys that fall silent cost nothing."""
    trigger = Trigger(events=("a",), given=("count 3 within 5s",))
    state, _ = heard(trigger, EMPTY, Occasion(id="1", name="a"), "{}", SECOND)
    assert state != EMPTY
    assert time_passed(given_of(trigger), state, 20 * SECOND) == (EMPTY, [])


@pytest.mark.parametrize(
    ("names", "given", "events", "fired"),
    [
        ("ab", "count 2 within 5s", "0a 5a 9b", [(9, "ab")]),
        ("ab", "count 2 within 5s", "0a 4b 5a 6a", [(4, "ab"), (6, "aa")]),
        ("ab", "all within 5s", "0a 5b 9a", [(9, "ba")]),
        ("abc", "sequence within 5s", "0a 1b 5c", []),
        ("aa", "sequence within 5s", "0a 1a", [(1, "aa")]),
        ("aba", "sequence within 9s", "0a 1b 2a 3b 4a", [(2, "aba")]),
        ("ab", "sequence within 5s", "0a 3a 7b", [(7, "ab")]),
    ],
)
def test_edges_of_windows(names: str, given: str, events: str, fired: list[tuple[int, str]]) -> None:
    """What is just so old is too old; one event is never two of a sequence; the last that could begin it counts."""
    trigger = Trigger(events=tuple(names), given=(given,))
    state, found = EMPTY, []
    for number, (at, name) in enumerate((int(word[:-1]), word[-1]) for word in events.split()):
        occasion = Occasion(id=f"{number}", name=name)
        state, fires = heard(trigger, state, occasion, name, at * SECOND)
        found += [(at, "".join(fire.told)) for fire in fires]
    assert found == fired
