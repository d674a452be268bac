"""Agents as they stand, and what that means for their messages and for their carriers (`model/agents.py`).

The registry is changed by events alone. What an agent's carrier may do is decided where that is decided for all jobs;
only what happens when it dies is its own (`crashed`).
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kos_ray.model.agents import (
    UNTRUSTED,
    Agent,
    AgentCarried,
    AgentEvent,
    AgentRemoved,
    AgentSet,
    AgentsSaid,
    AgentVerified,
    AgentWanted,
    Phase,
    Wanted,
    agent_key,
    phase_of,
)
from kos_ray.model.events import AttemptsEnded
from kos_ray.model.ids import MS_US, JobKey, NodeId
from kos_ray.model.job import JobState, SlotKind
from kos_ray.model.reasons import Reason
from kos_ray.model.wire import from_plain, to_plain
from kos_ray.scheduler import lineage
from kos_ray.scheduler.lineage import Lineage
from kos_ray.scheduler.retry import backoff_us

if TYPE_CHECKING:
    from kos_ray.scheduler.jobs import ClassKey, Job
    from kos_ray.scheduler.state import NodeState, State


#: the bands that only trusted agents handle: this one and those before it
URGENT = 1


class Standing:
    """An agent as it stands."""

    __slots__ = (
        *("agent", "asleep", "begun", "braked", "closed", "crashes", "handled", "job", "lacks", "last_us", "lineage"),
        *("note", "ready", "ready_us", "rebooting", "verified", "wanted"),
    )

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.wanted = Wanted.STOPPED
        self.note = ""
        #: its carrier, JobKey(0) for none, and whether it ever had one
        self.job = JobKey(0)
        self.begun = False
        #: which attempt of the carrier takes messages, 0 for none
        self.ready = 0
        #: it died, and has not been ready since
        self.rebooting = False
        #: it was given up
        self.braked = False
        #: when it died of late, the first first
        self.crashes: deque[int] = deque()
        #: it is held because it had nothing to do
        self.asleep = False
        #: somebody has stopped it: no message starts it
        self.closed = False
        #: since when it takes messages, and when the last one of them ended, as far as its life hangs on that
        self.ready_us = self.last_us = 0
        #: how many of its results in a row were found good, while it is not trusted; and those not looked at yet
        self.verified = 0
        self.handled: dict[JobKey, None] = {}
        #: the states of its life that it can go back to
        self.lineage = Lineage()
        #: by node, what its starts there found missing of what it needs; until it runs
        self.lacks: dict[NodeId, tuple[str, ...]] = {}

    def afresh(self) -> None:
        """What it died of before counts no more."""
        self.rebooting = self.braked = False
        self.crashes.clear()
        self.lacks.clear()

    @property
    def trusted(self) -> bool:
        """Whether it may handle what is most urgent."""
        agent = self.agent
        return agent.trust not in UNTRUSTED or self.verified >= agent.verify_after


@dataclass(slots=True)
class Agents:
    """All of them, and the agent of each carrier."""

    by_key: dict[str, Standing] = field(default_factory=dict)
    of_job: dict[JobKey, str] = field(default_factory=dict)
    #: those that go when they have nothing to do, that a message starts, and that have to earn trust; derived
    dozing: dict[str, None] = field(default_factory=dict)
    lazy: dict[str, None] = field(default_factory=dict)
    watched: dict[str, None] = field(default_factory=dict)
    #: those that somebody wants to save, and that have saved: empty between steps
    to_save: dict[str, None] = field(default_factory=dict)
    grown: dict[str, None] = field(default_factory=dict)

    def note(self, agent: Agent) -> None:
        """An agent is registered, or registered anew."""
        kinds = (self.dozing, agent.dozes), (self.lazy, agent.lazy), (self.watched, agent.trust in UNTRUSTED)
        for found, belongs in kinds:
            found.pop(agent.key, None)
            if belongs:
                found[agent.key] = None

    def saves_decided(self) -> None:
        """Nothing is left to be decided of what they save."""
        self.to_save.clear()
        self.grown.clear()

    def forget(self, key: str) -> None:
        """An agent is registered no more."""
        self.by_key.pop(key, None)
        for found in (self.dozing, self.lazy, self.watched):
            found.pop(key, None)


# --- how they stand


def phase(state: "State", standing: Standing) -> Phase:
    """Where an agent stands."""
    job = state.jobs.get(standing.job)
    return phase_of(
        None if job is None else job.state,
        ready=job is not None and standing.ready == job.attempt,
        braked=standing.braked,
        rebooting=standing.rebooting,
        begun=standing.begun,
        asleep=standing.asleep,
    )


def host(state: "State", kind: SlotKind) -> "NodeState | None":
    """The node where the agent runs into whose process a kind is a lane; None while it takes no messages."""
    standing = state.agents.by_key.get(agent_key(kind.namespace, kind.receiver))
    return None if standing is None else home(state, standing)


def home(state: "State", standing: Standing) -> "NodeState | None":
    """The node where an agent runs; None while it takes no messages."""
    job = state.jobs.get(standing.job)
    if job is None or job.state is not JobState.RUNNING or job.attempt != standing.ready:
        return None
    node = state.nodes.get(job.node) if job.node is not None else None
    return None if node is None or node.silent else node


def room(state: "State", name: "ClassKey") -> tuple[int, Reason]:
    """How many more messages of a class an agent takes now, and what holds the next one."""
    kind = name.kind
    if kind.unchosen:
        return 0, state.dispatch.why.get(name, Reason.ABLE_AWAY)
    node = host(state, kind)
    if node is None:
        return 0, Reason.AGENT_AWAY
    standing = state.agents.by_key[agent_key(kind.namespace, kind.receiver)]
    if name.band <= URGENT and not standing.trusted:
        return 0, Reason.NOT_TRUSTED
    carries = standing.agent.spec.carries
    assert carries is not None
    lane = node.lanes.get(kind)
    left = carries.concurrency - (len(lane.held) if lane else 0)
    return max(0, left), Reason.AGENT_BUSY


def missing(state: "State", kind: SlotKind) -> list[str]:
    """The agents that are to run before the one that a carrier's kind is for, and do not."""
    standing = state.agents.by_key.get(agent_key(kind.namespace, kind.agent))
    if standing is None:
        return []
    others = ((name, state.agents.by_key.get(agent_key(kind.namespace, name))) for name in standing.agent.after)
    return [name for name, other in others if other is None or not (other.asleep or home(state, other))]


