"""Whom a message is given to that is for a role: the one of those able to do it that will have done it the soonest.

A message is given away when an agent takes it soon: each has at most `_AHEAD` times as many as it handles at once, so
that what comes later and is more urgent goes first, and what an agent leaves behind that dies is little. Those of one
group are asked before the next group is: who has the role (running ones, then those that a message wakes or starts),
then standbys hot, warm and cold, then the roles that stand in. A group that has somebody who comes up is waited for.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from kos_ray.model import decisions as d
from kos_ray.model.agents import STANDBY, Phase, agent_key
from kos_ray.model.dispatch import Passed, To, declined_of
from kos_ray.model.job import JobState
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.agents import URGENT, Standing, home, phase
from kos_ray.scheduler.apply import apply_decision
from kos_ray.scheduler.jobs import ClassKey, Job
from kos_ray.scheduler.queues import count_ready, first_ready, place_in_class
from kos_ray.scheduler.skill import UNKNOWN
from kos_ray.scheduler.state import State

#: so many times as many messages as an agent handles at once are given to it
_AHEAD = 2
#: how long a message takes of which nobody knows it
_RUN_US = 1_000_000
_WHOLE = 1_000
#: delays are alike that do not differ in this many bits
_BITS = 3
#: agents that were not chosen and are named with a choice
_OTHERS_MAX = 8
#: of agents that come up by themselves
_COMING = (Phase.STARTING, Phase.REBOOTING, Phase.CRASHED)
#: the groups: who has the role, and the standbys in the order in which they are asked
_HOT, _GROUPS = 1, ("", *reversed(STANDBY))


class Offer(NamedTuple):
    """An agent that could have a message: how good that is, the lowest first, and what it rests on."""

    delay: int
    turn: int
    name: str
    load: int
    run_us: int
    delay_us: int
    skill: int
    liked: bool


class Asked(NamedTuple):
    """Who is asked for a message: those of a group of a role (both by number) that take it; and all that could."""

    stage: int
    role: str
    number: int
    group: list[Standing]
    named: list[Standing]


def dispatch(state: State, now_us: int) -> list[d.Decision]:
    """Give away what can be given away, in order of turns; what was given to agents that went away comes back."""
    desk = state.dispatch
    desk.why.clear()
    found: list[d.Decision] = []
    _do(state, now_us, found, [*_given_back(state)])
    queue = [
        (job_class.order, place_in_class(job_class, head), number, job_class)
        for number, job_class in enumerate(state.classes.values())
        if job_class.kind.unchosen and (head := first_ready(state, job_class)) is not None
    ]
    heapify(queue)
    crew = Crew(state)
    while queue:
        order, _, number, job_class = heappop(queue)
        head = first_ready(state, job_class)
        assert head is not None
        chosen, why = crew.choose(state.jobs[head])
        if why is not Reason.NONE:
            desk.why[job_class.name] = why
            continue
        _do(state, now_us, found, chosen)
        following = first_ready(state, job_class)
        if following is not None:
            heappush(queue, (order, place_in_class(job_class, following), number, job_class))
    return found


def _do(state: State, now_us: int, found: list[d.Decision], decisions: Sequence[d.Decision]) -> None:
    for decision in decisions:
        apply_decision(state, decision, now_us)
    found += decisions


def _given_back(state: State) -> Iterator[d.Assign]:
    """Messages that wait for agents that do not come up by themselves soon."""
    there: dict[str, bool] = {}
    for key, choice in state.dispatch.chosen.items():
        job = state.jobs[key]
        agent = agent_key(job.job_class.kind.namespace, choice.agent)
        if agent not in there:
            standing = state.agents.by_key.get(agent)
            there[agent] = standing is not None and able(state, standing) is not None
        if job.state is JobState.READY and not there[agent]:
            yield d.Assign(key=key, reason=Reason.ABLE_AWAY)


def able(state: State, standing: Standing) -> bool | None:
    """Whether an agent takes messages (True), or will when it is given one (False); None where it does neither."""
    if home(state, standing) is not None:
        return True
    now = phase(state, standing)
    coming = now is Phase.SLEEPING or (now is Phase.STARTING and state.jobs[standing.job].node is not None)
    begins = not standing.job and standing.agent.lazy and not standing.closed and not standing.braked
    return False if coming or begins else None


def lacks(standing: Standing, to: To, role: str, method: str) -> Reason:
    """What an agent has not that a message asks for in one of its roles; NONE where it has it all."""
    agent = standing.agent
    has = (
        (Reason.LACKS_ROLE, not role or role in agent.roles),
        (Reason.LACKS_CAPABILITY, set(to.capabilities) <= set(agent.capabilities)),
        (Reason.LACKS_SKILL, set(to.skills) <= set(agent.skills)),
        (Reason.LACKS_MODEL, set(to.models) <= set(agent.requires.models)),
        (Reason.LACKS_CONFIG, set(to.config) <= set(agent.requires.config)),
        (Reason.LACKS_METHOD, method in agent.methods),
    )
    return next((reason for reason, there in has if not there), Reason.NONE)


def left_to_ask(state: State, job: Job, declined: Sequence[str], *, soon: bool = False) -> bool:
    """Whether any registered agent could still be given a message: when it runs, or `soon`, without anybody's help."""
    spec = job.entry.spec
    if spec.to is None:
        return spec.receiver not in declined
    urgent = job.job_class.band <= URGENT
    return any(
        standing.agent.namespace == spec.namespace
        and standing.agent.name not in declined
        and (not soon or _comes(state, standing))
        and (standing.trusted or not urgent)
        and any(lacks(standing, spec.to, role, spec.entry) is Reason.NONE for role in spec.to.roles)
        for standing in state.agents.by_key.values()
    )


