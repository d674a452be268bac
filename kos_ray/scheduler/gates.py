"""What a start needs that has no node: licences, concurrency keys, rate limits."""

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from kos_ray.model.job import NO_DEMANDS, Demands
from kos_ray.model.policy import Rate
from kos_ray.model.reasons import Reason
from kos_ray.scheduler import agents
from kos_ray.scheduler.jobs import Job, JobClass
from kos_ray.scheduler.state import State

#: how the concurrency key of an array's items begins; no user's key does
GROUP = "\0"
#: where agents are counted; the names of licences and keys stand behind "" and a namespace
AGENTS = ("\0", "agents")
#: more than one pass ever starts
_ANY = 1 << 30
#: what stands before the names of rates among what jobs take that start together; no namespace is called so
_RATE = "\0rate"
_NOTHING: Mapping[tuple[str, str], int] = MappingProxyType({})


def room(
    state: State, job_class: JobClass, now_us: int, taken: Mapping[tuple[str, str], int] = _NOTHING
) -> tuple[int, Reason]:
    """How many jobs of a class may start now as far as these go, and what holds the next one.

    `taken` is what others take that start together with them.
    """
    demands = job_class.demands
    found, why = agents.room(state, job_class.name) if job_class.agent else (_ANY, Reason.NONE)
    if demands == NO_DEMANDS:
        return found, why
    stock = dict(state.policy.licences)
    for name, amount in demands.licences:
        left = stock.get(name, 0) - state.used.get(("", name), 0) - taken.get(("", name), 0)
        if left // amount < found:
            there = stock.get(name, 0) >= amount
            found, why = max(0, left // amount), Reason.NO_LICENCE if there else Reason.NO_SUCH_LICENCE
    for key, most in demands.concurrency:
        place = _place(job_class, key)
        left = most - state.used.get(place, 0) - taken.get(place, 0)
        if left < found:
            found, why = max(0, left), Reason.ARRAY_LIMIT if key.startswith(GROUP) else Reason.CONCURRENCY
    if demands.agent:
        left, holds = _agents_left(state, job_class, taken)
        if left < found:
            found, why = max(0, left), holds
    rates = {rate.name: rate for rate in state.policy.rates}
    for name, units in demands.rates:
        times = _times(state, rates[name], units, now_us, taken) if name in rates else _ANY
        if times < found:
            found, why = times, Reason.RATE_LIMIT
    return found, why


def _agents_left(state: State, job_class: JobClass, taken: Mapping[tuple[str, str], int]) -> tuple[int, Reason]:
    """How many more agents may run, and what holds the next one of this class."""
    if agents.missing(state, job_class.kind):
        return 0, Reason.AGENT_BEFORE
    if not state.policy.agents_max:
        return _ANY, Reason.NONE
    return state.policy.agents_max - state.used.get(AGENTS, 0) - taken.get(AGENTS, 0), Reason.AGENT_LIMIT


def _times(state: State, rate: Rate, units: int, now_us: int, taken: Mapping[tuple[str, str], int]) -> int:
    """How many starts a rate allows.

    Jobs that start together and need more than it ever saves up wait until it has all it can, and leave it in debt.
    """
    left, together = units_left(state, rate, now_us), taken.get((_RATE, rate.name), 0)
    return _ANY if together and left >= rate.burst else (left - together) // units


def summed(members: Iterable[Job]) -> Demands:
    """What jobs need that start together, concurrency keys left out."""
    licences: Counter[str] = Counter()
    rates: Counter[str] = Counter()
    for job in members:
        licences.update(dict(job.job_class.demands.licences))
        rates.update(dict(job.job_class.demands.rates))
    return Demands(licences=tuple(sorted(licences.items())), rates=tuple(sorted(rates.items())))


def admitted(state: State, members: Iterable[Job], now_us: int) -> tuple[list[Job], Reason]:
    """Those jobs that may start together as far as these go, in their order, and what holds the first of the others."""
    found: list[Job] = []
    why = Reason.NONE
    taken: dict[tuple[str, str], int] = {}
    for job in members:
        demands = job.job_class.demands
        rates = [((_RATE, name), units) for name, units in demands.rates]
        needs = [*held(job.job_class), *rates]
        times, holds = room(state, job.job_class, now_us, taken)
        if times <= 0:
            why = why or holds
            continue
        found.append(job)
        for place, amount in needs:
            taken[place] = taken.get(place, 0) + amount
    return found, why


def never(state: State, demands: Demands) -> Reason:
    """Why jobs with these demands could not start even in an idle cluster; NONE if they could."""
    stock = dict(state.policy.licences)
    if any(stock.get(name, 0) < amount for name, amount in demands.licences):
        return Reason.NO_SUCH_LICENCE
    return Reason.NONE


def take(state: State, job_class: JobClass, count: int, now_us: int) -> None:
    """Starts take what they need."""
    demands = job_class.demands
    if demands == NO_DEMANDS:
        return
    for place, amount in held(job_class):
        state.used[place] = state.used.get(place, 0) + amount * count
    rates = {rate.name: rate for rate in state.policy.rates}
    for name, units in demands.rates:
        if name in rates:
            left = units_left(state, rates[name], now_us)
            state.buckets[name] = (left - units * count, now_us)


def give_back(state: State, job_class: JobClass, count: int) -> None:
    """Attempts that are over give back what they held."""
    if job_class.demands == NO_DEMANDS:
        return
    for place, amount in held(job_class):
        left = state.used[place] - amount * count
        if left:
            state.used[place] = left
        else:
            del state.used[place]


def units_left(state: State, rate: Rate, now_us: int) -> int:
    """What a rate limit has saved up."""
    left, at_us = state.buckets.get(rate.name, (rate.burst, now_us))
    return min(rate.burst, left + (now_us - at_us) * rate.amount // rate.per_us)


def refill_us(state: State, demands: Demands, now_us: int) -> int | None:
    """When the rate limits allow the next start with these demands; None where they do not hold it."""
    rates = {rate.name: rate for rate in state.policy.rates}
    due_us: int | None = None
    for name, units in demands.rates:
        rate = rates.get(name)
        if rate is None or rate.amount <= 0:
            continue
        missing = min(units, rate.burst) - units_left(state, rate, now_us)
        if missing > 0:
            at_us = now_us + -(-missing * rate.per_us // rate.amount)
            due_us = at_us if due_us is None else max(due_us, at_us)
    return due_us


def held(job_class: JobClass) -> list[tuple[tuple[str, str], int]]:
    """What each running job of a class holds, `((namespace or "", name), amount)`."""
    demands = job_class.demands
    found = [(("", name), amount) for name, amount in demands.licences]
    if demands.agent:
        found.append((AGENTS, 1))
    return found + [(_place(job_class, key), 1) for key, _ in demands.concurrency]


def _place(job_class: JobClass, key: str) -> tuple[str, str]:
    return (job_class.kind.namespace, key)
