"""The scheduler's settings, frozen. They enter the journal with `SchedulerStarted`, so that a replay has them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits and delays of the scheduler; each has a unit and a reason."""

    #: an idle slot gives its reservation back after this; shorter costs process starts, longer holds room
    idle_slot_us: int = 1_000_000
    #: how much work, by measured run time, may wait at a node for each slot; hides one message's round trip
    ahead_us: int = 25_000
    #: and how many attempts at most
    ahead_max: int = 512
    #: attempts of specs that run longer than this are never queued ahead: waiting behind them would show
    ahead_run_us_max: int = 50_000
    #: between asking an attempt to stop and killing it
    stop_grace_ms: int = 2_000
    #: a job under which this many nodes were lost may be what kills them
    losses_max: int = 8
    #: processes that one node may run for us, whatever it has
    slots_per_node_max: int = 256
    #: slots of one kind on a node for jobs that ask for nothing: each is a process all the same
    empty_slots_max: int = 8
    #: after Ray gave a kind's room to others, it is left alone this long, doubling with each time
    taken_pause_us: int = 1_000_000
    taken_pause_us_max: int = 30_000_000
    #: heads that do not fit get a node kept free for them; so many at most
    claims_max: int = 8
    #: specs without live jobs that stay known, so that the next submission need not carry them
    idle_specs_max: int = 4_096
