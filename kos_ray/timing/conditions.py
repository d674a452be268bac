"""What more than one event says: thresholds, absence, combinations, and how often at most. Events in, fires out.

A reaction's events go this way, for each value of `by` on its own:

    event -> becomes/until/for | absent | count | all | sequence -> debounce -> throttle -> batch -> fire

    by room                 each room on its own (a field of the data, or key)
    becomes temp > 30       when this begins to hold; it ends when it no longer does, or when `until temp < 28` holds
    for 5m                  ... and has held for so long
    absent 10m              when none has come for so long, once for each silence, after the first one
    count 3 within 1m       when there were so many in less than that time; then it begins anew
    all within 1m           when each of the events' names was there
    sequence within 5m      when they were there in the order in which they are named, whatever came in between
    debounce 5s             when it has been quiet for so long: the last one
    throttle 3 per 1m       at most so many; the others are dropped
    batch 100 or 10s        so many as one, or what came within that time after the first of them

Instants are when the events were heard, so what comes of them depends on the journal alone. A state is a value: what
is heard gives another one. Timers run at their own instants, however late somebody looks.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.occasion import Occasion, Trigger
from kos_ray.timing.occasions import data_of, field_of, holds, read_condition

#: events that one fire may hold, and bytes
BATCH_MAX = 1_000
_BYTES_MAX = 256 * 1024
#: fires that may go through in a throttle's period, and the longest length
_THROTTLE_MAX = 10_000
_LENGTH_MAX_US = 3_660 * 86_400_000_000
#: signs of a value of `by`; of a longer one the digest stands for the rest
_VALUE_MAX = 500
_UNITS_US = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_LENGTH = r"(?P<{0}>\d+(?:\.\d+)?)\s*(?P<{0}_unit>ms|s|m|h|d)"
_CLAUSES = {
    "by": re.compile(r"by (?P<by>[\w.-]+)"),
    "becomes": re.compile(r"becomes (?P<becomes>.+)"),
    "until": re.compile(r"until (?P<until>.+)"),
    "for": re.compile("for " + _LENGTH.format("hold")),
    "absent": re.compile("absent " + _LENGTH.format("absent")),
    "count": re.compile(r"count (?P<count>\d+) within " + _LENGTH.format("within")),
    "all": re.compile(r"(?P<all>all) within " + _LENGTH.format("within")),
    "sequence": re.compile(r"(?P<sequence>sequence) within " + _LENGTH.format("within")),
    "debounce": re.compile("debounce " + _LENGTH.format("debounce")),
    "throttle": re.compile(r"throttle (?P<throttle>\d+) per " + _LENGTH.format("period")),
    "batch": re.compile(r"batch (?P<batch>\d+) or " + _LENGTH.format("collect")),
}
#: those of which a reaction has one at most
_KINDS = ("becomes", "absent", "count", "all", "sequence")
_EXAMPLE = "'becomes temp > 30', 'count 3 within 1m' or 'throttle 1 per 1h'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The clauses of a reaction, read; lengths in microseconds."""

    by: str = ""
    becomes: str = ""
    until: str = ""
    hold_us: int = 0
    absent_us: int = 0
    count: int = 0
    all: bool = False
    sequence: bool = False
    within_us: int = 0
    debounce_us: int = 0
    throttle: int = 0
    period_us: int = 0
    batch: int = 0
    collect_us: int = 0


class Heard(NamedTuple):
    """One event that counted, when it was heard, and what a job is told of it."""

    at_us: int
    id: str
    told: str


class Fire(NamedTuple):
    """Something is to start: the events that made it, the last one behind; `dropped`: throttled."""

    id: str
    told: tuple[str, ...]
    dropped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """How it stands for one value of `by`. Empty where nothing is remembered."""

    #: becomes: the event since which it holds; whether that has fired. absent: the last event; whether it was missed
    since: Heard | None = None
    fired: bool = False
    #: count: the last ones. all: the last one of each name. sequence: of each length the chain that began last
    recent: tuple[Heard, ...] = ()
    by_name: tuple[tuple[int, Heard], ...] = ()
    chains: tuple[tuple[Heard, ...], ...] = ()
    #: debounce: what fires when it is quiet, and when that is
    waiting: Fire | None = None
    quiet_us: int = 0
    #: throttle: when fires went through
    passed: tuple[int, ...] = ()
    #: batch: what is collected, and until when
    batch: tuple[Fire, ...] = ()
    batch_us: int = 0

    def due_us(self, given: Given) -> int:
        """When time brings something; 0: never."""
        return min((at_us for at_us, _ in _timers(given, self)), default=0)


EMPTY = KeyState()


