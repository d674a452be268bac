"""What happened in a rehearsal, gathered as it goes: instants by job, and what was in use over time."""

from collections import Counter
from collections.abc import Sequence

from kos_ray.model.ids import NodeId
from kos_ray.model.node import Node
from kos_ray.model.resources import Resources, add, total
from kos_ray.rehearsal.nodes import Attempt
from kos_ray.rehearsal.workload import SECOND_US, VirtualJob

#: instants at which fragmentation is looked at; when there are twice as many, every second one is dropped
_SAMPLES = 128
#: the most frequent shapes that together make this share of the jobs are typical, as for FGD
_TYPICAL = 0.95


class Times:
    """One job's instants, -1 where they did not come: its first start (gangs start whole), its last member's end."""

    __slots__ = ("end_us", "left", "ready_us", "start_us", "succeeded")

    def __init__(self, members: int) -> None:
        self.ready_us = self.start_us = self.end_us = -1
        self.left = members
        self.succeeded = True


class Record:
    """The memory of one rehearsal; amounts are those of `model.resources`, times microseconds."""

    def __init__(self, nodes: Sequence[Node], jobs: Sequence[VirtualJob], start_us: int) -> None:
        #: the instant at which the workload's time is 0
        self.start_us = start_us
        self.nodes = tuple(nodes)
        self.jobs = tuple(jobs)
        self.times = [Times(job.members) for job in jobs]
        self.capacity = total(node.resources for node in nodes)
        #: what fragmentation and the plot are about
        self.main = "GPU" if "GPU" in self.capacity else "CPU" if "CPU" in self.capacity else min(self.capacity)
        self.preemptions = 0
        self.passes = 0
        self.attempts = 0
        #: amount-microseconds that were used, by resource and by namespace, and that were lost to evictions
        self.used_by: dict[str, dict[str, int]] = {}
        self.lost: dict[str, int] = {}
        #: `(instant, amount of the main resource in use from then on)`
        self.timeline: list[tuple[int, int]] = []
        self.now_us = start_us
        self._using = 0
        self._free: dict[NodeId, dict[str, int]] = {node.id: dict(node.resources.amounts) for node in nodes}
        self._shapes = _typical(jobs, self.main)
        self._sample_us = SECOND_US
        self._samples: list[tuple[int, float]] = []

    @property
    def fragmentation(self) -> float | None:
        """The mean over time of the share of what is free that a typical job cannot use; None: never any was free."""
        return sum(found for _, found in self._samples) / len(self._samples) if self._samples else None

    def reach(self, now_us: int) -> None:
        """Time has come so far; what has been in use was so until now."""
        if now_us > self.now_us:
            if not self.timeline or self.timeline[-1][1] != self._using:
                self.timeline.append((self.now_us, self._using))
            self._sample(now_us)
            self.now_us = now_us

    def started(self, number: int, attempt: Attempt) -> None:
        """An attempt of a job was entered."""
        self.attempts += 1
        self._use(number, attempt.node, 1)
        times = self.times[number]
        if times.start_us < 0:
            times.start_us = attempt.entered_us

    def ended(self, number: int, attempt: Attempt, *, lost: bool) -> None:
        """An entered attempt ended; where it is `lost`, what it did has to be done again."""
        self._use(number, attempt.node, -1)
        job = self.jobs[number]
        ran_us = attempt.end_us - attempt.entered_us
        add(self.used_by.setdefault(job.spec.namespace, {}), job.spec.resources, ran_us)
        if lost:
            add(self.lost, job.spec.resources, ran_us)

    def finished(self, number: int, now_us: int, *, succeeded: bool) -> None:
        """One member of a job is over."""
        times = self.times[number]
        times.left -= 1
        times.succeeded = times.succeeded and succeeded
        if not times.left:
            times.end_us = now_us

    def close(self) -> None:
        """Nothing happens any more."""
        if not self.timeline or self.timeline[-1][1] != self._using:
            self.timeline.append((self.now_us, self._using))

    # --- inside

    def _use(self, number: int, node: NodeId, sign: int) -> None:
        resources = self.jobs[number].spec.resources
        add(self._free[node], resources, -sign)
        self._using += sign * dict(resources.amounts).get(self.main, 0)

    def _sample(self, now_us: int) -> None:
        """Look at what is free, where an instant of the grid has been passed since the last look."""
        due_us = (self.now_us // self._sample_us + 1) * self._sample_us
        if now_us < due_us or not self._shapes:
            return
        found = self._unusable()
        if found is not None:
            self._samples.append((due_us, found))
        if len(self._samples) >= 2 * _SAMPLES:
            self._sample_us *= 2
            self._samples = [one for one in self._samples if not one[0] % self._sample_us]

    def _unusable(self) -> float | None:
        """Fragmentation (Weng et al., USENIX ATC 2023): what is free, weighted by the shapes that do not fit there."""
        free_in_all = 0
        unusable = 0.0
        alike = Counter(tuple(sorted(free.items())) for free in self._free.values() if free.get(self.main, 0))
        for amounts, count in sorted(alike.items()):
            free = dict(amounts)
            free_in_all += count * free[self.main]
            misfits = sum(share for shape, share in self._shapes if not shape.fits(free))
            unusable += misfits * count * free[self.main]
        return unusable / free_in_all if free_in_all else None


def _typical(jobs: Sequence[VirtualJob], main: str) -> list[tuple[Resources, float]]:
    """The typical shapes that ask for a resource, with their shares, the most frequent first."""
    shapes = Counter(job.spec.resources for job in jobs if main in dict(job.spec.resources.amounts))
    found: list[tuple[Resources, int]] = []
    for shape, count in sorted(shapes.items(), key=lambda entry: (-entry[1], entry[0])):
        if sum(one for _, one in found) >= _TYPICAL * shapes.total():
            break
        found.append((shape, count))
    together = sum(count for _, count in found)
    return [(shape, count / together) for shape, count in found]
