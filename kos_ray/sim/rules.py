"""What rules over parents mean, read off the ends of all of them at once: the auditor's word, not the scheduler's."""

from collections.abc import Iterator, Sequence

from kos_ray.model.dependency import Ended, Rule, ended_as
from kos_ray.model.job import After, JobState
from kos_ray.model.reasons import Reason
from kos_ray.sim.workload import ArrayPlan, Plan


def naive(rule: Rule, ended: Sequence[Ended], setups: Sequence[Ended]) -> Reason:
    """Airflow's rules, and ours, read off the final states of all parents at once."""
    count = {how: ended.count(how) for how in Ended}
    ok, failed_, skipped_ = count[Ended.SUCCEEDED], count[Ended.FAILED], count[Ended.SKIPPED]
    bad, removed = failed_ + count[Ended.UPSTREAM_FAILED], count[Ended.REMOVED]
    never, skip, go = Reason.DEPENDENCY_NEVER_MET, Reason.SKIPPED_BY_RULE, Reason.NONE
    met = {
        Rule.ALL_MET: never if failed_ else go,
        Rule.ONE_MET: go if ok or not failed_ else never,
        Rule.ALL_SUCCESS: never if bad else skip if skipped_ else go,
        Rule.ALL_FAILED: skip if ok or skipped_ else go,
        Rule.ALL_DONE: go,
        Rule.ALL_SKIPPED: skip if ok or bad or removed else go,
        Rule.ALL_DONE_MIN_ONE_SUCCESS: skip if skipped_ else go if ok else never,
        Rule.ONE_SUCCESS: go if ok else skip if ended and skipped_ == len(ended) else never,
        Rule.ONE_FAILED: go if bad else skip,
        Rule.ONE_DONE: go if ok or failed_ else skip,
        Rule.NONE_FAILED: never if bad else go,
        Rule.NONE_FAILED_MIN_ONE_SUCCESS: never if bad else skip if ended and skipped_ == len(ended) else go,
        Rule.NONE_SKIPPED: skip if skipped_ else go,
        Rule.ALWAYS: go,
    }
    if rule is Rule.ALL_DONE_SETUP_SUCCESS:
        all_skipped = setups and all(how is Ended.SKIPPED for how in setups)
        return go if not setups or Ended.SUCCEEDED in setups else skip if all_skipped else never
    return met[rule]


#: kind, final state, reason, and whether it was ever sent to a node, as far as anybody saw
Parent = tuple[After, JobState, Reason, bool]


def readings(rule: Rule, parents: Sequence[Parent]) -> set[Reason]:
    """All that may follow from how parents ended: NONE, or why their child never runs.

    Of one that was cancelled no launch may have been seen though there was one, by a scheduler that died.
    """
    unseen = sum(state is JobState.CANCELLED and not sent for _, state, _, sent in parents)
    return {_reading(rule, parents, removed) for removed in range(unseen + 1)}


def _reading(rule: Rule, parents: Sequence[Parent], removed: int) -> Reason:
    ended: list[Ended] = []
    setups: list[Ended] = []
    for kind, state, reason, sent in parents:
        how = ended_as(state, reason, 1)
        if state is JobState.CANCELLED and not sent and removed:
            how, removed = Ended.REMOVED, removed - 1
        if rule.by_kind:
            how = Ended.SUCCEEDED if kind.verdict(state) else Ended.FAILED
        ended.append(how)
        if kind is After.OK:
            setups.append(how)
    return naive(rule, ended, setups)


def plans_of(parent: ArrayPlan | Plan) -> list[Plan]:
    """The jobs that a reference means."""
    return parent.jobs if isinstance(parent, ArrayPlan) else [parent]


def dependencies(plan: Plan) -> Iterator[tuple[Plan, After]]:
    """The jobs that one job waits for; of arrays in pairs the one of the same index."""
    array = plan.array
    for parent, kind in array.after:
        if kind is After.CORR:
            yield plans_of(parent)[array.jobs.index(plan)], kind
        else:
            yield from ((found, kind) for found in plans_of(parent))
    for parent in array.inputs:
        yield from ((found, After.OK) for found in plans_of(parent))
