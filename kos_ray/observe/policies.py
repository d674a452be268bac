"""The scheduler's policy as people write it."""

from kos_ray.model.job import BANDS
from kos_ray.model.policy import Amounts, Discipline, Namespace, Policy
from kos_ray.model.rebalance import Rebalance, Threshold
from kos_ray.model.resources import UNIT
from kos_ray.model.sample import BATTERY, WHOLE
from kos_ray.model.where import Strategy

_NAMES = {"CPU": "cpu", "GPU": "gpu"}


def settings_in_force(policy: Policy, namespace: str = "") -> dict[str, str]:
    """Settings by the names that `kos scheduler set` knows; of one namespace, or of the cluster with all of them."""
    if namespace:
        return _of_namespace(
            next((one for one in policy.namespaces if one.name == namespace), Namespace(name=namespace))
        )
    found = {
        "scheduler_mode": _mode(policy),
        "scheduling_model": policy.model.name.lower(),
        "just_in_time_slack": f"{policy.slack / 1_000:g}",
        "tiers": f"{'/'.join(map(str, policy.tier_shares))} per {_time(policy.tier_period_us)}",
        "plugin_deadline": _time(policy.plugin_deadline_us),
        "preemption": _flag(policy.preemption),
        "grace": f"{policy.stop_grace_ms / 1_000:g}s",
        "exempt_time": _time(policy.exempt_us),
        "patience": _time(policy.patience_us),
        "max_evictions": str(policy.evictions_max),
        "aging": _by_band(policy.aging_us),
        "time_slices": _by_band(policy.slice_us),
        "half_life": _time(policy.half_life_us),
        "entry_penalty": f"{policy.entry_penalty / 1_000:g}",
        "burst": f"{policy.burst_jobs}/{_time(policy.burst_us)}" if policy.burst_jobs else "0",
        "licences": _amounts(policy.licences) or "none",
        "rates": ", ".join(f"{rate.name}: {rate.amount}/{_time(rate.per_us)}" for rate in policy.rates) or "none",
        "max_memory_usage": f"{policy.memory_share / 10:g}%",
        "strategy": (policy.strategy or Strategy.PACK).name.lower(),
        "unknown_length": "true" if policy.unknown_length else "false",
        "learn_run_times": _flag(policy.learn_run_times),
        "idle_slot": _time(policy.idle_slot_us),
        "claims": str(policy.claims_max),
        "max_concurrent_agents": str(policy.agents_max or "none"),
        "allow_agent_preemption": _flag(policy.agents_give_way),
        "poison_after": str(policy.poison_after or "never"),
        "reschedule_on_crash": _flag(policy.agents_restart),
        "max_agent_depth": str(policy.agent_depth_max),
        "max_agent_children": str(policy.agent_children_max),
        "rebalance": _rebalance(policy.rebalance),
        "heartbeat_interval": _time(policy.heartbeat_us),
        "lease": _time(policy.lease_us),
        "default_queue": queue_in_use(policy),
        "telemetry": _flag(policy.telemetry),
        "log_retention_days": str(policy.log_days or "for ever"),
        "retention": ", ".join(f"{name} {_time(time_us)}" for name, time_us in policy.retention) or "for ever",
        "notify": ", ".join(f"{one.name} ({', '.join(one.states)})" for one in policy.notify) or "nobody",
        "result_folders": ", ".join(policy.result_folders) or "its own",
        "journal_max_size": str(policy.journal_bytes_max or "no limit"),
    }
    for one in policy.namespaces:
        said = ", ".join(f"{key} {value}" for key, value in _of_namespace(one).items() if value)
        found[f"namespace {one.name}"] = said or "nothing"
    return found


def _of_namespace(one: Namespace) -> dict[str, str]:
    return {
        "scheduler_mode": _mode(one),
        "scheduling_model": "" if one.model is None else one.model.name.lower(),
        "strategy": one.strategy.name.lower() if one.strategy else "",
        "notify": " ".join(target.name for target in one.notify),
        "weight": f"{one.weight / 1_000:g}",
        "guaranteed": _amounts(one.guaranteed),
        "limit": _amounts(one.limit),
        "borrow": _amounts(one.borrow),
        "lend": _amounts(one.lend),
        "preempt_within": one.within.name.lower(),
        "reclaim": one.reclaim.name.lower(),
        "preempt_while_borrowing": one.borrowing.name.lower(),
        "preempt_while_borrowing_from": BANDS[one.borrowing_band],
    }


def queue_in_use(policy: Policy) -> str:
    """Where jobs come from, and what was asked for where that is not there."""
    if policy.queue == "sqlite":
        return "sqlite"
    return f"sqlite ({policy.queue} was asked for, and this version has no adapter for it)"


def _rebalance(found: Rebalance) -> str:
    shares = [f"{one.kind}: {_thresholds(one)}" for one in found.thresholds]
    if not shares:
        return "false"
    rest = (f"after: {found.after}", f"moves_per_minute: {found.moves_per_minute}", f"rest: {_time(found.rest_us)}")
    return f"{{{', '.join((*shares, *rest, f'jobs: {_flag(found.jobs)}'))}}}"


def _thresholds(one: Threshold) -> str:
    # of a battery people say what is left
    high, low = (WHOLE - one.low, WHOLE - one.high) if one.kind == BATTERY else (one.high, one.low)
    return f"{{high: {high / 10:g}%, low: {low / 10:g}%}}"


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _mode(one: Policy | Namespace) -> str:
    if one.discipline is None:
        return ""
    return f"plugin:{one.plugin}" if one.discipline is Discipline.PLUGIN else one.discipline.name.lower()


def _amounts(amounts: Amounts) -> str:
    pairs = ", ".join(f"{_NAMES.get(name, name)}: {amount / UNIT:g}" for name, amount in amounts)
    return f"{{{pairs}}}" if pairs else ""


def _by_band(times_us: tuple[int, ...]) -> str:
    return "{" + ", ".join(f"{band}: {_time(time_us)}" for band, time_us in zip(BANDS, times_us, strict=True)) + "}"


def _time(time_us: int) -> str:
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)):
        if time_us and time_us % size == 0:
            return f"{time_us // size}{unit}"
    return f"{time_us / 1_000:g}ms"