def told(state: "State", kind: SlotKind) -> str:
    """The agent for whose messages a kind is, and how it stands, in words."""
    if kind.unchosen:
        return "no agent has been chosen for it yet"
    standing = state.agents.by_key.get(agent_key(kind.namespace, kind.receiver))
    if standing is None:
        return f"there is no agent {kind.receiver} any more"
    return f"agent {kind.receiver} is {phase(state, standing).name.lower()}"


def mail(state: "State") -> Counter[str]:
    """How many live messages each agent has, by key."""
    found: Counter[str] = Counter()
    for entry in state.specs.values():
        if entry.spec.receiver:
            found[agent_key(entry.spec.namespace, entry.spec.receiver)] += entry.live
    for key, choice in state.dispatch.chosen.items():
        found[agent_key(state.jobs[key].kind.namespace, choice.agent)] += 1
    return found


def messages(state: "State", key: str) -> list[JobKey]:
    """The live messages to an agent. Looks at all live jobs."""
    return [
        job.key for job in state.jobs.values() if agent_key(job.kind.namespace, job.entry.spec.receiver or "\0") == key
    ]


def held_for(agents: Agents, key: JobKey) -> Reason:
    """Why a job is held that carries an agent, where nobody wanted that; NONE for all others."""
    standing = agents.by_key[agents.of_job[key]] if key in agents.of_job else None
    if standing is None or not (standing.braked or standing.asleep):
        return Reason.NONE
    return Reason.CRASH_LOOP if standing.braked else Reason.AGENT_IDLE


# --- what happens when one dies


def crashed(state: "State", job: "Job", now_us: int) -> int | None:
    """When a carrier whose attempt has failed starts again; 0 where somebody has to start it, None where it is over.

    One that is given up keeps its state: it is held. Only an ephemeral one is over with its process.
    """
    spec = job.entry.spec
    assert spec.carries is not None
    standing = state.agents.by_key[state.agents.of_job[job.key]]
    if not spec.carries.restart:
        return None if standing.agent.kind == "ephemeral" else 0
    since_us = now_us - spec.carries.window_ms * MS_US
    lately = 1 + sum(at_us > since_us for at_us in standing.crashes)
    return 0 if lately >= spec.carries.crashes_max else now_us + backoff_us(spec.backoff, job.key, lately)


def note_crash(agents: Agents, key: JobKey, now_us: int, *, braked: bool = False) -> None:
    """A carrier's attempt has failed; `braked`: so often that it is not started again by itself."""
    standing = agents.by_key[agents.of_job[key]]
    spec = standing.agent.spec
    assert spec.carries is not None
    standing.crashes.append(now_us)
    while len(standing.crashes) > spec.carries.crashes_max:
        standing.crashes.popleft()
    standing.rebooting, standing.braked = True, braked


def note_lacks(state: "State", event: AttemptsEnded) -> None:
    """What carriers' attempts that have ended found missing on their node. Any other end there says nothing of it."""
    lacks = {error.index: error.lacks for error in event.errors}
    for i, key in enumerate(event.keys):
        if key in state.agents.of_job and key in state.todo.ended and i in lacks:
            standing = state.agents.by_key[state.agents.of_job[key]]
            standing.lacks.pop(event.node, None)
            if lacks[i]:
                standing.lacks[event.node] = lacks[i]


