"""Agents: what lives on and is called by name, and what happens to it; a *node agent* is another thing.

An agent's life is carried by a job, its *carrier*; what is sent to it, a *message*, is a job of its own. Where an
agent stands (`Phase`) follows from what is wanted of it and where its carrier stands; nobody sets it.
"""

from dataclasses import dataclass
from enum import IntEnum

from kos_ray.model.agent_snapshots import SNAPSHOTS_KEPT, AgentRolledBack
from kos_ray.model.dispatch import NEEDS_NOTHING, Needs
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import JobState, Spec

#: what an agent's class may define beside what can be called
RESERVED = ("pre_start", "post_start", "on_suspend", "on_resume", "on_shutdown", "snapshot", "restore")


#: what an agent's life may be, and which of these a message begins
LIFETIMES = ("persistent", "on_demand", "ephemeral", "cascading")
LAZY = ("on_demand", "ephemeral")
#: how far one may be trusted, and which of these are not for bands 0 and 1
TRUST = ("experimental", "low", "normal")
UNTRUSTED = TRUST[:2]
#: how agents stand by: started when they are needed, running, or taking a role over for good
STANDBY = ("cold", "warm", "hot")
#: results in a row that were found good, after which an agent is trusted
VERIFY_AFTER = 10


class Wanted(IntEnum):
    """What people want of an agent. Stored in journals."""

    RUNNING = 0
    SUSPENDED = 1
    STOPPED = 2


class Phase(IntEnum):
    """Where an agent stands."""

    REGISTERED = 0  #: known, and never started
    STARTING = 1  #: waits for room, or comes up
    RUNNING = 2  #: takes messages
    SUSPENDED = 3  #: its state is saved and it holds nothing; messages wait
    CRASHED = 4  #: its process died; it starts again after a pause
    REBOOTING = 5  #: comes up after a crash, or after its node was lost
    STOPPED = 6  #: over, by wish or because its program ended
    FAILED = 7  #: given up: it died too often, or is not to be started again
    SLEEPING = 8  #: as suspended, by itself, since it had nothing to do: its next message wakes it


_P = Phase
_DOWN = frozenset({_P.SUSPENDED, _P.SLEEPING, _P.CRASHED, _P.REBOOTING, _P.STOPPED, _P.FAILED})

#: The moves that an agent makes from one instant to the next. One frame may hold several.
LEGAL_PHASES: dict[Phase, frozenset[Phase]] = {
    _P.REGISTERED: frozenset({_P.STARTING}),
    _P.STARTING: frozenset({_P.RUNNING}) | _DOWN,
    _P.RUNNING: frozenset({_P.STARTING}) | _DOWN,
    _P.SUSPENDED: frozenset({_P.STARTING, _P.REBOOTING, _P.STOPPED}),
    _P.SLEEPING: frozenset({_P.STARTING, _P.REBOOTING, _P.SUSPENDED, _P.STOPPED}),
    _P.CRASHED: frozenset({_P.REBOOTING, _P.SUSPENDED, _P.STOPPED}),
    _P.REBOOTING: frozenset({_P.RUNNING}) | _DOWN,
    _P.STOPPED: frozenset({_P.STARTING}),
    _P.FAILED: frozenset({_P.STARTING, _P.REBOOTING, _P.STOPPED}),
}

_COMING = (JobState.BLOCKED, JobState.READY, JobState.LAUNCHED)


def phase_of(
    carrier: JobState | None, *, ready: bool, braked: bool, rebooting: bool, begun: bool, asleep: bool = False
) -> Phase:
    """Where an agent stands.

    Args:
        carrier: the state of its carrier, None where it has none.
        ready: whether the carrier's attempt has said that it takes messages.
        braked: whether it was given up; of one without a carrier: whether that ended without success.
        rebooting: whether it died and has not been ready since.
        begun: whether it ever had a carrier.
        asleep: whether it is held because it had nothing to do.

    """
    if carrier is None:
        ended = Phase.FAILED if braked else Phase.STOPPED
        return ended if begun else Phase.REGISTERED
    if carrier is JobState.HELD:
        if braked:
            return Phase.FAILED
        return Phase.SLEEPING if asleep else Phase.SUSPENDED
    if carrier is JobState.BACKOFF:  # it died; or its launch never arrived, and is sent again later
        return Phase.CRASHED if rebooting else Phase.STARTING
    if carrier not in _COMING and ready:
        return Phase.RUNNING
    return Phase.REBOOTING if rebooting else Phase.STARTING


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent as it was registered. Its band, resources, code, tags and limits stand in `spec`, the carrier's."""

    name: str
    spec: Spec
    namespace: str = "default"
    #: the payload with which its class is called
    args: bytes = b""
    #: what may be called; empty: nothing may, it is a program
    methods: tuple[str, ...] = ()
    #: the program's environment, as the registration names it
    exec_env: str = "actor"
    capabilities: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    #: how it takes part in its roles where others have them too: "", or as a standby hot, warm or cold
    standby: str = ""
    #: the agent that made it, and with which it ends where it is cascading
    parent: str = ""
    #: "" or normal; low or experimental until so many of its results in a row were found good
    trust: str = ""
    verify_after: int = VERIFY_AFTER
    kind: str = "persistent"
    #: it sleeps when it had nothing to do for so long; 0: never
    idle_sleep_ms: int = 0
    #: agents that are to run before it starts
    after: tuple[str, ...] = ()
    requires: Needs = NEEDS_NOTHING
    #: of schedules that send it messages and name none
    timezone: str = ""
    #: so many of its newest snapshots are kept
    snapshots_kept: int = SNAPSHOTS_KEPT

    @property
    def lazy(self) -> bool:
        """Whether its first message starts it."""
        return self.kind in LAZY or self.standby == "cold"

    @property
    def dozes(self) -> bool:
        """Whether it goes when it has nothing to do."""
        return self.idle_sleep_ms > 0 or self.kind == "ephemeral"

    @property
    def key(self) -> str:
        """What it is known by."""
        return agent_key(self.namespace, self.name)


def agent_key(namespace: str, name: str) -> str:
    """A name is unique in its namespace."""
    return f"{namespace}\0{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSet:
    """Somebody registered an agent, or changed one: a life that has begun goes on as it is."""

    request_id: str
    agent: Agent
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRemoved:
    """Somebody took an agent that has no carrier out of the registry."""

    request_id: str
    key: str
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentWanted:
    """Somebody wants an agent to run, to be suspended or to be over.

    What that means for its carrier is in the same frame, but for `restart`: its attempt is to end, and to start again.
    """

    request_id: str
    key: str
    wanted: Wanted
    restart: bool = False
    note: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCarried:
    """A job, of the same frame, carries an agent from now on."""

    key: str
    job: JobKey


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentsSaid:
    """Attempts on a node that carry agents take messages from now on (`ready`), or have gone. Columns."""

    node: NodeId
    keys: tuple[JobKey, ...]
    attempts: tuple[int, ...]
    ready: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentVerified:
    """Somebody has looked at what an agent that is not trusted made of a message, and found it good, or bad."""

    request_id: str
    key: str
    job: JobKey
    good: bool
    by: str = ""


AgentEvent = AgentSet | AgentRemoved | AgentWanted | AgentCarried | AgentsSaid | AgentVerified
AGENT_EVENTS: tuple[type, ...] = (AgentSet, AgentRemoved, AgentWanted, AgentCarried, AgentsSaid, AgentVerified)
#: those of which one round holds one for each agent
AGENT_WISHES: tuple[type, ...] = (AgentSet, AgentRemoved, AgentWanted, AgentRolledBack)
