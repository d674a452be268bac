"""Agents that sleep when they have nothing to do, and wake at their next message; and ephemeral ones, which end."""

from collections.abc import Iterator

from kos_ray.model import decisions as d
from kos_ray.model.agents import Wanted, agent_key
from kos_ray.model.ids import MS_US
from kos_ray.model.job import JobState
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.agents import Standing, home
from kos_ray.scheduler.apply import apply_decision
from kos_ray.scheduler.queues import first_ready
from kos_ray.scheduler.state import State


def rest(state: State, now_us: int) -> list[d.Decision]:
    """Let agents go that have been idle for long enough, and wake those for which there is a message."""
    found: list[d.Decision] = []
    mail: set[str] | None = None
    for key in state.agents.dozing:
        standing = state.agents.by_key[key]
        due_us = _due_us(state, standing)
        if not standing.asleep and (due_us is None or due_us > now_us):
            continue
        mail = _mail(state) if mail is None else mail
        decision = _woken(state, standing, key in mail) if standing.asleep else _gone(state, standing, key in mail)
        if decision is not None:
            apply_decision(state, decision, now_us)
            found.append(decision)
    return found


def due_us(state: State, now_us: int) -> Iterator[int]:
    """When agents will have been idle for long enough."""
    for key in state.agents.dozing:
        at_us = _due_us(state, state.agents.by_key[key])
        if at_us is not None and at_us > now_us:
            yield at_us


def called(state: State) -> list[str]:
    """Agents without a life for which there is a message that begins one."""
    waiting = [key for key in state.agents.lazy if _begins(state.agents.by_key[key])]
    if not waiting:
        return []
    mail = _mail(state)
    return [key for key in waiting if key in mail]


def _begins(standing: Standing) -> bool:
    return not (standing.job or standing.closed or standing.braked)


def _mail(state: State) -> set[str]:
    """The agents that have messages which are ready, or on their way to them, or run."""
    found = {
        agent_key(job_class.kind.namespace, job_class.agent)
        for job_class in state.classes.values()
        if job_class.agent and first_ready(state, job_class) is not None
    }
    found |= {
        agent_key(kind.namespace, kind.receiver)
        for kind, nodes in state.lanes.items()
        if kind.receiver and any(lane.held for lane in nodes.values())
    }
    return found


def _due_us(state: State, standing: Standing) -> int | None:
    """When an agent that runs is to go if no message comes; None where it is not to go."""
    if home(state, standing) is None or standing.wanted is not Wanted.RUNNING:
        return None
    agent = standing.agent
    if agent.kind == "ephemeral":
        return standing.last_us if standing.last_us >= standing.ready_us else None
    return max(standing.ready_us, standing.last_us) + agent.idle_sleep_ms * MS_US


def _gone(state: State, standing: Standing, has_mail: bool) -> d.Decision | None:
    job = state.jobs[standing.job]
    if has_mail or job.node is None:
        return None
    done = standing.agent.kind == "ephemeral"
    return d.Stop(
        node=job.node,
        keys=(job.key,),
        attempts=(job.attempt,),
        grace_ms=job.entry.spec.grace_ms or state.policy.stop_grace_ms,
        reason=Reason.AGENT_DONE if done else Reason.AGENT_IDLE,
    )


def _woken(state: State, standing: Standing, has_mail: bool) -> d.Decision | None:
    job = state.jobs.get(standing.job)
    if not has_mail or job is None or job.state is not JobState.HELD:
        return None
    return d.MakeReady(keys=(job.key,), reason=Reason.AGENT_CALLED)
