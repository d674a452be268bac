"""A plug-in that orders whole graphs: it tries many schedules and gives the ranks that made the shortest one.

A schedule is made as the scheduler would make it (`Project.schedule`): at each instant the first of those that may
start takes its room; the first one that does not fit keeps the room that it needs, and those behind it start where they
do not delay it (backfill as in EASY; Lifka, JSSPP 1995). So the scheduler, given the same ranks, does the same again.

The search is multi-pass (Kolisch and Hartmann, EJOR 174, 2006): longest path first, then ranks with some noise on them,
and after each a few turns of forward-backward improvement (Tormos and Lova, Annals of OR 102, 2001): tasks are moved as
late as they may be, those that end last first, and then as early again. It ends at a schedule as long as the longest
path, or when it has placed so many tasks. The same tasks always get the same ranks.

All nodes count as one, and as empty: on several nodes, or beside other work, the order is a guess.
"""

from bisect import insort
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from random import Random
from typing import Any, NamedTuple

#: tasks that one search may place in all, and schedules that it may make: some 10 µs for each task
PLACED_MAX = 50_000
SCHEDULES_MAX = 500
#: noise on ranks, as shares of the longest path
_NOISE = (0.1, 0.2, 0.4)
_SEED = 1
_MS = 1_000
#: amounts are compared as integers
_PARTS = 10_000

#: `(end, task)` of those that run, the first end first; and `(rank, task)` of those that may start
_Running = list[tuple[int, int]]
_Ready = list[tuple[float, int]]


class GraphSearch:
    """The ranks of the shortest schedule found; a task without a run time counts as long as the mean."""

    def order(self, tasks: Sequence[Mapping[str, Any]], cluster: Mapping[str, Any]) -> list[float]:
        """The rank of each task, about when it is to start, in seconds since the epoch."""
        ranks = search(project_of(tasks, cluster["capacity"])).ranks
        first = min(ranks)
        return [cluster["now"] + (rank - first) / _MS for rank in ranks]


class Schedule(NamedTuple):
    """How long it takes, the ranks that it was made by, and its starts, in milliseconds."""

    length: int
    ranks: Sequence[float]
    starts: Sequence[int]


