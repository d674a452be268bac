"""The snapshots of agents as they stand: which are kept, what each came from, and with which one its agent goes on.

They belong to a life of the agent: its carrier has them, and they go when that is over. What is here can be restored:
the journal has the bytes of all of them (`journal/reports.py` folds the same events into rows).
"""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kos_ray.model.agent_snapshots import (
    AgentRolledBack,
    AgentSaveAsked,
    AgentsUnsaved,
    ForgetSnapshots,
    SaveAgents,
    Snapshot,
    SnapshotEvent,
    contents,
)
from kos_ray.model.agents import Wanted
from kos_ray.model.decisions import Launch
from kos_ray.model.events import CheckpointsStored
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.wire import from_plain, to_plain

if TYPE_CHECKING:
    from kos_ray.scheduler.agents import Standing
    from kos_ray.scheduler.state import State

#: requests of each agent whose answer is known: one that comes again changes nothing
_REQUESTS = 20
_HERE = (JobState.LAUNCHED, JobState.RUNNING, JobState.STOPPING)


class Lineage:
    """The snapshots of one life of an agent."""

    __slots__ = ("asked", "head", "kept", "newest", "saves", "target", "wrong")

    def __init__(self) -> None:
        #: by hash, the one that was saved the longest ago first
        self.kept: dict[str, Snapshot] = {}
        #: what the agent's state comes from: restored last, or saved last; "" where that is none of these
        self.head = ""
        #: what its next attempt is to begin with, "" where that is the head
        self.target = ""
        #: attempt and number of its newest save: a report that comes again, late, changes nothing
        self.newest = (0, 0)
        #: requests to roll back, the newest last, each with the answer
        self.asked: deque[tuple[str, str]] = deque(maxlen=_REQUESTS)
        #: how often it has saved, or tried to when it was asked; and what was wrong the last time
        self.saves = 0
        self.wrong = ""

    def add(self, hash_: str, size: int, why: str, at_us: int) -> None:
        """Its state was saved. The same bytes as before are the same snapshot, and it stands there again."""
        known = self.kept.pop(hash_, None)
        self.kept[hash_] = known or Snapshot(hash=hash_, parent=self.head, at_us=at_us, why=why, size=size)
        self.head = hash_
        self.saves, self.wrong = self.saves + 1, ""

    def over(self, kept: int) -> tuple[str, ...]:
        """Those that are too many, the oldest first; never what it goes on from."""
        free = [hash_ for hash_ in self.kept if hash_ not in (self.head, self.target)]
        return tuple(free[: max(0, len(self.kept) - kept)])

    def launched(self) -> None:
        """Its next attempt begins."""
        if self.target:
            self.head, self.target = self.target, ""


# --- what happened


def stored(state: "State", event: CheckpointsStored, now_us: int) -> None:
    """Those of the saves that are of agents, and count (as in the journal's rows)."""
    whys = dict(event.whys)
    for i, (key, attempt) in enumerate(zip(event.keys, event.attempts, strict=True)):
        name, job = state.agents.of_job.get(key), state.jobs.get(key)
        if name is None or job is None or job.attempt != attempt or job.node != event.node:
            continue
        if job.state not in _HERE or key in state.todo.ended:
            continue
        lineage, place = state.agents.by_key[name].lineage, (attempt, event.numbers[i])
        if place <= lineage.newest:
            continue
        lineage.newest = place
        if i in whys:
            lineage.add(*contents(event.payloads[i]), whys[i], event.at_us[i] or now_us)
            state.agents.grown[name] = None
        else:  # an agent host of before: it is no snapshot, but what the agent goes on with
            lineage.head = ""


def fold(state: "State", event: SnapshotEvent, _now_us: int) -> None:
    """An event of `model.agent_snapshots`, into the state."""
    if isinstance(event, AgentsUnsaved):
        _unsaved(state, event)
    elif event.key in state.agents.by_key:
        if isinstance(event, AgentSaveAsked):
            state.agents.to_save[event.key] = None
        else:
            _rolled_back(state, state.agents.by_key[event.key], event)


