"""What one agent has to do, read off the state when somebody asks: what it handles, and what waits for it, by band."""

from collections import Counter
from typing import Any

from kos_ray.model.errors import NotFound
from kos_ray.model.ids import JobKey
from kos_ray.model.job import BANDS, JobState
from kos_ray.scheduler.agents import Standing, mail, phase
from kos_ray.scheduler.state import State


def handling(state: State, standing: Standing) -> tuple[JobKey, ...]:
    """The messages that were sent to its process, in the order in which they were."""
    job, agent = state.jobs.get(standing.job), standing.agent
    node = state.nodes.get(job.node) if job is not None and job.node is not None else None
    if node is None:
        return ()
    lanes = [
        lane for kind, lane in node.lanes.items() if (kind.receiver, kind.namespace) == (agent.name, agent.namespace)
    ]
    return tuple(key for lane in lanes for key in lane.held)


def plain_queue(state: State, key: str, most: int) -> dict[str, Any]:
    """Its queue as plain data: `handling`, and the first `most` that are `waiting`, in the order of their bands.

    Raises:
        NotFound: there is no such agent.

    """
    standing = state.agents.by_key.get(key)
    if standing is None:
        raise NotFound(f"there is no agent {key.rpartition(chr(0))[2]!r}; see `kos agent ls`")
    sent, waiting = handling(state, standing), _waiting(state, standing)
    counts = Counter(BANDS[band] for band, _ in waiting)
    total = mail(state)[key]
    return {
        "name": standing.agent.name,
        "namespace": standing.agent.namespace,
        "phase": phase(state, standing).name.lower(),
        "messages": total,
        "handling": list(sent),
        "waiting": [waited for _, waited in waiting[:most]],
        "bands": {name: counts[name] for name in BANDS if counts[name]},
        #: those that wait for a dependency, a pause between tries or somebody's word
        "later": max(0, total - len(sent) - len(waiting)),
    }


def _waiting(state: State, standing: Standing) -> list[tuple[int, JobKey]]:
    """Those that are ready, by band and key."""
    agent = standing.agent
    found: set[tuple[int, JobKey]] = set()
    for one in state.classes.values():
        if (one.agent, one.kind.namespace) != (agent.name, agent.namespace):
            continue
        for entry in one.ready:
            key = entry[1] if isinstance(entry, tuple) else entry
            job = state.jobs.get(key)
            # the heap also has those that have left it
            if job is not None and job.state is JobState.READY and job.job_class is one:
                found.add((one.band, key))
    return sorted(found)
