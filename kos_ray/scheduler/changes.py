"""Changes that somebody could make so that a waiting job starts, as events; `what_if.py` tries them.

Each is a `Change`: what it is for people, the events that make it, the job that starts then, and how large it is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from kos_ray.model import events as e
from kos_ray.model.ids import JobKey, SpecKey
from kos_ray.model.job import BANDS, AttemptEnd, JobState, Spec
from kos_ray.model.policy import Amounts, Namespace, Policy
from kos_ray.model.resources import UNIT
from kos_ray.model.where import Selector, Where
from kos_ray.model.windows import Windows
from kos_ray.scheduler.explain import waiting_gang
from kos_ray.scheduler.gates import GROUP, held, units_left
from kos_ray.scheduler.jobs import Gang, Job
from kos_ray.scheduler.learnt import stand_in
from kos_ray.scheduler.quota import ROOT
from kos_ray.scheduler.shares import paths
from kos_ray.scheduler.state import State

#: sizes of changes of different kinds: what only the job asks for, where it stands, what is set for all, others' work
OWN, STANDING, SETTINGS, OTHERS = range(4)
#: values of a label that are tried
_VALUES_MAX = 8
_TERM = 500
_WHOLE = 1_000
_REQUEST = "what-if"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change."""

    kind: str
    text: str
    events: tuple[e.Event, ...]
    #: the job itself, or what it is when it is submitted anew
    starts: JobKey
    #: the kind's rank, and thousandths of what there was
    size: tuple[int, int]
    #: attempts that end
    ends: tuple[JobKey, ...] = ()


# --- the job submitted anew, asking for something else


def anew(
    state: State, job: Job, spec: Spec, *, kind: str, text: str, size: int, count: int = 0, least: int = 0
) -> Change | None:
    """The job cancelled, and submitted with another spec; all of its gang, where all members are alike.

    `count`: so many members where that is not 0, and `least` of them at once.
    """
    gang = waiting_gang(state, job)
    members = tuple(gang.live) if gang else (job.key,)
    if any(state.jobs[key].spec != job.spec for key in members):
        return None
    first, spec_key = state.next_key, SpecKey(max(state.specs) + 1)
    args = tuple(stand_in(state.sizes.get(key, 0)) for key in members)[: count or None]
    submitted = e.JobsSubmitted(
        request_id=_REQUEST,
        first=first,
        ids=(_REQUEST,),
        counts=(len(args) if gang else -1,),
        specs=(spec_key,),
        args=args,
        new_specs=((spec_key, spec),),
        limits=_limits(job),
        dependencies=tuple(_lines(state, members[: len(args)], first)),
        gangs=_gangs(gang, first, len(args), least),
        sender=job.job_class.name.user,
    )
    cancelled = e.CancelRequested(request_id=_REQUEST, keys=members)
    return Change(kind=kind, text=text, events=(cancelled, submitted), starts=first, size=(OWN, size))


def _gangs(gang: Gang | None, first: JobKey, count: int, least: int) -> tuple[e.NewGang, ...]:
    """A gang like this one, of so many members."""
    if gang is None:
        return ()
    return (
        e.NewGang(
            name=f"{gang.name} anew",
            ranges=((first, count),),
            least=min(least or gang.least, count),
            mode=gang.mode,
            on_failure=gang.on_failure,
        ),
    )


def _lines(state: State, members: Iterable[JobKey], first: JobKey) -> Iterator[e.JobDependency]:
    """Of jobs that run one at a time, the new ones stand at the end of the line as well."""
    for key, member in enumerate(members, start=first):
        dependency = state.jobs[member].dependency
        if dependency is not None and dependency.singleton:
            yield e.JobDependency(key=JobKey(key), after=(), singleton=dependency.singleton)


