"""What waits ahead at a node and is asked back: what runs before it turned out long, or somebody claims the room."""

from collections.abc import Set
from itertools import islice

from kos_ray.model import decisions as d
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.apply import apply_decision
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.queues import rank
from kos_ray.scheduler.state import NodeState, State
from kos_ray.scheduler.turns import Turn


class Recalls:
    """What one pass asks back."""

    def __init__(self, state: State, now_us: int, fresh: Set[JobKey]) -> None:
        """`fresh`: what the pass has started so far."""
        self._state = state
        self._now_us = now_us
        self._fresh = fresh
        self.decisions: list[d.Recall] = []

    def behind_long(self) -> None:
        """Ask back what was queued ahead on lanes whose slots are all held by attempts that turned out long."""
        long_lanes = self._state.todo.long_lanes
        for node_id, kind in long_lanes:
            node = self._state.nodes[node_id]
            lane = node.lanes.get(kind)
            if lane and lane.running >= lane.slots:
                waiting = [key for key in lane.held if _recallable(self._state.jobs[key])]
                self._recall(node, waiting, Reason.BEHIND_LONG_ATTEMPT)
        long_lanes.clear()

    def ahead(self, node: NodeState, turn: Turn) -> None:
        """Ask back what waits ahead on a claimed node and stands behind the claimer."""
        jobs, claimer, order = self._state.jobs, turn.job_class, turn.job_class.order
        for lane in node.lanes.values():
            if len(lane.held) <= lane.slots:
                continue
            # most are of the claimer's class or before it: this is looked at in each pass, for all that waits ahead
            waiting = [
                key
                for key in islice(lane.held, lane.slots, None)
                if (own := jobs[key].job_class) is not claimer and own.order >= order and self._stands_behind(key, turn)
            ]
            self._recall(node, waiting, Reason.ROOM_WANTED)

    def _stands_behind(self, key: JobKey, turn: Turn) -> bool:
        job = self._state.jobs[key]
        own, claimer = job.job_class, turn.job_class
        # what was sent in this pass had its turn before the claimer: asked back, it would be sent again for ever
        if key in self._fresh or not _recallable(job):
            return False
        if own.account != claimer.account:
            return (own.order, key) > (claimer.order, turn.head)
        return (own.order, *self._place(job)) > (claimer.order, *self._place(self._state.jobs[turn.head]))

    def _place(self, job: Job) -> tuple[int, JobKey]:
        return (rank(self._state, job) if job.job_class.ranked else 0, job.key)

    def _recall(self, node: NodeState, keys: list[JobKey], reason: Reason) -> None:
        if not keys:
            return
        attempts = tuple(self._state.jobs[key].attempt for key in keys)
        decision = d.Recall(node=node.node.id, keys=tuple(keys), attempts=attempts, reason=reason)
        apply_decision(self._state, decision, self._now_us)
        self.decisions.append(decision)


def _recallable(job: Job) -> bool:
    return job.state is JobState.LAUNCHED and not job.recall_asked
