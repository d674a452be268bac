"""Room that others have made for a job, and that is of no use to it any more.

While they made it a neighbour may have left, a window ended, a label changed; or a job that is more urgent took it. A
claim on it would keep everybody else away, for nobody knows how long: it is given up, and the job waits among the
others again.
"""

from collections.abc import Callable, Mapping

from kos_ray.model import decisions as d
from kos_ray.model.ids import NodeId
from kos_ray.model.resources import Resources
from kos_ray.scheduler.fit import wanted_kind
from kos_ray.scheduler.jobs import Gang
from kos_ray.scheduler.sites import Sites
from kos_ray.scheduler.state import State


def of_no_use(state: State, sites: Sites, may_start_there: Callable[[Gang], bool]) -> list[d.Decision]:
    """Give up the room that is gone, or where a job may not start now; `may_start_there` tells that of gangs."""
    lost = []
    for key, node_id in state.nominated.items():
        job = state.jobs[key]
        if key in state.making:
            continue
        if job.job_class.name.gang:
            gang = state.gang_of[key]
            may = _has(state, gang.room) and may_start_there(gang)
        else:
            kind = wanted_kind(state, job.job_class)
            may = _has(state, {node_id: kind.resources})
            may = may and sites.times(state.nodes[node_id], job.job_class, kind, key) > 0
        if not may:
            lost.append(key)
    return [d.KeepNoRoom(keys=tuple(lost))] if lost else []


def _has(state: State, room: Mapping[NodeId, Resources]) -> bool:
    """Whether the nodes could give so much now."""
    return all(resources.fits(state.rooms.room(state.nodes[node_id])) for node_id, resources in room.items())