def _limits(job: Job) -> tuple[e.ArrayLimits, ...]:
    """The limit of the array that it is an item of."""
    return tuple(
        e.ArrayLimits(index=0, group=key.rpartition("\0")[2], at_most=most)
        for key, most in job.job_class.demands.concurrency
        if key.startswith(GROUP)
    )


def other_where(state: State, job: Job) -> Iterator[tuple[Where, str, int]]:
    """What it says of nodes with one term less, or with another value for one label: `(where, text, size)`."""
    where = job.entry.spec.where
    for index, term in enumerate(where.labels):
        if term.weight:
            continue
        others = {node.labels[term.label] for node in state.nodes.values() if term.label in node.labels}
        for value in sorted(others)[:_VALUES_MAX]:
            if not term.met(value):
                other = Selector(term.label, (value,))
                terms = (*where.labels[:index], other, *where.labels[index + 1 :])
                yield replace(where, labels=terms), f"ask for the label {term.label}: {value}", _TERM
        yield replace(where, labels=_without(where.labels, index)), f"do not ask for the label {term.label}", _WHOLE
    for index, rule in enumerate(where.jobs):
        if not rule.weight:
            words = " ".join(rule.words)
            how = "apart" if rule.apart else "near"
            yield replace(where, jobs=where.jobs[:index] + where.jobs[index + 1 :]), f"not `{how}: {words}`", _WHOLE
    if where.nodes:
        yield replace(where, nodes=()), "do not ask for nodes by name", _WHOLE
    if where.not_nodes:
        yield replace(where, not_nodes=()), "do not rule out nodes by name", _WHOLE
    if where.battery:
        yield replace(where, battery=0), "do not ask for a charged battery", _WHOLE


def _without(terms: tuple[Selector, ...], index: int) -> tuple[Selector, ...]:
    return terms[:index] + terms[index + 1 :]


def other_demands(state: State, job: Job, now_us: int) -> Iterator[tuple[Spec, str, int]]:
    """As much of a licence, of a rate limit, or of a concurrency key as there is: `(spec, text, size)`."""
    spec = job.entry.spec
    demands = spec.demands
    stock = dict(state.policy.licences)
    for name, amount in demands.licences:
        there = stock.get(name, 0) - state.used.get(("", name), 0)
        if there < amount:
            fewer = tuple((n, min(a, there) if n == name else a) for n, a in demands.licences if n != name or there > 0)
            text = f"ask for {max(0, there) / UNIT:g} licences of {name} instead of {amount / UNIT:g}"
            yield replace(spec, demands=replace(demands, licences=fewer)), text, _share(amount - there, amount)
    rates = {rate.name: rate for rate in state.policy.rates}
    for name, units in demands.rates:
        left = max(0, units_left(state, rates[name], now_us)) if name in rates else units
        if left < units:
            less = tuple((n, left if n == name else u) for n, u in demands.rates if n != name or left)
            text = f"use up {left} units of the rate {name} instead of {units}"
            yield replace(spec, demands=replace(demands, rates=less)), text, _share(units - left, units)
    for key, most in demands.concurrency:
        used = state.used.get((spec.namespace, key), 0)
        if used >= most:
            more = tuple((k, used + 1 if k == key else m) for k, m in demands.concurrency)
            text = f"let {used + 1} jobs with the concurrency key {key} run at once instead of {most}"
            yield replace(spec, demands=replace(demands, concurrency=more)), text, _share(used + 1 - most, most)


def _share(part: int, whole: int) -> int:
    return part * _WHOLE // max(1, whole)


# --- where it stands


def released(state: State, job: Job) -> Iterator[Change]:
    """Nobody holds it any more."""
    if job.held:
        event = e.ReleaseRequested(request_id=_REQUEST, keys=_with_gang(state, job))
        yield Change(kind="release", text="release it", events=(event,), starts=job.key, size=(STANDING, 0))


