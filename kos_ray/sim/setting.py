"""What one seed draws before its history begins: how large, how fast, how bad."""

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from kos_ray.model.policy import Against, Discipline, Model, Namespace, Policy, Rate
from kos_ray.model.rebalance import Rebalance, Threshold
from kos_ray.model.resources import UNIT, Resources
from kos_ray.model.sample import MEMORY
from kos_ray.sim.plugins import NAME
from kos_ray.sim.world import MS_US, SECOND_US, World

#: tenants
NAMESPACES = ("default", "team")
#: how many of the worlds have agents
AGENTS_SHARE = 0.13
_CLUSTERS = ((4,), (2, 2), (4, 8), (2, 4, 4), (8, 2, 2, 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One world's parameters. Delays are microseconds; `*_us` pairs are (least, most)."""

    nodes: tuple[Resources, ...]
    policy: Policy
    clients: int
    jobs_max: int
    #: requests are made, and faults happen, in this time
    busy_us: int
    faults: int
    delay_us: tuple[int, int]
    #: one message in so many is slow
    slow_share: float
    tick_us: tuple[int, int]
    start_us: tuple[int, int]
    admission_us: int
    #: attempts that a slot is handed at a time
    handed_max: int
    snapshot_share: float
    #: whether exclusive work runs under leases here
    leases: bool = False
    #: how many agents there are; mostly none
    agents: int = 0


def draw(world: World) -> Setting:
    """A setting from the world's seed."""
    nodes = tuple(_node(world, cpus) for cpus in world.pick(_CLUSTERS))
    setting = Setting(
        nodes=nodes,
        policy=_policy(world, nodes),
        clients=world.between(1, 3),
        jobs_max=world.pick((8, 8, 16, 16, 32, 32, 64, 200)),
        busy_us=world.between(500, 8_000) * MS_US,
        faults=world.between(3, 12),
        delay_us=world.pick(((50, 400), (200, 3_000), (50, 30_000))),
        slow_share=world.pick((0.0, 0.02, 0.1)),
        tick_us=world.pick(((0, 50), (50, 1_000), (1_000, 10_000))),
        start_us=world.pick(((5 * MS_US, 30 * MS_US), (100 * MS_US, 800 * MS_US))),
        admission_us=world.pick((500 * MS_US, 2 * SECOND_US)),
        handed_max=world.pick((1, 4, 16)),
        snapshot_share=world.pick((0.0, 0.02, 0.1)),
    )
    if world.aside.random() >= 0.5:
        lease_us = world.aside.choice((1, 1, 2, 30)) * SECOND_US
        setting = replace(setting, leases=True, policy=replace(setting.policy, lease_us=lease_us))
    return _with_agents(setting, Random(f"agents of {world.seed}"))


def _with_agents(setting: Setting, random: Random) -> Setting:
    """Some worlds have agents. They stay, so nothing may limit how many there are; in some, nodes are relieved."""
    if random.random() >= AGENTS_SHARE:
        return setting
    policy = replace(setting.policy, agents_max=0, slots_per_node_max=256, tier_period_us=SECOND_US)
    if random.random() < 0.6:
        rebalance = Rebalance(
            thresholds=(Threshold(kind=MEMORY, high=random.choice((700, 900)), low=600),),
            after=random.choice((1, 2)),
            moves_per_minute=random.choice((1, 2, 4)),
            rest_us=random.choice((2, 20)) * SECOND_US,
            jobs=random.random() < 0.3,
        )
        policy = replace(policy, rebalance=rebalance, heartbeat_us=200 * MS_US, agents_give_way=True)
    return replace(setting, agents=random.choice((1, 2, 3, 4, 5)), policy=policy)


def _node(world: World, cpus: int) -> Resources:
    units: dict[str, float] = {"CPU": cpus, "memory": cpus * 2.0**30}
    if world.chance(0.4):
        units["GPU"] = world.between(1, 2)
    return Resources.of(units)


def _policy(world: World, nodes: tuple[Resources, ...]) -> Policy:
    return Policy(
        idle_slot_us=world.pick((20 * MS_US, 1_000 * MS_US)),
        ahead_us=world.pick((0, 5_000, 25_000)),
        ahead_max=world.pick((2, 512)),
        ahead_run_us_max=world.pick((1_000, 50_000, 200_000)),
        stop_grace_ms=world.pick((0, 50, 2_000)),
        losses_max=world.pick((1, 8)),
        slots_per_node_max=world.pick((2, 256)),
        taken_pause_us=200 * MS_US,
        taken_pause_us_max=1_000 * MS_US,
        claims_max=world.pick((0, 1, 8)),
        idle_specs_max=world.pick((0, 1, 2, 4_096)),
        **_order(world),
        **_taking_back(world),
        namespaces=_namespaces(world, nodes),
        licences=(("licence", 2 * UNIT),),
        rates=(Rate(name="calls", amount=world.pick((5, 1_000)), per_us=SECOND_US, burst=10),),
    )


def _order(world: World) -> dict[str, Any]:
    return {
        "discipline": world.pick(tuple(Discipline)),
        "plugin": NAME,
        "model": world.pick((Model.STANDARD, *Model)),
        "slack": world.pick((0, 200, 1_000)),
        "tier_period_us": world.pick((10, 1_000)) * MS_US,
        "agents_max": world.pick((0, 1, 3)),
        "agents_give_way": world.chance(0.5),
        "heartbeat_us": world.pick((200, 1_000)) * MS_US,
        "aging_us": tuple(world.pick((0, 50, 1_000, 60_000)) * MS_US for _ in range(6)),
        "burst_jobs": world.pick((0, 5, 20_000)),
        "burst_us": world.pick((10, 1_000)) * MS_US,
        "half_life_us": world.pick((0, 100, 300_000)) * MS_US,
    }


def _taking_back(world: World) -> dict[str, Any]:
    return {
        "preemption": world.chance(0.8),
        "exempt_us": world.pick((0, 20, 1_000)) * MS_US,
        "evictions_max": world.pick((1, 3, 8)),
        "patience_us": world.pick((0, 5, 500)) * MS_US,
        "slice_us": tuple(world.pick((0, 30, 500)) * MS_US for _ in range(6)),
        "evictions_per_pass": world.pick((1, 64)),
    }


def _namespaces(world: World, nodes: tuple[Resources, ...]) -> tuple[Namespace, ...]:
    """Settings under which every job can run: a limit is never below the largest node."""
    if world.chance(0.5):
        return ()
    largest = max(dict(node.amounts)["CPU"] for node in nodes)
    whole = sum(dict(node.amounts)["CPU"] for node in nodes)
    return tuple(
        Namespace(
            name=name,
            discipline=world.pick((None, *Discipline)),
            plugin=NAME,
            model=world.pick((None, *Model)),
            weight=world.pick((500, 1_000, 3_000)),
            guaranteed=(("CPU", world.pick((0, whole // 4, whole // 2))),),
            limit=world.pick(((), (("CPU", largest),))),
            within=world.pick(tuple(Against)),
            reclaim=world.pick(tuple(Against)),
            borrowing=world.pick((Against.NEVER, Against.LOWER)),
        )
        for name in NAMESPACES
    )
