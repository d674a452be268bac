"""What blocked jobs wait for: how their parents start and end is counted, and a rule says what follows.

Every parent's end costs one step for each job that waits for it, however many parents that has: a `Waiting` holds
counts alone. A rule is sound before all is known: it says that a job may go, or never can, only when nothing that may
still happen changes that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kos_ray.model.dependency import Ended, Rule, plainly
from kos_ray.model.events import JobsSubmitted
from kos_ray.model.ids import JobKey
from kos_ray.model.job import After, JobState
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.jobs import Job, Waiting
from kos_ray.scheduler.state import State

#: what a rule says: NONE: it may go. DEPENDENCY: not known yet. All else: it never can, and this is why
Verdict = Reason
_GO, _WAIT, _NEVER, _SKIP = Reason.NONE, Reason.DEPENDENCY, Reason.DEPENDENCY_NEVER_MET, Reason.SKIPPED_BY_RULE


@dataclass(frozen=True, slots=True)
class Tally:
    """How many parents have not ended, and how those ended that have; setups are counted once more."""

    pending: int
    succeeded: int
    failed: int
    skipped: int
    upstream_failed: int
    removed: int
    setups: tuple[int, ...]

    @property
    def bad(self) -> int:
        """Those that did not end well, of themselves or because of others."""
        return self.failed + self.upstream_failed


def judge(rule: Rule, pending: int, counts: Sequence[int]) -> Verdict:
    """What follows from these counts: by `Ended`, and behind those by `Ended` of the setups."""
    if rule is Rule.ALL_MET:
        return _NEVER if counts[Ended.FAILED] else _WAIT if pending else _GO
    succeeded, failed, skipped, upstream_failed, removed, *setups = counts
    return _RULES[rule](Tally(pending, succeeded, failed, skipped, upstream_failed, removed, tuple(setups)))


def _when_done(tally: Tally, verdict: Verdict) -> Verdict:
    return _WAIT if tally.pending else verdict


def _one_met(tally: Tally) -> Verdict:
    return _GO if tally.succeeded else _when_done(tally, _NEVER if tally.failed else _GO)


def _all_success(tally: Tally) -> Verdict:
    if tally.bad or tally.skipped:
        return _NEVER if tally.bad else _SKIP
    return _when_done(tally, _GO)


def _all_failed(tally: Tally) -> Verdict:
    return _SKIP if tally.succeeded or tally.skipped else _when_done(tally, _GO)


def _all_done(tally: Tally) -> Verdict:
    return _when_done(tally, _GO)


def _all_skipped(tally: Tally) -> Verdict:
    others = tally.succeeded + tally.bad + tally.removed
    return _SKIP if others else _when_done(tally, _GO)


def _all_done_min_one_success(tally: Tally) -> Verdict:
    if tally.skipped:
        return _SKIP
    return _when_done(tally, _GO if tally.succeeded else _NEVER)


def _all_done_setup_success(tally: Tally) -> Verdict:
    if not any(tally.setups) or tally.setups[Ended.SUCCEEDED]:
        return _when_done(tally, _GO)
    return _when_done(tally, _SKIP if tally.setups[Ended.SKIPPED] == sum(tally.setups) else _NEVER)


def _one_success(tally: Tally) -> Verdict:
    if tally.succeeded:
        return _GO
    return _when_done(tally, _NEVER if tally.bad + tally.removed or not tally.skipped else _SKIP)


def _one_failed(tally: Tally) -> Verdict:
    return _GO if tally.bad else _when_done(tally, _SKIP)


def _one_done(tally: Tally) -> Verdict:
    return _GO if tally.succeeded or tally.failed else _when_done(tally, _SKIP)


def _none_failed(tally: Tally) -> Verdict:
    return _NEVER if tally.bad else _when_done(tally, _GO)


def _none_failed_min_one_success(tally: Tally) -> Verdict:
    if tally.bad:
        return _NEVER
    only_skipped = tally.skipped and not tally.succeeded and not tally.removed
    return _when_done(tally, _SKIP if only_skipped else _GO)


def _none_skipped(tally: Tally) -> Verdict:
    return _SKIP if tally.skipped else _when_done(tally, _GO)


def _always(_tally: Tally) -> Verdict:
    return _GO


_RULES: dict[Rule, Callable[[Tally], Verdict]] = {
    Rule.ONE_MET: _one_met,
    Rule.ALL_SUCCESS: _all_success,
    Rule.ALL_FAILED: _all_failed,
    Rule.ALL_DONE: _all_done,
    Rule.ALL_SKIPPED: _all_skipped,
    Rule.ALL_DONE_MIN_ONE_SUCCESS: _all_done_min_one_success,
    Rule.ALL_DONE_SETUP_SUCCESS: _all_done_setup_success,
    Rule.ONE_SUCCESS: _one_success,
    Rule.ONE_FAILED: _one_failed,
    Rule.ONE_DONE: _one_done,
    Rule.NONE_FAILED: _none_failed,
    Rule.NONE_FAILED_MIN_ONE_SUCCESS: _none_failed_min_one_success,
    Rule.NONE_SKIPPED: _none_skipped,
    Rule.ALWAYS: _always,
}


# --- what happens to parents


class Past:
    """The parents of one submission that were over before it."""

    def __init__(self, event: JobsSubmitted) -> None:
        self._states = dict(event.ended_parents)
        self._ended = dict(event.ended_as)

    def of(self, key: JobKey) -> tuple[JobState, Ended]:
        """How a parent ended; one that is neither live nor known here is a broken frame."""
        state = JobState(self._states[key])
        known = self._ended.get(key)
        return state, plainly(state) if known is None else Ended(known)


def wait(state: State, job: Job, past: Past) -> None:
    """Count the parents of a new job, and stand in its line."""
    dependency = job.dependency
    assert dependency is not None
    waiting = job.waiting = Waiting(Rule(dependency.rule))
    for first, count, kind in dependency.after:
        for number in range(first, first + count):
            _wait_for(state, job, waiting, JobKey(number), After(kind), past)
    if dependency.singleton:
        _line_up(state, job, waiting)
    _follow(state, job, waiting)


def _wait_for(state: State, job: Job, waiting: Waiting, key: JobKey, kind: After, past: Past) -> None:
    parent = state.jobs.get(key)
    if parent is None and key in state.closing:
        waiting.pending += 1
        state.dependents.setdefault(key, []).append((job.key, int(kind)))
    elif parent is None:
        _count(waiting, kind, *past.of(key))
    elif kind is After.STARTED and waiting.rule.by_kind:
        if parent.entered:
            waiting.counts[Ended.SUCCEEDED] += 1
        else:
            waiting.pending += 1
            state.starters.setdefault(key, []).append(job.key)
    else:
        waiting.pending += 1
        state.dependents.setdefault(key, []).append((job.key, int(kind)))


def _count(waiting: Waiting, kind: After, outcome: JobState, ended: Ended) -> None:
    """One more parent is over."""
    if waiting.rule.by_kind:
        ended = Ended.SUCCEEDED if kind.verdict(outcome) else Ended.FAILED
    waiting.counts[ended] += 1
    if waiting.rule is Rule.ALL_DONE_SETUP_SUCCESS and kind is After.OK:
        waiting.counts[len(Ended) + ended] += 1


def _follow(state: State, job: Job, waiting: Waiting) -> None:
    """Note what is to be decided about a job whose counts have changed."""
    verdict = judge(waiting.rule, waiting.pending, waiting.counts)
    if verdict is _WAIT or (verdict is _GO and waiting.in_line and waiting.rule is not Rule.ONE_MET):
        return
    if verdict is _GO:
        state.todo.unblocked[job.key] = None
    else:
        state.todo.unmeetable[job.key] = verdict
        state.todo.unblocked.pop(job.key, None)


def parent_ended(state: State, children: list[tuple[JobKey, int]], outcome: JobState, ended: Ended) -> None:
    """A job is over: those that waited for that count it."""
    for key, kind in children:
        child = state.jobs.get(key)
        if child is not None and child.state is JobState.BLOCKED:
            assert child.waiting is not None
            child.waiting.pending -= 1
            _count(child.waiting, After(kind), outcome, ended)
            _follow(state, child, child.waiting)


def parent_started(state: State, key: JobKey) -> None:
    """A job's code was entered, or it is over: those that waited for its start have it."""
    for child_key in state.starters.pop(key, ()):
        child = state.jobs.get(child_key)
        if child is not None and child.state is JobState.BLOCKED:
            assert child.waiting is not None
            _met(state, child, child.waiting)