def raised(state: State, job: Job) -> Iterator[Change]:
    """A more urgent band, the nearest first."""
    for band in reversed(range(job.job_class.band)):
        event = e.PriorityChanged(request_id=_REQUEST, keys=_with_gang(state, job), band=band)
        size = (job.job_class.band - band) * _WHOLE // len(BANDS)
        text = f"raise its priority to {BANDS[band]}"
        yield Change(kind="priority", text=text, events=(event,), starts=job.key, size=(STANDING, size))


def _with_gang(state: State, job: Job) -> tuple[JobKey, ...]:
    gang = waiting_gang(state, job)
    return tuple(gang.live) if gang else (job.key,)


# --- what is set for all


def uncordoned(state: State, job: Job) -> Iterator[Change]:
    """A node on which things may start again."""
    for mark in state.marks.values():
        if mark.cordoned:
            marked = replace(mark, cordoned=False, draining=False)
            event = e.NodesMarked(request_id=_REQUEST, marks=(marked,))
            text = f"uncordon {mark.name}"
            yield Change(kind="uncordon", text=text, events=(event,), starts=job.key, size=(SETTINGS, 0))


def opened(state: State, job: Job, now_us: int) -> Iterator[Change]:
    """A window that is open now, and for as long as it runs."""
    spec = job.entry.spec
    length_us = (spec.run_ms or spec.timeout_ms) * 1_000
    for scope, windows in state.windows.items():
        until_us = now_us + length_us if length_us else windows.until_us
        known = [(start, end) for start, end in windows.open if end < now_us or start > until_us]
        touching = [(start, end) for start, end in windows.open if end >= now_us and start <= until_us]
        span = (min([now_us, *(s for s, _ in touching)]), max([until_us, *(end for _, end in touching)]))
        wider = Windows(scope=scope, text=windows.text, open=tuple(sorted([*known, span])), until_us=windows.until_us)
        event = e.WindowsChanged(request_id=_REQUEST, windows=wider)
        for_s = f" for {length_us / 1_000_000:g} s" if length_us else ""
        text = f"open {scope.replace(':', ' ')} now{for_s}"
        yield Change(kind="window", text=text, events=(event,), starts=job.key, size=(SETTINGS, 0))


def other_policies(state: State, job: Job, now_us: int) -> Iterator[Change]:
    """Other settings: a limit, licences, rate limits, agents."""
    policy = state.policy
    wanted = (*_stock(state, job, now_us), *_quotas(state, job))
    for found, text, size in sorted(wanted, key=lambda change: change[2]):
        event = e.PolicyChanged(request_id=_REQUEST, policy=found)
        yield Change(kind="settings", text=text, events=(event,), starts=job.key, size=(SETTINGS, size))
    if job.job_class.demands.agent and policy.agents_max:
        more = replace(policy, agents_max=policy.agents_max + 1)
        event = e.PolicyChanged(request_id=_REQUEST, policy=more)
        text = f"let {more.agents_max} agents run at once (`max_concurrent_agents`)"
        yield Change(kind="settings", text=text, events=(event,), starts=job.key, size=(SETTINGS, 0))


def _stock(state: State, job: Job, now_us: int) -> Iterator[tuple[Policy, str, int]]:
    policy, demands = state.policy, job.job_class.demands
    for name, amount in demands.licences:
        there = dict(policy.licences).get(name, 0)
        needed = state.used.get(("", name), 0) + amount
        if there < needed:
            licences = tuple(sorted({**dict(policy.licences), name: needed}.items()))
            text = f"have {needed / UNIT:g} licences of {name} instead of {there / UNIT:g}"
            yield replace(policy, licences=licences), text, _share(needed - there, needed)
    for rate in policy.rates:
        if dict(demands.rates).get(rate.name, 0) > units_left(state, rate, now_us):
            rates = tuple(other for other in policy.rates if other is not rate)
            yield replace(policy, rates=rates), f"lift the rate limit {rate.name}", _WHOLE


