"""The smallest changes that would start a waiting job in the next pass; the scheduler itself tries each on a copy.

A change is told only if `machine.step` launches the job then. Nothing is assumed of how the scheduler works: where
less is asked for, the largest request that starts is found by halving, which takes for granted that less is no worse.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from kos_ray.model import decisions as d
from kos_ray.model.gang import GangMode
from kos_ray.model.ids import MS_US, JobKey
from kos_ray.model.job import JobState
from kos_ray.model.policy import Discipline, Model
from kos_ray.model.resources import UNIT, Resources, add
from kos_ray.scheduler import changes, gangs
from kos_ray.scheduler.changes import Change
from kos_ray.scheduler.deadlines import with_idle
from kos_ray.scheduler.explain import waiting_gang
from kos_ray.scheduler.fit import able_nodes, wanted_kind
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.machine import step
from kos_ray.scheduler.sites import matches
from kos_ray.scheduler.snapshot import state_from_plain
from kos_ray.scheduler.state import NodeState, State

#: tries for one job; fewer where copies are large: so many jobs are copied in all, but for the first tries
TRIES_MAX = 200
_TRIES_MIN = 8
_COPIED_JOBS = 200_000
#: running jobs of which the end is tried, one at a time; and nodes on which several are
_SINGLE_ENDS = 16
_NODES = 4
#: steps of what is asked for: of memory and disk a MiB, of what is no whole device a hundredth
_MIB = 2**20 * UNIT
_BYTES = ("memory", "disk")
#: a run time that is declared is tried down to this
_SECOND_MS = 1_000
_LONGEST_MS = 7 * 86_400 * 1_000


def what_if(plain: Any, key: JobKey, now_us: int) -> list[Change]:
    """What would start a job that waits, of each kind one change, the smallest first; nothing where it starts anyway.

    `plain` is the state in the form of a snapshot.
    """
    state = state_from_plain(plain)
    job = state.jobs.get(key)
    if job is None or job.state not in (JobState.READY, JobState.HELD):
        return []
    tries = _Tries(plain, now_us, max(_TRIES_MIN, min(TRIES_MAX, _COPIED_JOBS // len(state.jobs))))
    nothing = Change(kind="", text="", events=(), starts=key, size=(0, 0))
    if tries.starts(nothing):
        return []
    found = [change for search in _searches(state, job, tries, now_us) if (change := search()) is not None]
    return sorted(found, key=lambda change: change.size)


class _Tries:
    """Copies of one state on which changes are tried."""

    def __init__(self, plain: Any, now_us: int, left: int) -> None:
        self._plain = plain
        self._now_us = now_us
        self._left = left

    def starts(self, change: Change) -> bool:
        """Whether the job is launched in a step that sees the change; False when there are no tries left.

        What makes it comes one after another, as people do it: others may have their turn in between.
        """
        if not self._left:
            return False
        self._left -= 1
        state = state_from_plain(self._plain)
        told = [[event] for event in change.events] or [[]]
        decisions = [found for events in told for found in step(state, events, self._now_us)]
        return any(isinstance(found, d.Launch) and change.starts in found.keys for found in decisions)

    def first(self, found: Iterable[Change | None]) -> Change | None:
        """The first of several that does."""
        return next((change for change in found if change is not None and self.starts(change)), None)

    def largest(self, made: Callable[[int], Change | None], most: int) -> Change | None:
        """Of changes by number, the largest number from 1 to `most` that does, if what is less is no worse."""
        low, best = 1, made(1) if most else None
        if best is None or not self.starts(best):
            return None
        while low < most:
            middle = (low + most + 1) // 2
            change = made(middle)
            if change is not None and self.starts(change):
                low, best = middle, change
            else:
                most = middle - 1
        return best


def _searches(state: State, job: Job, tries: _Tries, now_us: int) -> Iterator[Callable[[], Change | None]]:
    """One for each kind of change, those first that take few tries."""
    yield lambda: tries.first(changes.released(state, job))
    yield lambda: tries.first(changes.uncordoned(state, job))
    yield lambda: tries.first(changes.opened(state, job, now_us))
    yield lambda: tries.first(changes.other_policies(state, job, now_us))
    yield lambda: tries.first(_others(state, job, now_us))
    yield lambda: tries.first(_other_places(state, job))
    yield lambda: tries.first(changes.raised(state, job))
    for name, _ in job.entry.spec.resources.amounts:
        yield lambda name=name: _fewer(state, job, tries, name)  # type: ignore[misc]
    yield lambda: tries.first(_fewer_of_several(state, job))
    yield lambda: _smaller_gang(state, job, tries)
    yield lambda: tries.first(_ends(state, job, now_us))
    yield lambda: _shorter(state, job, tries)
    yield lambda: tries.first(_sooner(state, job, now_us))


# --- less of what it asks for


def _others(state: State, job: Job, now_us: int) -> Iterator[Change | None]:
    for spec, text, size in changes.other_demands(state, job, now_us):
        yield changes.anew(state, job, spec, kind="demands", text=text, size=size)


def _other_places(state: State, job: Job) -> Iterator[Change | None]:
    for where, text, size in changes.other_where(state, job):
        spec = replace(job.entry.spec, where=where)
        yield changes.anew(state, job, spec, kind="where", text=text, size=size)


def _fewer(state: State, job: Job, tries: _Tries, name: str) -> Change | None:
    """Less of one resource: the most with which it starts."""
    whole = dict(job.entry.spec.resources.amounts)[name]
    grain = _grain(name, whole)
    return tries.largest(lambda count: _with_less(state, job, {name: count * grain}), (whole - 1) // grain)


def _fewer_of_several(state: State, job: Job) -> Iterator[Change | None]:
    """What is free on a node of each resource of which it lacks some there, where less of one alone is not enough."""
    wanted, kind = job.entry.spec.resources, wanted_kind(state, job.job_class)
    found: list[dict[str, int]] = []
    for node in state.nodes.values():
        if (node.mark and node.mark.cordoned) or not matches(node, job.job_class.where, kind):
            continue
        free = with_idle(node)
        short = {name: dict(wanted.amounts)[name] for name in wanted.lacking(free)}
        less = {name: max(0, free.get(name, 0)) for name in short}
        found.append({name: less[name] - less[name] % _grain(name, whole) for name, whole in short.items()})
    if waiting_gang(state, job) is None and all(len(less) > 1 for less in found):
        several = [change for less in found if all(less.values()) and (change := _with_less(state, job, less))]
        yield from sorted(several, key=lambda change: change.size)[:_NODES]


def _with_less(state: State, job: Job, less: Mapping[str, int]) -> Change | None:
    """It asks for so much of some resources."""
    spec = job.entry.spec
    amounts = dict(spec.resources.amounts)
    told = [f"{name} {_shown(name, amount)} instead of {_shown(name, amounts[name])}" for name, amount in less.items()]
    size = sum((amounts[name] - amount) * 1_000 // amounts[name] for name, amount in less.items())
    resources = Resources.from_amounts({**amounts, **less})
    kind, text = f"fewer {' and '.join(less)}", f"ask for {' and '.join(told)}"
    return changes.anew(state, job, replace(spec, resources=resources), kind=kind, text=text, size=size)


def _grain(name: str, whole: int) -> int:
    return _MIB if name in _BYTES else UNIT if whole > UNIT else UNIT // 100


def _smaller_gang(state: State, job: Job, tries: _Tries) -> Change | None:
    """A gang of fewer members; of one that goes with a part of them, fewer that have to fit at once."""
    gang = waiting_gang(state, job)
    if gang is None:
        return None
    spec, members, needed = job.entry.spec, len(gang.live), gangs.needed(gang)

    def made(count: int) -> Change | None:
        size = (needed - count) * 1_000 // needed
        if gang.mode is GangMode.ALL:
            text = f"be a gang of {count} instead of {members}"
            return changes.anew(state, job, spec, kind="gang", text=text, size=size, count=count)
        text = f"start with {count} of its gang at once instead of {needed} (`min`)"
        return changes.anew(state, job, spec, kind="gang", text=text, size=size, least=count)

    return tries.largest(made, needed - 1)


def _shown(name: str, amount: int) -> str:
    return f"{amount // _MIB} MiB" if name in _BYTES else f"{amount / UNIT:g}"


def _shorter(state: State, job: Job, tries: _Tries) -> Change | None:
    """A shorter run time: the longest with which it fits before what it would delay, or into a window."""
    spec = job.entry.spec
    longest_ms = spec.run_ms - 1 if spec.run_ms else _LONGEST_MS

    def made(seconds: int) -> Change | None:
        run_ms = seconds * _SECOND_MS
        text = f"be over in {seconds} s, and declare that as `run_time`"
        size = (longest_ms - run_ms) * 1_000 // longest_ms
        return changes.anew(state, job, replace(spec, run_ms=run_ms), kind="run time", text=text, size=size)

    return tries.largest(made, longest_ms // _SECOND_MS)


def _sooner(state: State, job: Job, now_us: int) -> Iterator[Change | None]:
    """An earlier deadline, where deadlines decide whose turn it is: as late as its run time lets it be met.

    A later one starts nothing: nobody waits because its deadline is near, or was missed.
    """
    spec = job.entry.spec
    ordered = state.discipline(spec.namespace) is Discipline.DEADLINE or state.model(spec.namespace) in (
        Model.JUST_IN_TIME,
        Model.PRIORITY_TIERING,
    )
    if ordered:
        at_us = now_us + max(spec.run_ms, _SECOND_MS) * MS_US
        text = f"have its deadline in {(at_us - now_us) / 1_000_000:g} s"
        yield changes.anew(state, job, replace(spec, deadline_us=at_us), kind="deadline", text=text, size=0)


# --- others' work


def _ends(state: State, job: Job, now_us: int) -> Iterator[Change]:
    """Running jobs that end: one with as little work lost as possible; else several on one node, as few as fit."""
    units = changes.may_end(state, now_us)
    wanted = wanted_kind(state, job.job_class)
    able = able_nodes(state, wanted, job.job_class.where)
    gang = waiting_gang(state, job)
    likely = [unit for unit in units if gang or _helps(state, able, job, unit)]
    yield from (changes.freed(job, [unit], now_us) for unit in likely[:_SINGLE_ENDS])
    several = [found for node in able if len(found := _enough(node, wanted.resources, units)) > 1]
    several.sort(key=lambda found: (len(found), sum(now_us - one.saved_us for unit in found for one in unit)))
    yield from (changes.freed(job, found, now_us) for found in several[:_NODES])


def _helps(state: State, able: list[NodeState], job: Job, unit: list[Job]) -> bool:
    """Whether its end leaves room for a job somewhere, or something else that the job waits for."""
    wanted = wanted_kind(state, job.job_class).resources
    if any(changes.shares_demands(job, other) for other in unit):
        return True
    return any(wanted.fits(_room(node, [unit])) for node in able if any(one.node == node.node.id for one in unit))


def _room(node: NodeState, units: list[list[Job]]) -> dict[str, int]:
    """What is free on a node when these have ended."""
    free = with_idle(node)
    for other in (one for unit in units for one in unit if one.node == node.node.id):
        add(free, other.kind.resources, 1)
    return free


def _enough(node: NodeState, wanted: Resources, units: list[list[Job]]) -> list[list[Job]]:
    """Units on a node without which a vector fits there, nothing where it never does.

    They are added from the least loss on; then those are left out that need not end.
    """
    chosen: list[list[Job]] = []
    for unit in (one for one in units if any(job.node == node.node.id for job in one)):
        if wanted.fits(_room(node, chosen)):
            break
        chosen.append(unit)
    if not wanted.fits(_room(node, chosen)):
        return []
    for unit in list(chosen):
        rest = [one for one in chosen if one is not unit]
        if wanted.fits(_room(node, rest)):
            chosen = rest
    return chosen
