"""Plug-ins are asked here, and judged: an answer becomes an event, and so does a lie, a silence or a crash.

A question has up to `TASKS_MAX` of the jobs that wait; a plug-in has one at a time. One for graphs is asked of those
that wait for them as well, so that it sees a graph whole, and has more time. An answer is journaled before it
counts. A plug-in that names jobs that it was not asked about, that does not answer in time, or whose process dies is
disabled: its namespaces go on by priority, until somebody sets it again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kos_ray.engine.ports import Plugins
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.ids import MS_US, JobKey
from kos_ray.model.job import JobState
from kos_ray.model.plugins import Advice, Question
from kos_ray.model.resources import UNIT
from kos_ray.scheduler.advice import UNRANKED
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.state import State

#: jobs in one question
TASKS_MAX = 500
#: and of one for graphs
GRAPH_TASKS_MAX = 2_500
#: how long that may think at least, microseconds
GRAPH_US = 10_000_000
#: how long a plug-in's process may take to start and to load it, microseconds
START_US = 10_000_000
_SECOND_US = 1_000_000


@dataclass(slots=True)
class _Open:
    """A question that is not answered yet."""

    number: int
    keys: tuple[JobKey, ...]
    due_us: int


class Advisor:
    """Asks plug-ins after each frame. What it says becomes events of the next round."""

    def __init__(self, plugins: Plugins | None, public_ids: Callable[[Iterable[JobKey]], Mapping[JobKey, str]]) -> None:
        self._plugins = plugins
        self._public_ids = public_ids
        self._number = 0
        self._open: dict[str, _Open] = {}
        #: whether each plug-in that was asked is one for graphs
        self._graphs: dict[str, bool] = {}
        #: plug-ins whose process is up
        self._up: set[str] = set()
        #: of jobs that a plug-in was told of: who, and what it knows them by
        self._told: dict[JobKey, tuple[str, str]] = {}

    # --- before a step

    def judge(self, advice: Advice, state: State, now_us: int) -> list[e.Event]:
        """What an answer comes to."""
        plugin, open_ = advice.plugin, self._open.get(advice.plugin)
        if advice.failed:
            return self._disable(plugin, advice.failed, state)
        if advice.number == 0:
            self._up.add(plugin)
            if open_ is not None:
                open_.due_us = now_us + self._limit_us(plugin, state)
            return []
        if open_ is None or open_.number != advice.number:
            return []  # asked before the journal had trouble, or by nobody
        if len(advice.keys) != len(advice.ranks):
            return self._disable(plugin, f"it gave {len(advice.ranks)} ranks for {len(advice.keys)} jobs", state)
        strange = set(advice.keys) - set(open_.keys)
        if strange:
            return self._disable(plugin, f"it ranked {len(strange)} jobs that it was not asked about", state)
        ranks: dict[JobKey, int] = {}
        for key, rank in zip(advice.keys, advice.ranks, strict=True):
            ranks.setdefault(key, rank)  # what is said twice counts once
        answers = tuple(ranks.get(key, UNRANKED) for key in open_.keys)
        return [e.RanksAdvised(plugin=plugin, keys=open_.keys, ranks=answers)]

    def late(self, state: State, now_us: int, known: Sequence[e.Event]) -> list[e.Event]:
        """Which plug-ins have not answered in time. `known`: the round's events; some of them may be answers."""
        heard = {event.plugin for event in known if isinstance(event, e.RanksAdvised | e.PluginDisabled)}
        found: list[e.Event] = []
        for plugin, open_ in self._open.items():
            if open_.due_us <= now_us and plugin not in heard:
                found += self._disable(plugin, self._silence(plugin, state), state)
        return found

    def _silence(self, plugin: str, state: State) -> str:
        if self._plugins is None:
            return "plug-ins do not run here"
        if plugin not in self._up:
            return f"its process was not up within {START_US // MS_US} ms"
        return f"it did not answer within {self._limit_us(plugin, state) // MS_US} ms (plugin_deadline)"

    def _limit_us(self, plugin: str, state: State) -> int:
        """How long a plug-in that is up may take to answer."""
        return max(state.policy.plugin_deadline_us, GRAPH_US if self._orders_graphs(plugin) else 0)

    def _orders_graphs(self, plugin: str) -> bool:
        if plugin not in self._graphs:
            self._graphs[plugin] = self._plugins is not None and self._plugins.orders_graphs(plugin)
        return self._graphs[plugin]

    def _disable(self, plugin: str, why: str, state: State) -> list[e.Event]:
        return [] if plugin in state.plugins_off else [e.PluginDisabled(plugin=plugin, why=why)]

    def next_due_us(self) -> int | None:
        """When the first answer is overdue."""
        return min((open_.due_us for open_ in self._open.values()), default=None)

    # --- after a frame is on disk

    def done(self, events: Iterable[e.Event], decisions: Iterable[d.Decision]) -> None:
        """These are journaled: questions are answered, plug-ins are ended, jobs are over."""
        for event in events:
            if isinstance(event, e.RanksAdvised):
                self._open.pop(event.plugin, None)
            elif isinstance(event, e.PluginDisabled):
                self._forget(event.plugin)
        if self._told:
            self._over(decision for decision in decisions if isinstance(decision, d.Finish))

    def _over(self, finished: Iterable[d.Finish]) -> None:
        """Jobs that a plug-in was told of are over; it hears of those that somebody cancelled."""
        cancelled: dict[str, list[str]] = {}
        for finish in finished:
            for key in finish.keys:
                plugin, id_ = self._told.pop(key, ("", ""))
                if plugin and finish.state == JobState.CANCELLED:
                    cancelled.setdefault(plugin, []).append(id_)
        for plugin, ids in cancelled.items():
            if self._plugins is not None and plugin in self._up:
                self._plugins.cancel(plugin, tuple(ids))

    def _forget(self, plugin: str) -> None:
        self._open.pop(plugin, None)
        self._up.discard(plugin)
        self._told = {key: told for key, told in self._told.items() if told[0] != plugin}
        if self._plugins is not None:
            self._plugins.end(plugin)

    def ask(self, state: State, now_us: int) -> None:
        """Ask each plug-in that has no open question about jobs that wait for its word."""
        for plugin, waiting in state.unadvised.items():
            if waiting and plugin not in self._open:
                if self._orders_graphs(plugin):
                    jobs = _with_those_behind(state, _to_ask(state, plugin, waiting, GRAPH_TASKS_MAX))
                else:
                    jobs = _to_ask(state, plugin, waiting, TASKS_MAX)
                if jobs:
                    self._ask(plugin, jobs, state, now_us)
        for plugin in [plugin for plugin in self._up if plugin not in state.unadvised and plugin not in state.advice]:
            self._forget(plugin)  # no namespace is ordered by it any more

    def _ask(self, plugin: str, jobs: list[Job], state: State, now_us: int) -> None:
        self._number += 1
        keys = tuple(job.key for job in jobs)
        ids = self._public_ids(keys)
        self._told |= {key: (plugin, ids[key]) for key in keys}
        tasks = tuple(_task(job, ids) for job in jobs)
        limit_us = self._limit_us(plugin, state) if plugin in self._up else START_US
        self._open[plugin] = _Open(self._number, keys, now_us + (0 if self._plugins is None else limit_us))
        if self._plugins is not None:
            capacity = {name: amount / UNIT for name, amount in state.capacity.items()}
            cluster = {"now": now_us / _SECOND_US, "capacity": capacity}
            self._plugins.ask(plugin, Question(number=self._number, keys=keys, tasks=tasks, cluster=cluster))

    def start_over(self) -> None:
        """The state was folded anew: an answer that is on its way may not be on disk, so all is asked again."""
        self._open.clear()


