"""What people want of agents: a wish becomes events of the registry, and of the job that carries the agent.

Both are in one frame, as a schedule's fire and its job are: an agent is started once, whatever dies.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kos_ray.engine.admission import Admission
from kos_ray.engine.agent_queue import handling
from kos_ray.engine.agent_snapshots import SNAPSHOT_VERBS, head_of, snapshot_wished
from kos_ray.engine.inbox import AgentWish
from kos_ray.engine.relatives import check_parent_lives, check_relatives, leads
from kos_ray.engine.schedules import written
from kos_ray.model import events as e
from kos_ray.model.agent_snapshots import AgentRolledBack
from kos_ray.model.agents import (
    AGENT_WISHES,
    Agent,
    AgentCarried,
    AgentRemoved,
    AgentSet,
    AgentWanted,
    Wanted,
)
from kos_ray.model.errors import Refused
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.protocol import Array, Submit
from kos_ray.model.wire import from_plain, to_plain
from kos_ray.scheduler.agents import Standing, mail, messages, missing, phase
from kos_ray.scheduler.explain import why_named
from kos_ray.scheduler.resting import called
from kos_ray.scheduler.state import State

#: a carrier that has an attempt goes on to its end though it is held
_UP = (JobState.LAUNCHED, JobState.RUNNING)

_Granted = tuple[list[e.Event], object]


def agent_wished(
    wish: AgentWish, state: State, admission: Admission, now_us: int, before: Sequence[e.Event]
) -> _Granted:
    """The events that make a wish come true, and its answer: a mapping, or `Refused`. `before`: of the same round."""
    if wish.key in {_key_of(event) for event in before if isinstance(event, AGENT_WISHES)}:
        return [], Refused(f"agent {_told(wish.key)} is being changed by somebody else: try again")
    standing = state.agents.by_key.get(wish.key)
    if standing is None and wish.agent is None:
        return [], Refused(f"there is no agent {_told(wish.key)}; see `kos agent ls`")
    try:
        if standing is None or wish.agent is not None:
            assert wish.agent is not None
            return _set(wish, wish.agent, state, admission, now_us)
        if wish.verb in SNAPSHOT_VERBS:
            return snapshot_wished(wish, standing, state)
        changed = _removed if wish.verb == "remove" else _moved
        return changed(wish, standing, state, admission, now_us)
    except Refused as refused:
        return [], refused


def _key_of(event: e.Event) -> str:
    if isinstance(event, AgentSet):
        return event.agent.key
    return event.key if isinstance(event, AgentRemoved | AgentWanted | AgentRolledBack) else ""


def _told(key: str) -> str:
    namespace, _, name = key.partition("\0")
    return f"{name} in namespace {namespace}"


def _set(wish: AgentWish, agent: Agent, state: State, admission: Admission, now_us: int) -> _Granted:
    if not agent.name or agent.spec.carries is None or agent.spec.carries.name != agent.name:
        raise Refused("an agent needs a name, and a job that carries it under that name")
    there = state.agents.by_key.get(agent.key)
    if there is not None and there.agent != agent and not wish.replace:
        raise Refused(
            f"agent {agent.name!r} is there already in namespace {agent.namespace!r}, and is another one: choose "
            "another name, or replace it (`--replace`)"
        )
    check_relatives(agent, state)
    events: list[e.Event] = []
    if there is None or there.agent != agent:
        events.append(AgentSet(request_id=wish.request_id, agent=agent, by=wish.by))
    if wish.verb != "start" or (there is not None and there.job):
        if wish.verb == "start" and there is not None:
            _check_lives(there, state)
        return events, {"name": agent.name, "job": there.job if there is not None else 0}
    if agent.lazy:  # its first message starts it
        return events, {"name": agent.name, "job": 0}
    check_parent_lives(agent, state)
    carrier = _carrier(wish.request_id, agent, admission, now_us)
    if not carrier:
        return events, {"name": agent.name, "job": 0}
    wanted = AgentWanted(request_id=wish.request_id, key=agent.key, wanted=Wanted.RUNNING, by=wish.by)
    return [*events, wanted, *carrier], {"name": agent.name, "job": _job_of(carrier)}


def _carrier(request_id: str, agent: Agent, admission: Admission, now_us: int) -> list[e.Event]:
    """The job that carries the agent from now on; nothing where it was asked for before, and is over.

    Raises:
        Refused: it is not accepted.

    """
    hash_ = spec_hash(agent.spec)
    array = Array(
        id=str(uuid.uuid5(uuid.NAMESPACE_OID, request_id)),
        count=-1,
        spec=hash_,
        args=(agent.args,),
        name=f"{agent.name}@{written(now_us)}",
    )
    request = Submit(request_id=f"agent:{request_id}", arrays=(array,), specs=((hash_, agent.spec),))
    accepted, event = admission.admit(request)
    if event is None:
        return []
    return [event, AgentCarried(key=agent.key, job=JobKey(accepted.first))]


def called_events(state: State, admission: Admission, now_us: int, before: Sequence[e.Event]) -> list[e.Event]:
    """The lives of agents that messages begin. One that cannot begin is stopped, with the reason as its note."""
    if not state.agents.lazy:
        return []
    touched = {_key_of(event) for event in before if isinstance(event, AGENT_WISHES)}
    found: list[e.Event] = []
    for key in called(state):
        if key in touched:
            continue
        agent = state.agents.by_key[key].agent
        request_id = f"called:{agent.namespace}/{agent.name}:{admission.next_key}"
        carrier, wanted, note = list[e.Event](), Wanted.RUNNING, ""
        try:
            carrier = _carrier(request_id, agent, admission, now_us)
        except Refused as refused:
            wanted, note = Wanted.STOPPED, str(refused)
        found += [AgentWanted(request_id=request_id, key=key, wanted=wanted, note=note), *carrier]
    return found


def _job_of(events: Sequence[e.Event]) -> int:
    return next((event.job for event in events if isinstance(event, AgentCarried)), 0)


def _removed(wish: AgentWish, standing: Standing, state: State, admission: Admission, _now_us: int) -> _Granted:
    name = standing.agent.name
    if wish.key in admission.addressed:
        raise Refused(f"somebody sends agent {name} a message just now: try again")
    if standing.job:
        raise Refused(f"agent {name} is {_phase(state, standing)}: `kos agent stop {name}` first")
    waiting = messages(state, wish.key) if mail(state)[wish.key] else []
    if waiting and not wish.force:
        raise Refused(
            f"{len(waiting)} messages wait for agent {name}: `kos agent start {name}` has them handled, `--force` "
            "cancels them"
        )
    admission.removed.add(wish.key)
    events: list[e.Event] = [AgentRemoved(request_id=wish.request_id, key=wish.key, by=wish.by)]
    if waiting:
        events.append(e.CancelRequested(request_id="", keys=tuple(waiting), by=wish.by))
    return events, {"name": name, "cancelled": len(waiting)}


def _moved(wish: AgentWish, standing: Standing, state: State, admission: Admission, now_us: int) -> _Granted:
    """start, stop, suspend, resume, restart: what holds already is no error."""
    agent, job = standing.agent, state.jobs.get(standing.job)
    events: list[e.Event] = []
    wanted = {"stop": Wanted.STOPPED, "suspend": Wanted.SUSPENDED}.get(wish.verb, Wanted.RUNNING)
    if wanted is not Wanted.STOPPED:
        _check_lives(standing, state)
    if job is None and wish.verb in ("suspend", "resume"):
        raise Refused(f"agent {agent.name} is {_phase(state, standing)}: `kos agent start {agent.name}`")
    if job is None and wanted is Wanted.RUNNING:
        check_parent_lives(agent, state)
        events = _carrier(wish.request_id, agent, admission, now_us)
        if not events:
            return [], {"name": agent.name, "job": 0}
    elif job is not None and wanted is Wanted.STOPPED:
        events = [e.CancelRequested(request_id="", keys=(job.key,), by=wish.by)]
    elif job is not None and wanted is Wanted.SUSPENDED and (not job.held or job.state in _UP):
        events = [e.HoldRequested(request_id="", keys=(job.key,), stop=True, by=wish.by)]
    elif job is not None and wanted is Wanted.RUNNING and job.held:
        events = [e.ReleaseRequested(request_id="", keys=(job.key,), by=wish.by)]
    restart = wish.verb == "restart" and job is not None and not events
    wants = AgentWanted(
        request_id=wish.request_id, key=wish.key, wanted=wanted, restart=restart, note=wish.note, by=wish.by
    )
    return [wants, *events], {"name": agent.name, "job": _job_of(events) or standing.job}


def _check_lives(standing: Standing, state: State) -> None:
    """See that an agent is not being stopped: whoever wants it to run would be told that it does, and it ends.

    Raises:
        Refused: it is.

    """
    job = state.jobs.get(standing.job)
    if job is not None and job.cancelled:
        raise Refused(f"agent {standing.agent.name} is being stopped: start it when that is over (`kos agent get`)")


def _phase(state: State, standing: Standing) -> str:
    return phase(state, standing).name.lower()


def agent_wish_of(plain: dict[str, Any]) -> AgentWish:
    """The wish that came as plain data."""
    agent = plain.pop("agent", None)
    return AgentWish(agent=None if agent is None else from_plain(Agent, agent), **plain)


def plain_agents(state: State) -> list[dict[str, Any]]:
    """All agents as they stand, as plain data for people."""
    mail_of = mail(state)
    return [_plain(state, standing, mail_of) for standing in state.agents.by_key.values()]


def _plain(state: State, standing: Standing, mail_of: Mapping[str, int]) -> dict[str, Any]:
    agent, job = standing.agent, state.jobs.get(standing.job)
    carries = agent.spec.carries
    assert carries is not None
    plain = to_plain(replace(agent, spec=type(agent.spec)(), args=b""))
    plain.pop("spec", None)
    node = None if job is None or job.node is None else state.nodes.get(job.node)
    return {
        **dict.fromkeys(("methods", "capabilities", "roles", "skills", "after"), ()),
        **plain,
        "namespace": agent.namespace,
        "exec_env": agent.exec_env,
        "kind": agent.kind,
        "runs": " ".join(agent.spec.command) or agent.spec.entry or agent.spec.type,
        "band": agent.spec.band,
        "tags": agent.spec.tags,
        "resources": agent.spec.resources.as_units(),
        "concurrency": carries.concurrency,
        "snapshot_every": carries.snapshot_every,
        "snapshots": len(standing.lineage.kept),
        "snapshot": head_of(standing),
        "trusted": standing.trusted,
        "verified": standing.verified,
        "leads": leads(state, agent),
        "lacks": why_named(state, job)[1] if job is not None else "",
        "waits_for": missing(state, agent.spec.slot_kind) if job is not None and job.state is JobState.READY else (),
        "phase": _phase(state, standing),
        "stopping": job is not None and job.state is JobState.STOPPING,
        "wanted": standing.wanted.name.lower(),
        "note": standing.note,
        "job": standing.job,
        "attempt": job.attempt if job is not None else 0,
        "node": node.node.name if node is not None else "",
        "crashes": len(standing.crashes),
        "messages": mail_of[agent.key],
        "handling": len(handling(state, standing)),
    }