def _quotas(state: State, job: Job) -> Iterator[tuple[Policy, str, int]]:
    """A limit, or what may be borrowed, raised by what is lacking: of one namespace, or of all that stand above it."""
    kind = job.kind
    chain = [name for name in reversed(paths(kind.namespace)) if name in state.tree.settings]
    for resource, amount in kind.resources.amounts:
        lacking = amount - state.tree.available(_without_idle(state), kind.namespace, resource, full=False)
        if lacking <= 0:
            continue
        single = [[(name, field)] for name in chain for field in ("limit", "borrow")]
        for places in (*single, [place for one in single for place in one]):
            policy, texts = state.policy, []
            for name, field in places:
                settings = next(one for one in policy.namespaces if one.name == name)
                was = dict(getattr(settings, field)).get(resource)
                if was is not None:
                    policy = _with(policy, settings, field, resource, was + lacking)
                    texts.append(f"raise `{field}` of {name} to {resource} {(was + lacking) / UNIT:g}")
            if texts:
                yield policy, " and ".join(texts), _share(lacking, amount)


def _with(policy: Policy, settings: Namespace, field: str, resource: str, amount: int) -> Policy:
    amounts: Amounts = tuple(sorted({**dict(getattr(settings, field)), resource: amount}.items()))
    changed = replace(settings, **{field: amounts})  # type: ignore[arg-type]
    return replace(policy, namespaces=tuple(changed if one is settings else one for one in policy.namespaces))


def _without_idle(state: State) -> dict[str, dict[str, int]]:
    """What is reserved by namespace and not by idle slots, which close for whoever needs their room."""
    used = {name: dict(amounts) for name, amounts in state.reserved.items()}
    for node in state.nodes.values():
        for lane in node.lanes.values():
            for name in {ROOT, *paths(lane.kind.namespace)} if lane.idle else ():
                for resource, amount in lane.kind.resources.amounts:
                    used[name][resource] -= amount * lane.idle
    return used


# --- others' work


def freed(job: Job, units: list[list[Job]], now_us: int) -> Change:
    """These attempts end, and their jobs with them. `units`: whoever ends together."""
    jobs = [one for unit in units for one in unit]
    lost_us = sum(now_us - one.saved_us for one in jobs)
    ended = [
        e.AttemptsEnded(
            node=one.node,
            keys=(one.key,),
            attempts=(one.attempt,),
            ends=(int(AttemptEnd.STOPPED),),
            entered_us=(one.started_us,),
            ended_us=(now_us,),
            pids=(0,),
            results=(b"",),
        )
        for one in jobs
        if one.node is not None
    ]
    cancelled = e.CancelRequested(request_id=_REQUEST, keys=tuple(one.key for one in jobs))
    return Change(
        kind="end",
        text=f"end {len(jobs)} running jobs" if len(jobs) > 1 else "end a running job",
        events=(cancelled, *ended),
        starts=job.key,
        size=(OTHERS + len(units) - 1, lost_us),
        ends=tuple(one.key for one in jobs),
    )


def may_end(state: State, now_us: int) -> list[list[Job]]:
    """What runs, the least work to lose first; members of a gang end together."""
    units: dict[str | JobKey, list[Job]] = {}
    for node in state.nodes.values():
        for lane in node.lanes.values():
            for job in map(state.jobs.__getitem__, lane.held):
                if job.state in (JobState.LAUNCHED, JobState.RUNNING):
                    gang = state.gang_of.get(job.key)
                    units.setdefault(gang.name if gang else job.key, []).append(job)
    return sorted(units.values(), key=lambda unit: (sum(now_us - one.saved_us for one in unit), unit[0].key))


def shares_demands(job: Job, other: Job) -> bool:
    """Whether another job holds something without a node that this one waits for, or quota of its namespace."""
    own = {place for place, _ in held(job.job_class)}
    root = job.kind.namespace.partition("/")[0]
    return other.kind.namespace.partition("/")[0] == root or any(place in own for place, _ in held(other.job_class))
