"""What people want of the snapshots of agents: to take one, to see them, to go back to one."""

from typing import Any

from kos_ray.engine.inbox import AgentWish
from kos_ray.model import events as e
from kos_ray.model.agent_snapshots import AgentRolledBack, AgentSaveAsked, short
from kos_ray.model.agents import Phase
from kos_ray.model.errors import Refused
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.scheduler.agents import Standing, phase
from kos_ray.scheduler.lineage import Lineage
from kos_ray.scheduler.state import State

SNAPSHOT_VERBS = ("snapshot", "snapshots", "rollback")

_Granted = tuple[list[e.Event], object]


def snapshot_wished(wish: AgentWish, standing: Standing, state: State) -> _Granted:
    """The events that make a wish come true, and its answer.

    Raises:
        Refused: it cannot be; the message says why, and what to do.

    """
    name = standing.agent.name
    if not standing.agent.methods:
        raise Refused(f"agent {name} is a program: expected one of a class, since a program's state is its own affair")
    if wish.verb == "snapshots":
        return [], _told(standing)
    if wish.verb == "snapshot":
        job = state.jobs.get(standing.job)
        if phase(state, standing) is not Phase.RUNNING or job is None or job.state is not JobState.RUNNING:
            raise Refused(
                f"agent {name} is {_told_of(state, standing)}: expected one that is running; of the others nothing is "
                f"left to be saved (`kos agent snapshots {name}` shows what is)"
            )
        return [AgentSaveAsked(request_id=wish.request_id, key=wish.key, by=wish.by)], _told(standing)
    return _rolled_back(wish, standing, state)


def _rolled_back(wish: AgentWish, standing: Standing, state: State) -> _Granted:
    name, lineage, job = standing.agent.name, standing.lineage, state.jobs.get(standing.job)
    answered = dict(lineage.asked).get(wish.request_id)
    if answered is not None:
        return [], _answer(standing, answered, state)
    if job is None:
        raise Refused(
            f"agent {name} is {_phase(state, standing)}: its life is over, and its snapshots went with it; `kos agent "
            f"start {name}` begins another one (suspend, not stop, keeps them)"
        )
    if job.cancelled:
        raise Refused(f"agent {name} is being stopped: its snapshots go with it")
    hash_ = _named(wish.snapshot, name, lineage)
    events: list[e.Event] = [
        AgentRolledBack(request_id=wish.request_id, key=wish.key, snapshot=hash_, note=wish.note, by=wish.by)
    ]
    if standing.braked and job.state is JobState.HELD:  # given up because of what it had become: it may try again
        events.append(e.ReleaseRequested(request_id="", keys=(JobKey(job.key),), by=wish.by))
    return events, _answer(standing, hash_, state)


def _named(prefix: str, name: str, lineage: Lineage) -> str:
    """The hash of the one snapshot that begins so.

    Raises:
        Refused: there is none, or several.

    """
    found = [hash_ for hash_ in lineage.kept if prefix and hash_.startswith(prefix.lower())]
    if len(found) == 1:
        return found[0]
    if found:
        raise Refused(f"{prefix!r} may be any of {_listed(found, lineage)}: say more digits")
    if not lineage.kept:
        raise Refused(f"agent {name} has no snapshots yet: `kos agent snapshot {name}` takes one")
    raise Refused(f"agent {name} has no snapshot {prefix!r}; it has {_listed(list(lineage.kept)[::-1], lineage)}")


def _listed(hashes: list[str], lineage: Lineage) -> str:
    return ", ".join(short(hash_, lineage.kept) for hash_ in hashes)


def head_of(standing: Standing) -> str:
    """The id of the snapshot that an agent's state comes from, "" where that is none."""
    lineage = standing.lineage
    return short(lineage.head, lineage.kept) if lineage.head in lineage.kept else ""


def _answer(standing: Standing, hash_: str, state: State) -> dict[str, Any]:
    return {
        "name": standing.agent.name,
        "job": standing.job,
        "snapshot": short(hash_, standing.lineage.kept),
        "phase": _phase(state, standing),
    }


def _told(standing: Standing) -> dict[str, Any]:
    """All that there are, the oldest first, with the one that stands for the agent's state, and the one it goes to."""
    lineage = standing.lineage
    kept = [
        {
            "id": short(one.hash, lineage.kept),
            "hash": one.hash,
            "parent": short(one.parent, lineage.kept) if one.parent else "",
            "at_us": one.at_us,
            "why": one.why,
            "size": one.size,
            "current": one.hash == lineage.head,
            "next": one.hash == lineage.target,
        }
        for one in lineage.kept.values()
    ]
    return {"name": standing.agent.name, "snapshots": kept, "saves": lineage.saves, "wrong": lineage.wrong}


def _told_of(state: State, standing: Standing) -> str:
    """How it stands, in words: one that is about to go is no more than that."""
    found = phase(state, standing)
    return "about to go" if found is Phase.RUNNING else found.name.lower()


def _phase(state: State, standing: Standing) -> str:
    return phase(state, standing).name.lower()