def _rolled_back(state: "State", standing: "Standing", event: AgentRolledBack) -> None:
    """An agent is to go on from a snapshot that it has; if it runs it ends now, and if it was given up it is not."""
    lineage = standing.lineage
    if event.snapshot not in lineage.kept:
        return
    lineage.target = event.snapshot
    lineage.asked.append((event.request_id, event.snapshot))
    if event.note:
        standing.note = event.note
    if standing.braked:
        standing.wanted = Wanted.RUNNING
        standing.afresh()
    job = state.jobs.get(standing.job)
    if job is not None and job.state in (JobState.LAUNCHED, JobState.RUNNING):
        state.todo.paused[job.key] = None


def _unsaved(state: "State", event: AgentsUnsaved) -> None:
    """It was asked to save its state, and could not."""
    for key, attempt, text in zip(event.keys, event.attempts, event.texts, strict=True):
        name, job = state.agents.of_job.get(key), state.jobs.get(key)
        if name is not None and job is not None and job.attempt == attempt and job.node == event.node:
            lineage = state.agents.by_key[name].lineage
            lineage.saves, lineage.wrong = lineage.saves + 1, text


def launched(state: "State", keys: Sequence[JobKey]) -> None:
    """Attempts that carry agents begin, each with what its agent is to go on from."""
    for key in keys:
        name = state.agents.of_job.get(key)
        if name is not None:
            state.agents.by_key[name].lineage.launched()


def forgotten(state: "State", decision: ForgetSnapshots) -> None:
    """These are not kept any more."""
    name = state.agents.of_job.get(decision.key)
    if name is not None:
        for hash_ in decision.hashes:
            state.agents.by_key[name].lineage.kept.pop(hash_, None)


# --- what follows


def heads(state: "State", decision: Launch) -> dict[JobKey, str]:
    """The snapshots with which attempts begin that carry agents, for those that have one."""
    if not (decision.kind.agent and decision.kind.single_use):
        return {}
    named = [(key, state.agents.of_job.get(key)) for key in decision.keys]
    found = {key: state.agents.by_key[name].lineage.head for key, name in named if name is not None}
    return {key: head for key, head in found.items() if head}


def decided(state: "State") -> list[SaveAgents | ForgetSnapshots]:
    """Who is asked to save, and which snapshots go since there are newer ones. Nothing of it is applied."""
    agents = state.agents
    found: list[SaveAgents | ForgetSnapshots] = []
    for name in agents.to_save:
        standing = agents.by_key.get(name)
        job = state.jobs.get(standing.job) if standing is not None else None
        if job is not None and job.state is JobState.RUNNING and job.node is not None:
            found.append(SaveAgents(node=job.node, keys=(job.key,), attempts=(job.attempt,)))
    for name in agents.grown:
        standing = agents.by_key.get(name)
        if standing is not None and (over := standing.lineage.over(standing.agent.snapshots_kept)):
            found.append(ForgetSnapshots(key=standing.job, hashes=over))
    return found


# --- snapshots of the scheduler


def to_snapshot(lineage: Lineage) -> Any:
    """Plain data."""
    kept = [to_plain(one) for one in lineage.kept.values()]
    return kept, lineage.head, lineage.target, list(lineage.asked), lineage.saves, lineage.wrong, lineage.newest


def from_snapshot(plain: Any) -> Lineage:
    """The inverse."""
    found = Lineage()
    kept, found.head, found.target, asked, found.saves, found.wrong, *more = plain
    if more:  # snapshots of before do not say it
        attempt, number = more[0]
        found.newest = (attempt, number)
    found.kept = {one.hash: one for one in (from_plain(Snapshot, said) for said in kept)}
    found.asked.extend((request, answer) for request, answer in asked)
    return found
