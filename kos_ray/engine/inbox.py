"""What stands before the engine, and what one tick makes of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kos_ray.model import events as e
from kos_ray.model.agents import Agent
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.node import Node
from kos_ray.model.occasion import Occasion
from kos_ray.model.plugins import Advice
from kos_ray.model.protocol import Holding, Orders, Report, Submit
from kos_ray.model.schedule import Foreseen, Schedule

#: jobs that may stand in the inbox; beyond that a submission is refused, so that memory stays bounded
INBOX_JOBS_MAX = 500_000

Reply = Callable[[object], None]


@dataclass(frozen=True, slots=True)
class Touched:
    """The answer to what somebody wants of jobs (cancel, hold, …): how many were live; of a release, how many held."""

    count: int


#: what somebody wants of jobs
WANTED = (e.CancelRequested, e.HoldRequested, e.ReleaseRequested, e.PriorityChanged)


@dataclass(frozen=True, slots=True)
class SettingsWish:
    """Somebody wants other settings: a change of `spec.policies`. Answered with the policy that is then in force."""

    request_id: str
    change: dict[str, Any]
    by: str = ""


@dataclass(frozen=True, slots=True)
class NodesWish:
    """Somebody cordons, drains or labels nodes by name: `change` holds the fields of `Mark` that change.

    Labels are added to those that are there; "" takes one away. Answered with the marks that then are in force.
    """

    request_id: str
    names: tuple[str, ...]
    change: dict[str, Any]
    by: str = ""


@dataclass(frozen=True, slots=True)
class WindowsWish:
    """Somebody says when a scope may be used; see `windows.py`. Answered with the `Windows`, or `Refused`."""

    request_id: str
    scope: str
    text: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class ScheduleWish:
    """Somebody wants something of a schedule; see `engine/schedules.py`. Answered with a mapping, or `Refused`.

    `verb` is set, remove, pause, resume, trigger or backfill; the last is from `from_us` up to before `to_us`.
    """

    request_id: str
    verb: str
    key: str = ""
    schedule: Schedule | None = None
    note: str = ""
    from_us: int = 0
    to_us: int = 0
    #: set: another schedule of that name is replaced; backfill: nothing is done
    replace: bool = False
    dry_run: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True)
class OccasionsWish:
    """Somebody says what happened; see `engine/reactions.py`. Answered with a mapping, or `Refused`."""

    occasions: tuple[Occasion, ...]
    by: str = ""


@dataclass(frozen=True, slots=True)
class AgentWish:
    """Somebody wants something of an agent; see `engine/agents.py`. Answered with a mapping, or `Refused`.

    `verb` is start, stop, restart, suspend, resume or remove; with an `agent` register, or start: it becomes known; or
    verify, of a `job` alone; or snapshot, snapshots, rollback (`engine/agent_snapshots.py`).
    """

    request_id: str
    verb: str
    key: str
    agent: Agent | None = None
    note: str = ""
    #: rollback: the first digits of a snapshot's hash
    snapshot: str = ""
    #: another agent of that name is replaced
    replace: bool = False
    #: remove: messages that wait for it are cancelled
    force: bool = False
    #: verify: whose result was found good, or not
    job: JobKey = JobKey(0)
    good: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True)
class CoordinationWish:
    """A party wants something; see `engine/coordination.py`. Answered with a mapping, or `Refused`."""

    verb: str
    fields: dict[str, Any]
    by: str = ""


Wish = SettingsWish | NodesWish | WindowsWish | ScheduleWish | OccasionsWish | AgentWish | CoordinationWish | Foreseen
What = Submit | Report | Wish | Advice | e.Event | tuple[Node, Holding, int]


def plugins_named(change: dict[str, Any]) -> tuple[str, ...]:
    """The plug-ins that a change of settings names."""
    fields = [change.get("policy", {}), *change.get("namespaces", {}).values()]
    return tuple(dict.fromkeys(found["plugin"] for found in fields if found.get("plugin")))


@dataclass(slots=True)
class Item:
    """One thing in the inbox, and who gets the answer: a value, or the exception that refused it."""

    what: What
    reply: Reply | None


@dataclass(slots=True)
class Round:
    """What one tick gathers from the inbox, to be done once it is on disk."""

    events: list[e.Event] = field(default_factory=list)
    replies: list[tuple[Reply, object]] = field(default_factory=list)
    orders: list[tuple[NodeId, Orders]] = field(default_factory=list)
    greeted: list[tuple[NodeId, int]] = field(default_factory=list)
    #: outboxes and the jobs whose outcomes they get
    watches: list[tuple[str, range]] = field(default_factory=list)


def portions(items: list[Item]) -> Iterator[list[Item]]:
    """What may be one round: a greeting is compared with the state, so nothing before it may be left to do.

    A submission that rests on a plan goes alone, so that nothing comes between the two.
    """
    portion: list[Item] = []
    for item in items:
        planned = isinstance(item.what, Submit) and item.what.plan_seq > 0
        if portion and (planned or isinstance(item.what, tuple)):
            yield portion
            portion = []
        portion.append(item)
        if planned:
            yield portion
            portion = []
    if portion or not items:
        yield portion