@lru_cache(maxsize=4_096)
def read_given(texts: tuple[str, ...], names: int) -> Given:
    """The clauses of a reaction to so many names of events.

    Raises:
        InvalidSpec: nobody can read them; with what was expected and what was found.

    """
    found: dict[str, Any] = {}
    words = [text.strip().partition(" ")[0] for text in texts]
    for word, text in zip(words, texts, strict=True):
        pattern = _CLAUSES.get(word)
        match = pattern.fullmatch(text.strip()) if pattern else None
        if match is None:
            raise InvalidSpec(f"expected a clause such as {_EXAMPLE}, found {text!r}")
        found |= _fields(match)
    kinds = [word for word in words if word in _KINDS]
    if len(kinds) > 1 or len(set(words)) < len(words):
        raise InvalidSpec(f"expected one of {', '.join(_KINDS)}, each clause once, found {', '.join(words)}")
    for word in ("until", "for"):
        if word in words and "becomes" not in words:
            raise InvalidSpec(f"expected becomes beside {word}, found {', '.join(words)}")
    if {"all", "sequence"} & set(words) and names < 2:
        raise InvalidSpec(f"expected two events or more for {kinds[0]}, found {names}")
    if names > BATCH_MAX:
        raise InvalidSpec(f"expected at most {BATCH_MAX} events in one fire, found {names}")
    return Given(**found)


def _fields(match: re.Match[str]) -> dict[str, Any]:
    """The fields of one clause."""
    found: dict[str, Any] = {}
    for name, text in match.groupdict().items():
        if f"{name}_unit" in match.groupdict():
            found[f"{name}_us"] = _bounded(match, float(text) * _UNITS_US[match[f"{name}_unit"]], _LENGTH_MAX_US)
        elif name in ("all", "sequence"):
            found[name] = True
        elif name in ("count", "throttle", "batch"):
            found[name] = _bounded(match, float(text), _THROTTLE_MAX if name == "throttle" else BATCH_MAX)
        elif not name.endswith("_unit"):
            found[name] = text
    for name in ("becomes", "until"):
        if name in found:
            read_condition(found[name])
    if any(value == 0 for value in found.values() if type(value) is int):
        raise InvalidSpec(f"expected numbers of 1 or more, found {match[0]!r}")
    return found


def _bounded(match: re.Match[str], found: float, most: int) -> int:
    if found > most:
        bound = f"{most // _UNITS_US['d']}d" if most == _LENGTH_MAX_US else f"{most} events"
        raise InvalidSpec(f"expected at most {bound}, found {match[0]!r}")
    return round(found)


def given_of(trigger: Trigger) -> Given:
    """What a trigger's clauses come to; see `read_given`."""
    return read_given(trigger.given, len(trigger.events))


def key_of(given: Given, occasion: Occasion) -> str:
    """The value of `by` for an occasion, "" where there is no `by`."""
    if not given.by:
        return ""
    found = field_of(occasion, data_of(occasion), given.by)
    if not isinstance(found, str | int | float):
        return ""
    # JSON has halves of signs (\ud800), which no frame and no snapshot can hold
    value = str(found).encode(errors="backslashreplace")
    if len(value) > _VALUE_MAX:
        return f"{value[:_VALUE_MAX].decode(errors='ignore')}~{hashlib.sha256(value).hexdigest()}"
    return value.decode()


def heard(trigger: Trigger, state: KeyState, occasion: Occasion, told: str, at_us: int) -> tuple[KeyState, list[Fire]]:
    """The state behind an event that a trigger is for, and what fires; what was due until then comes first."""
    given = given_of(trigger)
    state, fires = time_passed(given, state, at_us)
    one = Heard(at_us, occasion.id, told)
    if given.becomes:
        state, found = _threshold(given, state, occasion, one)
    elif given.absent_us:
        state, found = replace(state, since=one, fired=False), []
    elif given.count:
        state, found = _counted(given, state, one)
    elif given.all:
        state, found = _all(trigger, state, occasion, one)
    elif given.sequence:
        state, found = _sequence(trigger, state, occasion, one)
    else:
        found = [Fire(one.id, (told,))]
    for fire in found:
        state, more = _debounced(given, state, fire, at_us)
        fires += more
    return state, fires


def time_passed(given: Given, state: KeyState, now_us: int) -> tuple[KeyState, list[Fire]]:
    """The state at an instant at which nothing was heard, and what fires until then: timers, one after another."""
    fires: list[Fire] = []
    while due := [timer for timer in _timers(given, state) if timer[0] <= now_us]:
        at_us, what = min(due)
        if what == "batch":
            fire, state = _merged(state.batch), replace(state, batch=(), batch_us=0)
            fires.append(fire)
            continue
        if what == "quiet":
            assert state.waiting is not None
            fire, state = state.waiting, replace(state, waiting=None, quiet_us=0)
            state, more = _throttled(given, state, fire, at_us)
        else:
            assert state.since is not None
            suffix = "~absent" if what == "silence" else ""
            fire, state = Fire(state.since.id + suffix, (state.since.told,)), replace(state, fired=True)
            state, more = _debounced(given, state, fire, at_us)
        fires += more
    return _forgotten(given, state, now_us), fires


