"""Why a node that is large enough does not take a job, in words."""

from kos_ray.model.reasons import Reason
from kos_ray.model.where import Neighbours, Selector
from kos_ray.scheduler.sites import Sites, matches, named
from kos_ray.scheduler.state import JobClass, NodeState, State


def refusal(state: State, job_class: JobClass, node: NodeState, now_us: int) -> str:
    """A clause for people; "" where nothing but room decides."""
    if not matches(node, job_class.where):
        return _unmatched(job_class, node)
    reason = Sites(state, now_us).refusal(node, job_class)
    if reason is Reason.CORDONED:
        mark = node.mark
        assert mark is not None
        word = "draining" if mark.draining else "cordoned"
        by = f" by {mark.by}" if mark.by else ""
        return f"{word}{by}{': ' if mark.note else ''}{mark.note}"
    if reason is Reason.APART:
        rules = [rule for rule in job_class.where.jobs if rule.apart and not rule.weight]
        return f"to be apart from {_told(rules)}" if rules else "a job there is to be apart from it"
    if reason is Reason.NEAR:
        return f"to be near {_told([rule for rule in job_class.where.jobs if not rule.apart and not rule.weight])}"
    return "" if reason is Reason.NONE else reason.name.lower().replace("_", " ")


def _unmatched(job_class: JobClass, node: NodeState) -> str:
    where = job_class.where
    if where.nodes and not named(node, where.nodes):
        return f"not one of {', '.join(where.nodes)}"
    if where.not_nodes and named(node, where.not_nodes):
        return "it is not to run there"
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
