"""What a job needs and no node offers, by name: models, which nodes' labels name; settings and files of agents.

Nobody knows which settings and files a node has before an agent's process has looked there, so these are about the
nodes on which it was tried.
"""

from typing import NamedTuple

from kos_ray.model.dispatch import MODEL
from kos_ray.model.reasons import Reason
from kos_ray.model.where import Selector
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.state import State

#: what an attempt says that it lacks begins so; see `worker/agent_host.py`
_KINDS = {"setting": Reason.NO_SUCH_SETTING, "file": Reason.NO_SUCH_FILE}
#: reasons to wait behind which a start may stand that found something missing
_AFTER_A_START = (Reason.RETRY_LATER, Reason.CRASH_LOOP)


class Unmet(NamedTuple):
    """A need that no node meets: the reason, and a clause that names it and how many nodes were looked at."""

    reason: Reason
    text: str


def unmet(state: State, job: Job, reason: Reason) -> Unmet | None:
    """What a job needs in vain that waits for a reason; None where it is not that."""
    if reason is Reason.NO_NODE_MATCHES:
        return _models(state, job)
    return _found_missing(state, job) if reason in _AFTER_A_START else None


def _models(state: State, job: Job) -> Unmet | None:
    asked = [
        one
        for one in job.job_class.where.labels
        if one.label.startswith(MODEL) and not one.weight and not one.negated and not one.values
    ]
    nodes = state.nodes.values()
    missing = [one for one in asked if not any(one.met(node.labels.get(one.label)) for node in nodes)]
    looked = _counted(len(nodes), "looked at")
    if missing:
        return Unmet(Reason.NO_SUCH_MODEL, f"no node has {_listed('model', missing)} ({looked})")
    if asked and not any(all(one.met(node.labels.get(one.label)) for one in asked) for node in nodes):
        return Unmet(Reason.NO_SUCH_MODEL, f"no node has {_listed('model', asked)} together ({looked})")
    return None


def _listed(kind: str, selectors: list[Selector]) -> str:
    names = [one.label.removeprefix(MODEL) for one in selectors]
    return f"{kind}{'s' if len(names) > 1 else ''} {' and '.join(names)}"


def _found_missing(state: State, job: Job) -> Unmet | None:
    name = state.agents.of_job.get(job.key)
    lacks = state.agents.by_key[name].lacks if name is not None else {}
    found = {state.nodes[node].node.name: things for node, things in lacks.items() if node in state.nodes}
    if not found:
        return None
    first, *others = found.values()
    everywhere = [thing for thing in first if all(thing in other for other in others)]
    tried = _counted(len(state.nodes), "tried", len(found))
    told = f"no node has {' and '.join(everywhere)}"
    if not everywhere:
        told = "; ".join(f"{node} has no {' and no '.join(things)}" for node, things in found.items())
    kind = (everywhere or first)[0].partition(" ")[0]
    return Unmet(_KINDS.get(kind, Reason.NO_SUCH_SETTING), f"{told} ({tried})")


def _counted(count: int, what: str, of: int | None = None) -> str:
    nodes = f"{count} node{'s' if count != 1 else ''} {what}"
    return nodes if of in (None, count) else f"{of} of {nodes}"