def _timers(given: Given, state: KeyState) -> Iterator[tuple[int, str]]:
    if state.since is not None and not state.fired:
        if given.absent_us:
            yield state.since.at_us + given.absent_us, "silence"
        elif given.hold_us:
            yield state.since.at_us + given.hold_us, "held"
    if state.waiting is not None:
        yield state.quiet_us, "quiet"
    if state.batch:
        yield state.batch_us, "batch"


def _forgotten(given: Given, state: KeyState, now_us: int) -> KeyState:
    """Without what can make no difference any more."""
    if given.period_us and state.passed:
        state = replace(state, passed=tuple([at for at in state.passed if at > now_us - given.period_us]))
    edge_us = now_us - given.within_us
    if state.recent:
        state = replace(state, recent=tuple([one for one in state.recent if one.at_us > edge_us]))
    if state.by_name:
        state = replace(state, by_name=tuple([entry for entry in state.by_name if entry[1].at_us > edge_us]))
    if state.chains:
        state = replace(state, chains=tuple([c if c and c[0].at_us > edge_us else () for c in state.chains]))
    return state if any(state.chains) else replace(state, chains=())


def _threshold(given: Given, state: KeyState, occasion: Occasion, one: Heard) -> tuple[KeyState, list[Fire]]:
    if state.since is None:
        if not holds((given.becomes,), occasion):
            return state, []
        begun = replace(state, since=one, fired=not given.hold_us)
        return begun, [] if given.hold_us else [Fire(one.id, (one.told,))]
    over = holds((given.until,), occasion) if given.until else not holds((given.becomes,), occasion)
    return (replace(state, since=None, fired=False) if over else state), []


def _counted(given: Given, state: KeyState, one: Heard) -> tuple[KeyState, list[Fire]]:
    recent = (*state.recent, one)
    if len(recent) < given.count:
        return replace(state, recent=recent), []
    return replace(state, recent=()), [_of(recent)]


def _all(trigger: Trigger, state: KeyState, occasion: Occasion, one: Heard) -> tuple[KeyState, list[Fire]]:
    last = dict(state.by_name)
    last |= {place: one for place, name in enumerate(trigger.events) if fnmatchcase(occasion.name, name)}
    if len(last) < len(trigger.events):
        return replace(state, by_name=tuple(sorted(last.items()))), []
    others = sorted(set(last.values()) - {one})
    return replace(state, by_name=()), [_of([*others, one])]


def _sequence(trigger: Trigger, state: KeyState, occasion: Occasion, one: Heard) -> tuple[KeyState, list[Fire]]:
    """Of the chains of each length the one that began last is kept: whatever another could become, it can as well."""
    length = len(trigger.events)
    chains = [*state.chains, *[()] * (length - len(state.chains))]
    for place in reversed(range(length)):
        if fnmatchcase(occasion.name, trigger.events[place]) and (place == 0 or chains[place - 1]):
            chains[place] = (*(chains[place - 1] if place else ()), one)
    if chains[-1]:
        return replace(state, chains=()), [_of(chains[-1])]
    return replace(state, chains=tuple(chains)), []


def _of(events: Sequence[Heard]) -> Fire:
    return Fire(events[-1].id, tuple(one.told for one in events))


def _debounced(given: Given, state: KeyState, fire: Fire, at_us: int) -> tuple[KeyState, list[Fire]]:
    if not given.debounce_us:
        return _throttled(given, state, fire, at_us)
    return replace(state, waiting=fire, quiet_us=at_us + given.debounce_us), []


def _throttled(given: Given, state: KeyState, fire: Fire, at_us: int) -> tuple[KeyState, list[Fire]]:
    if not given.throttle:
        return _batched(given, state, fire, at_us)
    passed = tuple([at for at in state.passed if at > at_us - given.period_us])
    if len(passed) >= given.throttle:
        return replace(state, passed=passed), [fire._replace(dropped=True)]
    return _batched(given, replace(state, passed=(*passed, at_us)), fire, at_us)


def _batched(given: Given, state: KeyState, fire: Fire, at_us: int) -> tuple[KeyState, list[Fire]]:
    if not given.batch:
        return state, [fire]
    batch = (*state.batch, fire)
    if len(batch) >= given.batch or sum(len(text) for one in batch for text in one.told) >= _BYTES_MAX:
        return replace(state, batch=(), batch_us=0), [_merged(batch)]
    return replace(state, batch=batch, batch_us=state.batch_us or at_us + given.collect_us), []


def _merged(batch: Sequence[Fire]) -> Fire:
    return Fire(batch[-1].id, tuple(text for one in batch for text in one.told))
