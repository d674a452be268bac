"""Occasions: what happens somewhere and jobs may start for. People call them events, a word that the journal has."""

from dataclasses import dataclass

from kos_ray.model.ids import JobKey

#: bytes of the data of one, as JSON
DATA_MAX = 64 * 1024
#: occasions that one request may bring
OCCASIONS_MAX = 1_000
#: ids that are remembered: one that is heard again among the last so many is passed over
SEEN_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """Something that happened. `id` is unique in its namespace: heard again, it is the same."""

    id: str
    name: str
    namespace: str = "default"
    #: what it is about: a sensor, a customer
    key: str = ""
    #: JSON, "" for none
    data: str = ""
    #: when it happened, as its source says it; microseconds since the Unix epoch
    at_us: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Which occasions a reaction is for; see docs/events.md."""

    #: names, in which * stands for any text
    events: tuple[str, ...]
    #: all of these hold for the data: `temp > 30`, `path ~ *.csv`
    where: tuple[str, ...] = ()
    #: what more than one event must say, and how often it fires at most: see `timing.conditions`
    given: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OccasionsNoted:
    """Something happened, which reactions are asked about in the same frame."""

    occasions: tuple[Occasion, ...]
    #: jobs whose ends are among them, in the order in which they ended
    ends: tuple[JobKey, ...] = ()
    by: str = ""
    #: when they were heard
    at_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionsDue:
    """Time has brought something for conditions: keys of reactions, and values of their `by`."""

    at_us: int
    whom: tuple[tuple[str, str], ...]
