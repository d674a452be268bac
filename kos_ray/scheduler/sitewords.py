"""Why a node that is large enough does not take a job, in words."""

from collections.abc import Callable, Iterable

from kos_ray.model.job import SlotKind
from kos_ray.model.reasons import Reason
from kos_ray.model.where import Neighbours, Selector
from kos_ray.scheduler.agents import told
from kos_ray.scheduler.jobs import Job, JobClass
from kos_ray.scheduler.sites import Sites, gpu_share, matches, named
from kos_ray.scheduler.state import NodeState, State

_GIB = 2**30


def refusal(state: State, job: Job, node: NodeState, kind: SlotKind, now_us: int) -> str:
    """A clause for people; "" where nothing but room decides."""
    job_class = job.job_class
    moved = state.pressure.moved.get(job.key)
    if moved is not None and moved.node == node.node.id and moved.node in job_class.where.not_nodes:
        return f"it was moved away from there, for want of {_listed(moved.used)}; it may come back when that is calm"
    if not matches(node, job_class.where, kind):
        return _unmatched(job_class, node)
    reason = Sites(state, now_us).refusal(node, job_class, job.key)
    if reason is Reason.AGENT_AWAY:
        return told(state, kind)
    return _WORDS[reason](node, job_class) if reason in _WORDS else ""


def _closed(node: NodeState, _job_class: JobClass) -> str:
    mark = node.mark
    assert mark is not None
    by = f" by {mark.by}" if mark.by else ""
    return f"{'draining' if mark.draining else 'cordoned'}{by}{': ' if mark.note else ''}{mark.note}"


def _silent(_node: NodeState, _job_class: JobClass) -> str:
    return "its agent does not answer"


def _retires(_node: NodeState, _job_class: JobClass) -> str:
    return "its agent is being replaced by one of another version"


def _pressed(node: NodeState, _job_class: JobClass) -> str:
    return f"pressed: {_listed(dict(node.pressed))} short"


def _listed(kinds: Iterable[str]) -> str:
    return ", ".join(kinds).replace("_", " ")


def _apart(_node: NodeState, job_class: JobClass) -> str:
    rules = [rule for rule in job_class.where.jobs if rule.apart and not rule.weight]
    return f"to be apart from {_told(rules)}" if rules else "a job there is to be apart from it"


def _near(_node: NodeState, job_class: JobClass) -> str:
    return f"to be near {_told([rule for rule in job_class.where.jobs if not rule.apart and not rule.weight])}"


def _battery(node: NodeState, job_class: JobClass) -> str:
    return f"{node.battery} % in its battery, more than {job_class.where.battery} % wanted"


def _gpu_memory(node: NodeState, job_class: JobClass) -> str:
    free, wanted = max(node.gpu_free) / _GIB, job_class.where.gpu_memory / _GIB
    return f"{free:g} GiB free on its GPUs, {wanted:g} GiB wanted"


def _window(_node: NodeState, _job_class: JobClass) -> str:
    return "no window is open that is as long as it"


_WORDS: dict[Reason, Callable[[NodeState, JobClass], str]] = {
    Reason.CORDONED: _closed,
    Reason.NODE_PRESSED: _pressed,
    Reason.NODE_SILENT: _silent,
    Reason.NODE_RETIRES: _retires,
    Reason.WINDOW: _window,
    Reason.APART: _apart,
    Reason.NEAR: _near,
    Reason.BATTERY: _battery,
    Reason.GPU_MEMORY: _gpu_memory,
}


def _unmatched(job_class: JobClass, node: NodeState) -> str:
    where = job_class.where
    if where.nodes and not named(node, where.nodes):
        return f"not one of {', '.join(where.nodes)}"
    if where.not_nodes and named(node, where.not_nodes):
        return "it is not to run there"
    if where.gpu_memory and not gpu_share(node, where):
        return f"no GPU of {where.gpu_memory / _GIB:g} GiB there"
    wrong = [one for one in where.labels if not one.weight and not one.met(node.labels.get(one.label))]
    return ", ".join(f"{_selector(one)} wanted, {_label(node, one.label)}" for one in wrong)


def _label(node: NodeState, name: str) -> str:
    return f"{name}={node.labels[name]} there" if name in node.labels else f"no {name} there"


def _selector(one: Selector) -> str:
    if not one.values:
        return f"no {one.label}" if one.negated else f"a {one.label}"
    return f"{one.label}{'!=' if one.negated else '='}{'|'.join(one.values)}"


def _told(rules: list[Neighbours]) -> str:
    return ", ".join(" or ".join(rule.words) + (f" (by {rule.by})" if rule.by else "") for rule in rules)
