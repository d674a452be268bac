"""What a start needs that has no node: licences, concurrency keys, rate limits."""

from kos_ray.model.job import NO_DEMANDS
from kos_ray.model.policy import Rate
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.state import JobClass, State

#: how the concurrency key of an array's items begins; no user's key does
GROUP = "\0"
#: where agents are counted; the names of licences and keys stand behind "" and a namespace
AGENTS = ("\0", "agents")
#: more than one pass ever starts
_ANY = 1 << 30


def room(state: State, job_class: JobClass, now_us: int) -> tuple[int, Reason]:
    """How many jobs of a class may start now as far as these go, and what holds the next one."""
    demands = job_class.demands
    if demands == NO_DEMANDS:
        return _ANY, Reason.NONE
    found, why = _ANY, Reason.NONE
    stock = dict(state.policy.licences)
    for name, amount in demands.licences:
        left = stock.get(name, 0) - state.used.get(("", name), 0)
        if left // amount < found:
            there = stock.get(name, 0) >= amount
            found, why = max(0, left // amount), Reason.NO_LICENCE if there else Reason.NO_SUCH_LICENCE
    for key, most in demands.concurrency:
        left = most - state.used.get(_place(job_class, key), 0)
        if left < found:
            found, why = max(0, left), Reason.ARRAY_LIMIT if key.startswith(GROUP) else Reason.CONCURRENCY
    if demands.agent and state.policy.agents_max:
        left = state.policy.agents_max - state.used.get(AGENTS, 0)
        if left < found:
            found, why = max(0, left), Reason.AGENT_LIMIT
    rates = {rate.name: rate for rate in state.policy.rates}
    for name, units in demands.rates:
        times = units_left(state, rates[name], now_us) // units if name in rates else _ANY
        if times < found:
            found, why = times, Reason.RATE_LIMIT
    return found, why


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


def refill_us(state: State, job_class: JobClass, now_us: int) -> int | None:
    """When the rate limits of a class allow its next start; None where they do not hold it."""
    rates = {rate.name: rate for rate in state.policy.rates}
    due_us: int | None = None
    for name, units in job_class.demands.rates:
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
