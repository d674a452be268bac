"""Messages to roles, as they are given to agents and come back: what events and decisions make of them.

Whom a message is with is the class in which it stands: its kind of slot is a lane into that agent's process. One for
which nobody has been chosen stands in a class of which no slot is ever made, with those alone that are for the same
agents, less those that have declined it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kos_ray.model import decisions as d
from kos_ray.model.agents import agent_key
from kos_ray.model.dispatch import less
from kos_ray.model.events import AttemptsEnded
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd
from kos_ray.scheduler.desk import NOBODY_YET, Declined, Lead
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.queues import class_named, reclass
from kos_ray.scheduler.skill import Skill
from kos_ray.scheduler.state import State

#: ends from which something is learnt of who did it
_TELLING = (AttemptEnd.SUCCEEDED, AttemptEnd.FAILED, AttemptEnd.TIMED_OUT)
#: results of one agent that may still be looked at
_HANDLED_MAX = 1_000
#: skills that are known; the one that is known for the longest is forgotten first
_SKILLS_MAX = 65_536


def assign(state: State, decision: d.Assign) -> None:
    """A message is with an agent from now on, or with nobody."""
    job, desk = state.jobs[decision.key], state.dispatch
    if not decision.agent:
        back_in_line(state, (decision.key,))
        return
    desk.chosen[decision.key] = decision
    desk.turn += 1
    desk.turns[agent_key(job.kind.namespace, decision.agent)] = desk.turn
    _stand(state, job, decision.agent)


def take_over(state: State, decision: d.TakeOver) -> None:
    """A hot standby has a role from now on."""
    place = agent_key(decision.namespace, decision.role)
    state.dispatch.leads[place] = Lead(decision.agent, decision.over, decision.term)


def back_in_line(state: State, keys: Iterable[JobKey]) -> None:
    """Those of these jobs that were with an agent wait for a choice again."""
    for key in keys:
        if state.dispatch.chosen.pop(key, None) is not None:
            _stand_in_line(state, state.jobs[key])


def _stand_in_line(state: State, job: Job) -> None:
    declined = state.dispatch.declined.get(job.key, NOBODY_YET)
    _stand(state, job, less(job.entry.kind.agent, declined.names))


def _stand(state: State, job: Job, agent: str) -> None:
    name = job.job_class.name
    reclass(state, job, class_named(state, replace(name, kind=replace(name.kind, agent=agent))))


def asked_again(state: State, key: JobKey) -> None:
    """Those that were not available may be asked again."""
    declined = state.dispatch.declined.get(key)
    if declined is not None:
        left = tuple([(name, for_good) for name, for_good in declined.by if for_good])
        state.dispatch.declined[key] = Declined(left, declined.rounds + 1)
        if state.jobs[key].entry.spec.to is not None:
            _stand_in_line(state, state.jobs[key])


def over(state: State, keys: Sequence[JobKey], *, well: bool) -> None:
    """Jobs are over: nothing of them is kept but, of an agent that is not trusted, that its result may be looked at."""
    if not (state.dispatch.chosen or state.dispatch.declined or state.agents.watched):
        return
    for key in keys:
        state.dispatch.chosen.pop(key, None)
        state.dispatch.declined.pop(key, None)
        if well and state.agents.watched and (kind := state.jobs[key].kind).receiver:
            agent = agent_key(kind.namespace, kind.receiver)
            if agent in state.agents.watched:
                handled = state.agents.by_key[agent].handled
                handled[key] = None
                if len(handled) > _HANDLED_MAX:
                    del handled[next(iter(handled))]


def messages_ended(state: State, event: AttemptsEnded, now_us: int) -> None:
    """Attempts of which some were agents' messages have ended: what that says of who handled them."""
    if not state.agents.by_key:
        return
    if not (state.dispatch.used or state.agents.dozing or AttemptEnd.DECLINED in event.ends):
        return
    for i, key in enumerate(event.keys):
        job = state.jobs.get(key)
        if job is None or not job.kind.receiver or job.attempt != event.attempts[i] or key not in state.todo.ended:
            continue
        agent, end = agent_key(job.kind.namespace, job.kind.receiver), AttemptEnd(event.ends[i])
        if agent in state.agents.by_key:
            state.agents.by_key[agent].last_us = now_us
        if end is AttemptEnd.DECLINED:
            _declines(state, job)
        elif end in _TELLING:
            ran_us = max(1, event.ended_us[i] - event.entered_us[i])
            _learn(state, (agent, job.entry.spec.entry), ran_us if end is AttemptEnd.SUCCEEDED else 0)


def _declines(state: State, job: Job) -> None:
    name, for_good = job.kind.receiver, state.todo.asked_ms.get(job.key, 0) < 0
    before = state.dispatch.declined.get(job.key, NOBODY_YET)
    state.dispatch.declined[job.key] = before._replace(by=(*before.by, (name, for_good)))
    back_in_line(state, (job.key,))


def _learn(state: State, place: tuple[str, str], run_us: int) -> None:
    skills = state.dispatch.skills
    skill = skills.get(place)
    if skill is None:
        skill = skills[place] = Skill()
        if len(skills) > _SKILLS_MAX:
            del skills[next(iter(skills))]
    skill.note(run_us)
