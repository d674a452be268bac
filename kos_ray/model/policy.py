"""The scheduler's settings, frozen. They enter the journal with `SchedulerStarted`, so that a replay has them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from kos_ray.model.job import Notify
from kos_ray.model.rebalance import Rebalance
from kos_ray.model.where import Strategy
from kos_ray.model.wire import from_plain, to_plain

_MINUTE_US = 60_000_000
#: amounts by resource, in the order of names; unlike `Resources` it can say zero
Amounts = tuple[tuple[str, int], ...]


class Discipline(IntEnum):
    """How the jobs of one namespace are ordered among themselves. Stored in journals."""

    PRIORITY = 0  #: by band, then as they came
    FIFO = 1  #: as they came, whatever their band
    LIFO = 2  #: the last one first, whatever their band
    DEADLINE = 3  #: by band, then the earliest deadline; those without one behind
    DEPENDENCY_GRAPH = 4  #: by band, then whoever starts the longest chain of declared run times
    FAIR_SHARE = 5  #: by band, then the user who had the least
    PLUGIN = 6  #: by band, then by what a plug-in says


class Model(IntEnum):
    """Which scheduling model holds for the jobs of a namespace. Stored in journals."""

    STANDARD = 0  #: each job as soon as its turn comes and there is room
    JUST_IN_TIME = 1  #: a job with a deadline goes behind all others until it must start
    ROTATIONAL = 2  #: placement goes round among the nodes
    PRIORITY_TIERING = 3  #: tiers by urgency and importance have slots of time
    PREDICTIVE = 4  #: measured run times stand in for those that are not declared


class Against(IntEnum):
    """Whose work may be taken back, with Kueue's names (LowerPriority, …). Stored in journals."""

    NEVER = 0
    LOWER = 1  #: of a declared band strictly lower
    LOWER_OR_NEWER = 2  #: the same, and of the same band what was submitted later
    ANY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """What one namespace may use. `a/b` stands below `a`: what it uses counts there as well.

    A resource that is not named under `guaranteed` is guaranteed with nothing; under `limit` and `borrow`: without
    bound; under `lend`: all of what is guaranteed is lent while it is not used.
    """

    name: str
    discipline: Discipline | None = None
    #: which plug-in, where the discipline is one
    plugin: str = ""
    model: Model | None = None
    #: its share against its siblings', in thousandths
    weight: int = 1_000
    guaranteed: Amounts = ()
    limit: Amounts = ()
    borrow: Amounts = ()
    lend: Amounts = ()
    #: whose work its jobs may take back: of its own; of others who use more than is guaranteed to them, while it
    #: uses less; and the same while it borrows itself
    within: Against = Against.LOWER
    reclaim: Against = Against.ANY
    borrowing: Against = Against.LOWER
    #: while it borrows, only bands from this one downwards give way to it
    borrowing_band: int = 0
    #: how nodes are chosen for its jobs
    strategy: Strategy = Strategy.DEFAULT
    #: who is told of the ends of its jobs, besides those of the cluster
    notify: tuple[Notify, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A rate limit without a node: `amount` units in each `per_us`, saved up to `burst`."""

    name: str
    amount: int
    per_us: int
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits and delays of the scheduler; each has a unit and a reason."""

    #: an idle slot gives its reservation back after this; shorter costs process starts, longer holds room
    idle_slot_us: int = 1_000_000
    #: how much work, by measured run time, may wait at a node for each slot; hides one message's round trip; 0 for none
    ahead_us: int = 25_000
    #: and how many attempts at most
    ahead_max: int = 2_048
    #: attempts of specs that run longer than this are never queued ahead: waiting behind them would show. Those for
    #: which `ahead_us` is too short wait one for each slot, where so many wait that there is always a next one
    ahead_run_us_max: int = 200_000
    #: between asking an attempt to stop and killing it
    stop_grace_ms: int = 2_000
    #: a job under which this many nodes were lost may be what kills them
    losses_max: int = 8
    #: a job that so many worker processes died under is poison, however many retries it has left; 0 for never
    poison_after: int = 8
    #: processes that one node may run for us, whatever it has
    slots_per_node_max: int = 256
    #: slots of one kind on a node for jobs that ask for nothing: each is a process all the same
    empty_slots_max: int = 8
    #: after Ray gave a kind's room to others, it is left alone this long, doubling with each time
    taken_pause_us: int = 1_000_000
    taken_pause_us_max: int = 30_000_000
    #: the second launch in a row of a job that does not arrive is followed by this pause, which doubles with each time
    undelivered_pause_us: int = 1_000_000
    undelivered_pause_us_max: int = 30_000_000
    #: after so many in a row nobody can send it: the job is over
    undelivered_max: int = 8
    #: heads that do not fit get a node kept free for them; so many at most
    claims_max: int = 8
    #: specs without live jobs that stay known, so that the next submission need not carry them
    idle_specs_max: int = 4_096

    # --- order

    discipline: Discipline = Discipline.PRIORITY
    #: which plug-in, where the discipline is one
    plugin: str = ""
    #: a plug-in that has not answered by then is ended; its namespaces go on by priority
    plugin_deadline_us: int = 200_000
    model: Model = Model.STANDARD
    #: just in time: by so many thousandths of its run time a job starts before it must
    slack: int = 200
    #: priority tiering: what the tiers' slots are of a period, against each other
    tier_shares: tuple[int, ...] = (50, 30, 20)
    tier_period_us: int = _MINUTE_US
    #: by band: a job that has been ready this long goes before everything that has not; 0 means never
    aging_us: tuple[int, ...] = tuple(n * _MINUTE_US for n in (10, 60, 120, 360, 720, 1440))
    #: so many jobs of one namespace within `burst_us` are a burst: what comes on top waits one band lower; 0: never
    burst_jobs: int = 20_000
    burst_us: int = _MINUTE_US

    # --- shares

    namespaces: tuple[Namespace, ...] = ()
    #: after this time, use counts half
    half_life_us: int = 5 * _MINUTE_US
    #: how much a resource's share counts, in thousandths; others 1000
    share_weights: tuple[tuple[str, int], ...] = field(default=(("GPU", 4_000), ("memory", 500)))
    #: what a started job is charged at once, in thousandths of its share: floods of short jobs are not free
    entry_penalty: int = 100

    # --- what has no node

    #: licences by name, cluster-wide, as amounts
    licences: Amounts = ()
    rates: tuple[Rate, ...] = ()
    #: the share of each node's memory that our jobs may reserve, in thousandths
    memory_share: int = 1_000

    # --- where

    #: how nodes are chosen; DEFAULT is PACK
    strategy: Strategy = Strategy.DEFAULT
    #: whether jobs that say neither run time nor timeout start in a window that ends
    unknown_length: bool = False

    # --- run times

    #: whether learnt run times are used where none is declared; see `scheduler/learnt.py`
    learn_run_times: bool = True

    # --- taking back

    #: whether work is taken back at all for what is more urgent
    preemption: bool = True
    #: an attempt that has run for less than this is left alone
    exempt_us: int = 1_000_000
    #: a job that was evicted this often is left alone
    evictions_max: int = 8
    #: attempts that are measured to end within this are waited for
    patience_us: int = 500_000
    #: by band: how long a job that can save its state runs before it makes room for an equal; 0 means for ever
    slice_us: tuple[int, ...] = (0, _MINUTE_US, 2 * _MINUTE_US, 5 * _MINUTE_US, 15 * _MINUTE_US, 30 * _MINUTE_US)
    #: attempts that one pass may ask back
    evictions_per_pass: int = 64

    # --- agents

    #: so many jobs that are agents run at once; 0 for no limit
    agents_max: int = 0
    #: whether agents may be victims
    agents_give_way: bool = True
    #: whether an agent whose process died is started again, however few retries it has left
    agents_restart: bool = False

    #: so many generations of cascading agents, the first counted, and so many that one agent may have
    agent_depth_max: int = 8
    agent_children_max: int = 32

    #: from when on a node is pressed, and what is moved away from it then
    rebalance: Rebalance = field(default=Rebalance())

    #: how long exclusive work (`exactly_once`) goes on when nobody renews its lease, then it is killed by the kernel
    lease_us: int = 30_000_000

    # --- beside the scheduling

    #: between two looks at Ray's list of nodes, and two heartbeats of an agent; a loss is known so much later at most
    heartbeat_us: int = 1_000_000
    #: where jobs come from besides clients; a kind that is not there falls back to "sqlite", the journal itself
    queue: str = "sqlite"
    #: whether the scheduler counts what it does
    telemetry: bool = False
    #: days after which a stored log may be removed; 0 for never
    log_days: int = 0
    #: how long jobs are kept after they ended, by final state and in microseconds; those not named for ever
    retention: tuple[tuple[str, int], ...] = ()
    #: frames that take more bytes go, the oldest first; 0 for no limit
    journal_bytes_max: int = 0
    #: who is told of the ends of all jobs
    notify: tuple[Notify, ...] = ()
    #: folders on the head below which results may be written, besides the one in the state directory
    result_folders: tuple[str, ...] = ()


#: what a change of settings has
_CHANGES = frozenset({"policy", "namespaces"})


def changed(policy: Policy, change: Mapping[str, Any]) -> Policy:
    """A policy with a change of `spec.policies` merged into it.

    Raises:
        TypeError: the change names a field that is none, or is no change at all.

    """
    unknown = sorted(set(change) - _CHANGES)
    if unknown:
        raise TypeError(f"settings: expected {sorted(_CHANGES)}, as `spec.policies` makes them, found {unknown}")
    plain = _merged(to_plain(policy), change.get("policy", {}))
    namespaces = {found["name"]: found for found in plain.get("namespaces", ())}
    for name, fields in change.get("namespaces", {}).items():
        namespaces[name] = _merged(namespaces.get(name, {"name": name}), fields)
    plain["namespaces"] = tuple(namespaces[name] for name in sorted(namespaces))
    return from_plain(Policy, plain)


def _merged(plain: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    found = {**plain, **fields}
    return {name: value for name, value in found.items() if value is not None}
