"""Many seeds: their sum, and whether enough happened in them to mean something."""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

from kos_ray.sim.faults import FAILPOINTS, KINDS
from kos_ray.sim.run import Result, run_seed
from kos_ray.sim.timetable import FIRES

#: what must come of agents in a large batch
OF_AGENTS = (
    *("messages handled", "messages handled again", "messages answered from a save", "declined", "went back"),
    *("lives that go on from a save", "saves of old lives refused", "node pressed", "moved", "moved away, to wait"),
    *("let back", "taken over", "crashed", "failed", "suspended", "sleeping"),
)
#: seeds that a worker process takes at a time
_PORTION = 25
#: in a batch so large, every failpoint and every kind of fault must have been met
_COMPLETE_SEEDS = 100
#: and in one so large, all that may come of agents
_AGENTS_SEEDS = 1_000


@dataclass(slots=True)
class Batch:
    """The sum of results; of those that failed, the results themselves."""

    seeds: int = 0
    jobs: int = 0
    frames: int = 0
    steps: int = 0
    landed: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    fires: Counter[str] = field(default_factory=Counter)
    agents: Counter[str] = field(default_factory=Counter)
    failed: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count one seed in."""
        self.seeds += 1
        self.jobs += result.jobs
        self.frames += result.frames
        self.steps += result.steps
        self.landed += result.landed
        self.reached += result.reached
        self.outcomes += result.outcomes
        self.fires += result.fires
        self.agents += result.agents
        if result.violation:
            self.failed.append(result)

    def vacuous(self) -> list[str]:
        """Why the batch proves nothing though no promise was broken; empty when it does."""
        found: list[str] = []
        if self.jobs < 3 * self.seeds:
            found.append(f"only {self.jobs} jobs finished in {self.seeds} seeds")
        if self.landed.total() < self.seeds:
            found.append(f"only {self.landed.total()} faults took effect in {self.seeds} seeds")
        if self.seeds >= _COMPLETE_SEEDS:
            found += [f"the failpoint {name} was never reached" for name in FAILPOINTS if not self.reached[name]]
            found += [f"no fire of a schedule was {name}" for name in FIRES if not self.fires[name]]
            found += [f"no fault of the kind {kind!r} took effect" for kind in KINDS if not self.landed[kind]]
        if self.seeds >= _AGENTS_SEEDS:
            found += [f"nothing of this came of agents: {what}" for what in OF_AGENTS if not self.agents[what]]
        return found


def run_portion(seeds: range) -> list[Result]:
    """The results of some seeds."""
    return [run_seed(seed) for seed in seeds]


def results(seeds: range, processes: int) -> Iterator[list[Result]]:
    """The results of all seeds in portions, in any number of processes, in the order of the seeds."""
    portions = [seeds[start : start + _PORTION] for start in range(0, len(seeds), _PORTION)]
    if processes <= 1 or len(portions) == 1:
        yield from map(run_portion, portions)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run_portion, portions)


def run_batch(seeds: Iterable[int]) -> Batch:
    """Some seeds in this process."""
    batch = Batch()
    for seed in seeds:
        batch.add(run_seed(seed))
    return batch