def note_lost(agents: Agents, key: JobKey) -> None:
    """A carrier's node was lost, if it is one."""
    if key in agents.of_job:
        agents.by_key[agents.of_job[key]].rebooting = True


def note_asleep(agents: Agents, key: JobKey) -> None:
    """A carrier is to be held, for its agent has nothing to do."""
    agents.by_key[agents.of_job[key]].asleep = True


def note_woken(agents: Agents, key: JobKey) -> None:
    """There is something to do for it again."""
    agents.by_key[agents.of_job[key]].asleep = False


def carrier_ended(state: "State", key: JobKey, outcome: JobState) -> None:
    """A job is over: if it carried an agent, so is that, and those that end with it are to end."""
    agents = state.agents
    name = agents.of_job.pop(key, None)
    if name is None:
        return
    standing = agents.by_key[name]
    standing.job, standing.ready, standing.rebooting = JobKey(0), 0, False
    standing.wanted, standing.braked = Wanted.STOPPED, outcome in (JobState.FAILED, JobState.LOST)
    standing.asleep, standing.lineage = False, Lineage()
    for other in agents.by_key.values():
        ends = other.agent.kind == "cascading" and agent_key(other.agent.namespace, other.agent.parent) == name
        if ends and other.job in state.jobs:
            state.todo.orphaned[other.job] = None


# --- what happened


def fold(state: "State", event: AgentEvent, now_us: int) -> None:
    """An event of `model.agents`, which happened at `now_us`, into the state."""
    agents = state.agents
    if isinstance(event, AgentsSaid):
        _said(state, event, now_us)
    elif isinstance(event, AgentSet):
        standing = agents.by_key.get(event.agent.key)
        if standing is None:
            agents.by_key[event.agent.key] = Standing(event.agent)
        else:
            standing.agent = event.agent
            standing.lacks.clear()
        agents.note(event.agent)
    elif isinstance(event, AgentRemoved):
        agents.forget(event.key)
    elif event.key in agents.by_key:
        standing = agents.by_key[event.key]
        if isinstance(event, AgentCarried):
            standing.job, standing.begun, standing.ready = event.job, True, 0
            agents.of_job[event.job] = event.key
            standing.afresh()
        elif isinstance(event, AgentVerified):
            if event.job in standing.handled:
                del standing.handled[event.job]
                standing.verified = standing.verified + 1 if event.good else 0
        else:
            _wanted(state, standing, event)


def _wanted(state: "State", standing: Standing, event: AgentWanted) -> None:
    standing.wanted, standing.note = event.wanted, event.note
    standing.asleep = False
    standing.closed = event.wanted is Wanted.STOPPED
    if event.wanted is Wanted.RUNNING and not event.restart and standing.braked and standing.job:
        standing.afresh()
    job = state.jobs.get(standing.job)
    if event.restart and job is not None and job.state in (JobState.LAUNCHED, JobState.RUNNING):
        state.todo.paused[job.key] = None


def _said(state: "State", event: AgentsSaid, now_us: int) -> None:
    for key, attempt, ready in zip(event.keys, event.attempts, event.ready, strict=True):
        name, job = state.agents.of_job.get(key), state.jobs.get(key)
        if name is None or job is None or job.attempt != attempt or job.node != event.node:
            continue  # fenced, as the ends of attempts are
        standing = state.agents.by_key[name]
        standing.ready = attempt if ready else 0
        if ready:
            standing.rebooting = standing.braked = False
            standing.lacks.clear()
            standing.ready_us = now_us


# --- snapshots


def to_snapshot(agents: Agents) -> Any:
    """Plain data."""
    return [
        (
            to_plain(one.agent),
            (int(one.wanted), one.note, one.job, one.begun, one.ready, one.rebooting, one.braked),
            list(one.crashes),
            (one.asleep, one.closed, one.ready_us, one.last_us, one.verified, list(one.handled)),
            lineage.to_snapshot(one.lineage),
            list(one.lacks.items()),
        )
        for one in agents.by_key.values()
    ]


def from_snapshot(plain: Any) -> Agents:
    """The inverse."""
    found = Agents()
    for agent, (wanted, note, job, begun, ready, rebooting, braked), crashes, *more in plain:
        standing = Standing(from_plain(Agent, agent))
        standing.wanted, standing.note, standing.job, standing.begun = Wanted(wanted), note, JobKey(job), begun
        standing.ready, standing.rebooting, standing.braked = ready, rebooting, braked
        standing.crashes.extend(crashes)
        if more:  # snapshots of before do not say these
            standing.asleep, standing.closed, standing.ready_us, standing.last_us, standing.verified, handled = more[0]
            standing.handled = dict.fromkeys(map(JobKey, handled))
        if more[1:]:
            standing.lineage = lineage.from_snapshot(more[1])
        if more[2:]:
            standing.lacks = {NodeId(node): tuple(things) for node, things in more[2]}
        found.note(standing.agent)
        found.by_key[standing.agent.key] = standing
        if job:
            found.of_job[standing.job] = standing.agent.key
    return found
