"""Room that others have made for a job, and that is of no use to it any more.

While they made it a neighbour may have left, a window ended, a label changed. A claim on it would keep everybody else
away, for nobody knows how long: it is given up, and the job waits among the others again.
"""

from collections.abc import Callable

from kos_ray.model import decisions as d
from kos_ray.scheduler.fit import wanted_kind
from kos_ray.scheduler.jobs import Gang
from kos_ray.scheduler.sites import Sites
from kos_ray.scheduler.state import State


def of_no_use(state: State, sites: Sites, may_start_there: Callable[[Gang], bool]) -> list[d.Decision]:
    """Give up the room of those that may not start there now; `may_start_there` tells it of gangs."""
    lost = []
    for key, node_id in state.nominated.items():
        job = state.jobs[key]
        if key in state.making:
            continue
        if job.job_class.name.gang:
            may = may_start_there(state.gang_of[key])
        else:
            kind = wanted_kind(state, job.job_class)
            may = sites.times(state.nodes[node_id], job.job_class, kind, key) > 0
        if not may:
            lost.append(key)
    return [d.KeepNoRoom(keys=tuple(lost))] if lost else []
