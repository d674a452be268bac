"""The scheduling models: just in time, rotational load, priority tiering, predictive. Each is a little arithmetic.

*Just in time* minimises idle capacity while it meets demand: a job with a deadline and a declared run time takes only
room that nobody else wants until the latest instant at which it must start; from then on its band counts. *Rotational
load* spreads starts evenly over the nodes, by their CPUs. *Priority tiering* gives urgency and importance slots of
time: in its slot a tier has the first turns; what it leaves is used by others at once. *Predictive*: measured run
times stand in where none is declared.
"""

from collections.abc import Iterable
from dataclasses import replace
from heapq import heappush

from kos_ray.model.ids import JobKey
from kos_ray.model.job import Spec
from kos_ray.model.policy import Model
from kos_ray.scheduler.jobs import LATER, OVERDUE, ClassKey, Job, JobClass, SpecEntry
from kos_ray.scheduler.learnt import UNKNOWN, Estimate, estimated
from kos_ray.scheduler.state import NodeState, State

#: thousandths
_WHOLE = 1_000
#: bands from 0 on that are urgent, and those that are important
_URGENT, _IMPORTANT = 1, 2
#: behind the orders of all bands
_BEHIND = 8


def under_model(state: State, name: ClassKey, spec: Spec, now_us: int) -> ClassKey:
    """What a class is called under the model of its namespace."""
    model = state.model(name.kind.namespace)
    if model is Model.PRIORITY_TIERING:
        return replace(name, tier=tier_of(name.band, spec))
    if model is Model.JUST_IN_TIME and now_us < must_start_us(state, spec):
        return replace(name, order=LATER)
    return name


def note_deadline(state: State, spec: Spec, keys: Iterable[int], *, later: bool) -> None:
    """New jobs have a deadline: note when it will be too late for those that still wait, and when they must start."""
    named = tuple(map(JobKey, keys))
    heappush(state.deadlines, (spec.deadline_us - spec.run_ms * 1_000 + 1, named))
    if later:
        heappush(state.deadlines, (must_start_us(state, spec), named))


def waits_again(state: State, job: Job) -> None:
    """A job is on no node any more, and not over: whether it is too late for it is asked once more."""
    spec = job.entry.spec
    if spec.deadline_us:
        note_deadline(state, spec, (job.key,), later=False)


# --- just in time


def must_start_us(state: State, spec: Spec) -> int:
    """When a job that is to start just in time counts by its band; 0 where nobody knows, so at once."""
    if not spec.deadline_us or not spec.run_ms:
        return 0
    return spec.deadline_us - spec.run_ms * (_WHOLE + state.policy.slack)


# --- priority tiering


def tier_of(band: int, spec: Spec) -> int:
    """1 for what is urgent and important, 2 for one of both, 3 for neither.

    Urgent is what has a deadline, and the two highest bands; important are the three highest bands.
    """
    urgent = band <= _URGENT or bool(spec.deadline_us)
    return 3 - urgent - (band <= _IMPORTANT)


def order_now(state: State, job_class: JobClass, now_us: int) -> int:
    """Where a class stands among all at an instant: a tier outside of its slot comes behind the one that is in it."""
    tier = job_class.name.tier
    if not tier or job_class.order == OVERDUE or tier == tier_at(state, now_us):
        return job_class.order
    return job_class.order + _BEHIND * tier


def tier_at(state: State, now_us: int) -> int:
    """Whose slot it is."""
    return _slot(state, now_us)[0]


def slot_end_us(state: State, now_us: int) -> int | None:
    """When the present slot ends, if a tier waits for that; None where there are no tiers."""
    if not any(found.name.tier and found.ready for found in state.classes.values()):
        return None
    return _slot(state, now_us)[1]


def _slot(state: State, now_us: int) -> tuple[int, int]:
    policy = state.policy
    start_us = now_us - now_us % policy.tier_period_us
    whole = sum(policy.tier_shares)
    shares = 0
    for tier, share in enumerate(policy.tier_shares, 1):
        shares += share
        end_us = start_us + policy.tier_period_us * shares // whole
        if now_us < end_us:
            return tier, end_us
    raise AssertionError("the last slot ends with the period")


# --- rotational load


def load_of(state: State, node: NodeState) -> int:
    """Starts of jobs that go round so far on a node, for each CPU of it (in millionths)."""
    cpus = dict(node.node.resources.amounts).get("CPU", 0)
    return state.starts.get(node.node.id, 0) * 10_000_000_000 // max(1, cpus)


def evenness(state: State) -> int:
    """Jain's index of the nodes' loads in thousandths: 1000 where all are loaded alike (Jain, Chiu, Hawe 1984).

    The load of a node is the largest share of it that is reserved.
    """
    loads = [_reserved_share(node) for node in state.nodes.values()]
    squares = sum(load * load for load in loads)
    return sum(loads) ** 2 * _WHOLE // (len(loads) * squares) if squares else _WHOLE


def _reserved_share(node: NodeState) -> int:
    return max(
        (
            (amount - node.free.get(name, 0)) * _WHOLE // amount
            for name, amount in node.node.resources.amounts
            if amount
        ),
        default=0,
    )


# --- predictive


def expected_us(state: State, entry: SpecEntry) -> int:
    """How long a job is expected to run, 0 where nobody knows: as declared, or the mean of its spec's runs.

    A namespace whose model is predictive takes the mean at its word.
    """
    if entry.spec.run_ms:
        return entry.spec.run_ms * 1_000
    return entry.mean_us if state.model(entry.spec.namespace) is Model.PREDICTIVE else 0


def estimate(state: State, spec: Spec, size: int = 0) -> Estimate:
    """How long a job runs as far as anybody knows: as declared, or as learnt. `size`: `learnt.size_of` its arguments.

    It need not have been submitted: this is for whoever plans as well.
    """
    return estimated(spec, state.learnt.of(spec, size) if state.policy.learn_run_times else UNKNOWN)


def estimate_of(state: State, job: Job) -> Estimate:
    """The same for a live job."""
    if job.key in state.sizes:
        return estimate(state, job.entry.spec, state.sizes[job.key])
    return estimate_in(state, job.entry)


def estimate_in(state: State, entry: SpecEntry) -> Estimate:
    """The same for jobs of a spec with small arguments."""
    if entry.estimate[0] != state.learnt.version:
        entry.estimate = state.learnt.version, estimate(state, entry.spec)
    return entry.estimate[1]
