"""How the scheduling stands as a whole, read off the state when somebody asks."""

from kos_ray.model.policy import Model
from kos_ray.model.views import LearntKind, LearntKinds, SchedulingView
from kos_ray.scheduler.gates import AGENTS
from kos_ray.scheduler.learnt import ANY_SIZE, Histogram, Kind, sizes_of
from kos_ray.scheduler.models import evenness, tier_at
from kos_ray.scheduler.state import State

#: queues that this version has an adapter for
QUEUES = ("sqlite",)


def overview(state: State, counts: tuple[tuple[str, int], ...], now_us: int) -> SchedulingView:
    """The view; `counts` are the telemetry's."""
    policy = state.policy
    used = {policy.model, *(one.model for one in policy.namespaces)}
    schedules = state.schedules
    next_us = schedules.next_due_us()
    named = {policy.plugin, *(one.plugin for one in policy.namespaces)}
    return SchedulingView(
        queue=policy.queue if policy.queue in QUEUES else QUEUES[0],
        queue_wanted=policy.queue,
        plugins=tuple((name, state.plugins_off.get(name, "")) for name in sorted(named - {""})),
        evenness=evenness(state) / 1_000,
        agents=state.used.get(AGENTS, 0),
        agents_max=policy.agents_max,
        too_late=len(state.missed),
        tier=tier_at(state, now_us) if Model.PRIORITY_TIERING in used else 0,
        counts=counts,
        schedules=len(schedules.by_key),
        schedules_paused=sum(one.paused for one in schedules.by_key.values()),
        next_fire=schedules.due[0][1].replace("\0", "/") if next_us else "",
        next_fire_us=next_us or 0,
    )


def learnt(state: State) -> LearntKinds:
    """What was learnt of run times, by kind of jobs in the order of their names."""
    kinds = [_learnt_kind(kind, histogram) for kind, histogram in state.learnt.kinds.items()]
    return LearntKinds(
        kinds=tuple(sorted(kinds, key=lambda one: (one.namespace, one.type, one.resources or (), one.arguments_below)))
    )


def _learnt_kind(kind: Kind, histogram: Histogram) -> LearntKind:
    namespace, job_type, shape, size = kind
    low_us, mid_us, high_us = histogram.quantiles
    first, below = (0, 0) if size == ANY_SIZE else sizes_of(size)
    return LearntKind(
        namespace=namespace,
        type=job_type,
        resources=None if shape is None else shape.amounts,
        arguments_from=first,
        arguments_below=below,
        runs=histogram.runs,
        low_us=low_us,
        mid_us=mid_us,
        high_us=high_us,
    )
