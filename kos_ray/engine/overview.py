"""How the scheduling stands as a whole, read off the state when somebody asks."""

from kos_ray.model.policy import Model
from kos_ray.model.views import SchedulingView
from kos_ray.scheduler.gates import AGENTS
from kos_ray.scheduler.models import evenness, tier_at
from kos_ray.scheduler.state import State

#: queues that this version has an adapter for
QUEUES = ("sqlite",)


def overview(state: State, counts: tuple[tuple[str, int], ...], now_us: int) -> SchedulingView:
    """The view; `counts` are the telemetry's."""
    policy = state.policy
    used = {policy.model, *(one.model for one in policy.namespaces)}
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
    )