class Project:
    """Tasks by number: run times (milliseconds), needs `(resource, amount)`, and the tasks that each waits for."""

    def __init__(
        self,
        lengths: Sequence[int],
        needs: Sequence[Sequence[tuple[int, int]]],
        parents: Sequence[Sequence[int]],
        capacity: Sequence[int],
    ) -> None:
        self.lengths = lengths
        self.needs = needs
        self.parents = parents
        self.capacity = capacity
        self.children: list[list[int]] = [[] for _ in lengths]
        for task, found in enumerate(parents):
            for parent in found:
                self.children[parent].append(task)
        #: of each resource that all need, the least that one needs: where less is free, nothing starts
        least = [min(dict(found).get(number, 0) for found in needs) for number in range(len(capacity))]
        self._least = [(number, amount) for number, amount in enumerate(least) if amount]
        #: from a task's start to the end of the longest chain behind it
        self.tails = self._tails()
        #: no schedule is shorter
        self.bound = max([*self.tails, *map(self._busy, range(len(capacity)))])

    def _tails(self) -> list[int]:
        tails = [0] * len(self.lengths)
        waiting = [len(children) for children in self.children]
        ready = [task for task, count in enumerate(waiting) if not count]
        while ready:
            task = ready.pop()
            tails[task] = self.lengths[task] + max((tails[child] for child in self.children[task]), default=0)
            for parent in self.parents[task]:
                waiting[parent] -= 1
                if not waiting[parent]:
                    ready.append(parent)
        return tails

    def _busy(self, resource: int) -> int:
        """How long all of a resource is in use at least."""
        work = sum(
            length * dict(needs).get(resource, 0) for length, needs in zip(self.lengths, self.needs, strict=True)
        )
        return -(-work // self.capacity[resource]) if work else 0

    def schedule(self, ranks: Sequence[float], *, backward: bool = False) -> Schedule:
        """The schedule by these ranks, the lowest first; `backward`: children before their parents."""
        before, behind = (self.children, self.parents) if backward else (self.parents, self.children)
        waiting = [len(found) for found in before]
        ready: _Ready = sorted((ranks[task], task) for task, count in enumerate(waiting) if not count)
        running: _Running = []
        free = list(self.capacity)
        starts = [0] * len(waiting)
        now = 0
        while ready or running:
            ready = self._start(ready, running, free, starts, now)
            now = running[0][0]
            while running and running[0][0] == now:
                task = heappop(running)[1]
                for resource, amount in self.needs[task]:
                    free[resource] += amount
                for other in behind[task]:
                    waiting[other] -= 1
                    if not waiting[other]:
                        insort(ready, (ranks[other], other))
        return Schedule(now, ranks, starts)

    def _start(self, ready: _Ready, running: _Running, free: list[int], starts: list[int], now: int) -> _Ready:
        """Start those of the ready tasks that may start now; who is left."""
        left: _Ready = []
        #: when the first that does not fit will, and what is left beside it then
        kept_at, beside = 0, None
        for place, entry in enumerate(ready):
            if not _fits(self._least, free):
                return left + ready[place:]
            task = entry[1]
            needs = self.needs[task]
            fits = _fits(needs, free)
            if fits and beside is not None and now + self.lengths[task] > kept_at:
                fits = _fits(needs, beside)
                if fits:
                    for resource, amount in needs:
                        beside[resource] -= amount
            if fits:
                starts[task] = now
                heappush(running, (now + self.lengths[task], task))
                for resource, amount in needs:
                    free[resource] -= amount
                continue
            left.append(entry)
            if beside is None:
                kept_at, beside = self._kept(task, running, free)
        return left

    def _kept(self, task: int, running: _Running, free: list[int]) -> tuple[int, list[int]]:
        """When a task that does not fit will, as things stand, and what is free beside it then."""
        room, needs, at = list(free), self.needs[task], 0
        for end, other in sorted(running):
            if end > at and _fits(needs, room):
                break
            at = end
            for resource, amount in self.needs[other]:
                room[resource] += amount
        for resource, amount in needs:
            room[resource] -= amount
        return at, room


def _fits(needs: Sequence[tuple[int, int]], free: Sequence[int]) -> bool:
    for resource, amount in needs:  # noqa: SIM110 - a generator costs three times as much
        if free[resource] < amount:
            return False
    return True


def project_of(tasks: Sequence[Mapping[str, Any]], capacity: Mapping[str, float]) -> Project:
    """Tasks as plug-ins see them, on one node that has all; who asks for more than that asks for all of it."""
    run_times = [task["run_time"] or task["measured_run_time"] for task in tasks]
    known = [found for found in run_times if found]
    mean = sum(known) / len(known) if known else 1.0
    names = {name: number for number, name in enumerate(sorted(capacity))}
    whole = [round(capacity[name] * _PARTS) for name in names]
    number_of = {task["id"]: number for number, task in enumerate(tasks)}
    return Project(
        [max(1, round((found or mean) * _MS)) for found in run_times],
        [
            [
                (names[name], min(whole[names[name]], round(amount * _PARTS)))
                for name, amount in task["resources"].items()
                if name in names
            ]
            for task in tasks
        ],
        [[number_of[parent] for parent in task["after"]] for task in tasks],
        whole,
    )


def search(project: Project) -> Schedule:
    """The shortest schedule found."""
    left = min(SCHEDULES_MAX, PLACED_MAX // len(project.lengths))
    random = Random(_SEED)
    by_tails = [-float(tail) for tail in project.tails]
    best = found = project.schedule(by_tails)
    while left > 0 and best.length > project.bound:
        better = True
        while better:
            moved = project.schedule(_late(project, found.starts))
            left -= 2
            better = moved.length < found.length
            best = min(best, found, moved, key=lambda one: one.length)
            found = moved
        noise = random.choice(_NOISE) * max(project.tails)
        around = best.starts if random.random() < 0.5 else by_tails
        found = project.schedule([rank + noise * (random.random() - 0.5) for rank in around])
        left -= 1
    return min(best, found, key=lambda one: one.length)


def _late(project: Project, starts: Sequence[int]) -> list[float]:
    """Ranks after the tasks were moved as late as they may be, those first that end last."""
    ends = [start + length for start, length in zip(starts, project.lengths, strict=True)]
    late = project.schedule([-end for end in ends], backward=True)
    return [late.length - start - length for start, length in zip(late.starts, project.lengths, strict=True)]