def _to_ask(state: State, plugin: str, waiting: Mapping[JobKey, None], at_most: int) -> list[Job]:
    found: list[Job] = []
    for key in waiting:
        job = state.jobs.get(key)
        if job is not None and job.job_class.plugin == plugin:
            found.append(job)
            if len(found) >= at_most:
                break
    return found


def _with_those_behind(state: State, jobs: list[Job]) -> list[Job]:
    """These jobs and those that wait for them, of the same plug-in and not ranked yet, parents first."""
    if not jobs:
        return []
    plugin = jobs[0].job_class.plugin
    ranked = state.advice.get(plugin, {})
    found = {job.key: job for job in jobs}
    left = deque(found)
    while left and len(found) < GRAPH_TASKS_MAX:
        for child, _ in state.dependents.get(left.popleft(), ()):
            job = state.jobs.get(child)
            if job is not None and job.job_class.plugin == plugin and child not in found and child not in ranked:
                found[child] = job
                left.append(child)
    return [found[key] for key in sorted(found)]


def _task(job: Job, ids: Mapping[JobKey, str]) -> dict[str, Any]:
    """A job as its plug-in sees it: plain data; times are seconds, None where nobody said."""
    spec = job.entry.spec
    return {
        "id": ids[job.key],
        "type": spec.type,
        "namespace": spec.namespace,
        "priority": job.job_class.band,
        "tags": list(spec.tags),
        "resources": {name: amount / UNIT for name, amount in spec.resources.amounts},
        "run_time": spec.run_ms / 1_000 if spec.run_ms else None,
        "measured_run_time": job.entry.mean_us / _SECOND_US if job.entry.mean_us else None,
        "deadline": spec.deadline_us / _SECOND_US if spec.deadline_us else None,
        "ready_at": job.since_us / _SECOND_US if job.since_us >= 0 else None,
        "attempt": job.attempt,
        "after": [ids[key] for key in _parents(job) if key in ids],
    }


def _parents(job: Job) -> Iterator[JobKey]:
    """What a job waits for."""
    if job.dependency is not None and job.state is JobState.BLOCKED:
        for first, count, _ in job.dependency.after:
            yield from map(JobKey, range(first, first + count))