def _met(state: State, job: Job, waiting: Waiting) -> None:
    waiting.pending -= 1
    waiting.counts[Ended.SUCCEEDED] += 1
    _follow(state, job, waiting)


# --- one at a time


def line_of(job: Job) -> str:
    """In which line a job stands: namespace, user and key; "" in none."""
    dependency = job.dependency
    if dependency is None or not dependency.singleton:
        return ""
    return f"{job.entry.spec.namespace}\0{job.job_class.name.user}\0{dependency.singleton}"


def _line_up(state: State, job: Job, waiting: Waiting) -> None:
    """Stand behind all live jobs of the same line. Where one dependency is enough, the line counts as one."""
    line = state.lines.setdefault(line_of(job), {})
    waiting.in_line = bool(line)
    line[job.key] = None
    if waiting.rule is Rule.ONE_MET:
        if waiting.in_line:
            waiting.pending += 1
        else:
            waiting.counts[Ended.SUCCEEDED] += 1


def leave_line(state: State, job: Job) -> None:
    """A job is over: who stands behind it in its line, and behind nobody else, has its turn."""
    name = line_of(job)
    line = state.lines.get(name)
    if line is None or job.key not in line:
        return
    del line[job.key]
    if not line:
        del state.lines[name]
        return
    following = state.jobs[next(iter(line))]
    waiting = following.waiting
    if waiting is None or not waiting.in_line:
        return
    waiting.in_line = False
    if following.state is not JobState.BLOCKED:
        return
    if waiting.rule is Rule.ONE_MET:
        _met(state, following, waiting)
    else:
        _follow(state, following, waiting)


def registered(state: State) -> Mapping[JobKey, int]:
    """How many live parents each job waits for by what is noted under them, to be compared with its own count."""
    found: dict[JobKey, int] = {}
    for children in state.dependents.values():
        for key, _ in children:
            found[key] = found.get(key, 0) + 1
    for keys in state.starters.values():
        for key in keys:
            found[key] = found.get(key, 0) + 1
    for line in state.lines.values():
        for key in line:
            job = state.jobs.get(key)
            if job and job.waiting and job.waiting.in_line and job.waiting.rule is Rule.ONE_MET:
                found[key] = found.get(key, 0) + 1
    return found