def _comes(state: State, standing: Standing) -> bool:
    """Whether an agent is there, or will be though nobody wants it to."""
    return able(state, standing) is not None or phase(state, standing) in _COMING


class Crew:
    """The agents as they stand in one step."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._loads: Counter[str] | None = None
        self._able: dict[str, bool | None] = {}
        #: who is asked for messages of a class, or why nobody is
        self._asked: dict[ClassKey, Asked | Reason] = {}

    def choose(self, job: Job) -> tuple[list[d.Decision], Reason]:
        """The decisions that give a message away; or why nobody gets it now."""
        spec, name = job.entry.spec, job.job_class.name
        assert spec.to is not None
        if name not in self._asked:
            self._asked[name] = self._found(job, spec.to)
        asked = self._asked[name]
        if isinstance(asked, Reason):
            return [], asked
        free = [one for one in asked.group if self._load(one) < _limit(one)]
        if not free:
            return [], Reason.ABLE_BUSY
        up = [one for one in free if self._takes(one)] or free
        taken = self._assign(job, self._offers(up, spec.to, spec.entry), asked)
        over = self._take_over(spec.namespace, asked.role, taken.agent) if asked.number == _HOT else None
        if over is None:
            return [taken], Reason.NONE
        self._asked.clear()
        return [over, taken], Reason.NONE

    def _found(self, job: Job, to: To) -> Asked | Reason:
        """Who is asked for a message, and all alike: the first group in which anybody takes it; else why nobody is."""
        spec, urgent = job.entry.spec, job.job_class.band <= URGENT
        declined = declined_of(job.job_class.kind.agent)
        away = Reason.NOBODY_ABLE
        for stage, role in enumerate(to.roles):
            named = [one for one in self.named(spec.namespace) if not lacks(one, to, role, spec.entry)]
            trusted = [one for one in named if one.trusted or not urgent]
            left = [one for one in trusted if one.agent.name not in declined]
            if named and away is Reason.NOBODY_ABLE:
                away = Reason.ABLE_AWAY if left else Reason.DECLINED if trusted else Reason.NOT_TRUSTED
            for number, group in enumerate(self._groups(spec.namespace, role, left)):
                here = [one for one in group if self._takes(one) is not None]
                if here:
                    return Asked(stage, role, number, here, named)
        return away

    def named(self, namespace: str) -> list[Standing]:
        """The agents of a namespace, in the order in which they were registered."""
        return [one for one in self._state.agents.by_key.values() if one.agent.namespace == namespace]

    def _takes(self, standing: Standing) -> bool | None:
        key = standing.agent.key
        if key not in self._able:
            self._able[key] = able(self._state, standing)
        return self._able[key]

    def _load(self, standing: Standing) -> int:
        """How many messages wait at an agent, or run; of those that wait so many as are of interest."""
        if self._loads is None:
            state, self._loads = self._state, Counter()
            for job_class in state.classes.values():
                if job_class.agent and not job_class.kind.unchosen:
                    agent = agent_key(job_class.kind.namespace, job_class.agent)
                    if (found := state.agents.by_key.get(agent)) is not None:
                        self._loads[agent] += count_ready(job_class, state.jobs, _limit(found))
            for kind, nodes in state.lanes.items():
                if kind.receiver:
                    held = sum(len(lane.held) for lane in nodes.values())
                    self._loads[agent_key(kind.namespace, kind.receiver)] += held
        return self._loads[standing.agent.key]

    def _groups(self, namespace: str, role: str, standings: list[Standing]) -> list[list[Standing]]:
        """Those that are asked first, and behind them those that stand by."""
        lead = self._state.dispatch.leads.get(agent_key(namespace, role))
        groups: list[list[Standing]] = [[] for _ in _GROUPS]
        for one in standings:
            stands_by = one.agent.standby
            if lead is not None and one.agent.name == lead.agent:
                stands_by = ""
            elif lead is not None and one.agent.name in lead.over:
                stands_by = "hot"
            groups[_GROUPS.index(stands_by)].append(one)
        return groups

    def _offers(self, standings: list[Standing], to: To, method: str) -> list[Offer]:
        """How good each is, the best first. Who has not been tried is taken to be as good as the best of the others."""
        skills = self._state.dispatch.skills
        known = [skill for one in standings if (skill := skills.get((one.agent.key, method))) is not None]
        run_us = min((skill.run_us for skill in known if skill.run_us), default=_RUN_US)
        bound = max((skill.bound for skill in known), default=UNKNOWN.bound)
        return sorted(self._offer(one, to, method, run_us, bound) for one in standings)

    def _offer(self, standing: Standing, to: To, method: str, run_us: int, bound: int) -> Offer:
        agent, desk = standing.agent, self._state.dispatch
        skill = desk.skills.get((agent.key, method))
        if skill is not None:
            run_us, bound = skill.run_us or run_us, skill.bound
        load = self._load(standing)
        delay_us = (load * run_us // _at_once(standing) + run_us) * _WHOLE // bound
        liked = bool(to.affinity) and (to.affinity == agent.name or to.affinity in agent.spec.tags)
        score = _blurred(delay_us // 2 if liked else delay_us)
        return Offer(score, desk.turns.get(agent.key, 0), agent.name, load, run_us, delay_us, bound, liked)

    def _assign(self, job: Job, offers: list[Offer], asked: Asked) -> d.Assign:
        best = offers[0]
        reason = Reason.LEAST_DELAY
        if asked.stage or asked.number:
            reason = Reason.STANDS_BY
        elif best.liked and any(_blurred(other.delay_us) < _blurred(best.delay_us) for other in offers):
            reason = Reason.PREFERRED
        elif len(offers) > 1 and offers[1].delay == best.delay:
            reason = Reason.ITS_TURN
        others = [*self._passed(job, best, offers, asked.named)]
        assert self._loads is not None
        self._loads[agent_key(job.entry.spec.namespace, best.name)] += 1
        return d.Assign(
            key=job.key,
            agent=best.name,
            reason=reason,
            stage=asked.stage,
            load=best.load,
            run_us=best.run_us,
            delay_us=best.delay_us,
            skill=best.skill,
            others=tuple(others[:_OTHERS_MAX]),
            more=len(others[_OTHERS_MAX:]),
        )

    def _passed(self, job: Job, best: Offer, offers: list[Offer], asked: list[Standing]) -> Iterator[Passed]:
        """Who else came into question, the best first, and why it was not chosen."""
        for offer in offers[1:]:
            why = Reason.CHOSEN_LATELY if offer.delay == best.delay else Reason.SLOWER
            yield Passed(agent=offer.name, reason=why, delay_us=offer.delay_us, skill=offer.skill)
        offered = {offer.name for offer in offers}
        for one in asked:
            if one.agent.name not in offered:
                yield Passed(agent=one.agent.name, reason=self.why_not(job, one))

    def why_not(self, job: Job, standing: Standing) -> Reason:
        """Why an agent that has all that a message asks for does not get it."""
        if standing.agent.name in declined_of(job.job_class.kind.agent):
            return Reason.DECLINED
        if not standing.trusted and job.job_class.band <= URGENT:
            return Reason.NOT_TRUSTED
        if self._takes(standing) is None:
            return Reason.AGENT_AWAY
        if self._load(standing) >= _limit(standing):
            return Reason.ABLE_BUSY
        return Reason.STANDS_BY if self._takes(standing) else Reason.AGENT_IDLE

    def _take_over(self, namespace: str, role: str, agent: str) -> d.TakeOver | None:
        """The role goes over: who had it stands by from now on, whether it comes back or not.

        Not where one of those takes messages, or will soon, though not this one. And for what is for no role, or while
        the standby itself has to come up, there is nothing to take over.
        """
        state = self._state
        place = agent_key(namespace, role)
        first, *_ = self._groups(namespace, role, [one for one in self.named(namespace) if role in one.agent.roles])
        there = any(self._takes(one) is not None for one in first)
        if not role or there or not self._takes(state.agents.by_key[agent_key(namespace, agent)]):
            return None
        lead = state.dispatch.leads.get(place)
        over = {one.agent.name for one in first} | (set(lead.over) - {agent} if lead else set())
        term = lead.term + 1 if lead else 1
        return d.TakeOver(namespace=namespace, role=role, agent=agent, over=tuple(sorted(over)), term=term)


def verdicts(state: State, job: Job) -> list[Passed]:
    """What each agent of a message's namespace lacks for it, or why it does not have it yet."""
    spec = job.entry.spec
    if spec.to is None:
        return []
    crew = Crew(state)
    found: list[Passed] = []
    for one in crew.named(spec.namespace):
        lacking = [lacks(one, spec.to, role, spec.entry) for role in spec.to.roles]
        # of several roles, what is missing in the one of which the least is
        reason = max(lacking) if all(lacking) else crew.why_not(job, one)
        found.append(Passed(agent=one.agent.name, reason=reason))
    return found


def _at_once(standing: Standing) -> int:
    carries = standing.agent.spec.carries
    assert carries is not None
    return carries.concurrency


def _limit(standing: Standing) -> int:
    return _AHEAD * _at_once(standing)


def _blurred(delay_us: int) -> int:
    """The same to so many bits."""
    blur = max(0, delay_us.bit_length() - _BITS)
    return delay_us >> blur << blur
