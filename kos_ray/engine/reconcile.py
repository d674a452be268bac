"""What the scheduler believes of a node against what its agent holds: the difference, as events and orders."""

from collections.abc import Iterable

from kos_ray.engine.ports import Journal
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.ids import MS_US, JobKey, NodeId
from kos_ray.model.job import AttemptEnd, JobState
from kos_ray.model.node import Node
from kos_ray.model.protocol import Acked, Holding, Orders, Renew, Renewed, Report
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.state import State


def node_events(state: State, node: Node) -> list[e.Event]:
    """What a greeted node means: new, changed, or an agent that has been born again and lost what it had."""
    known = state.nodes.get(node.id)
    events: list[e.Event] = []
    if known is not None and known.silent:
        events.append(
            e.NodeCondition(node=node.id, battery=known.battery, gpu_free=known.gpu_free, retires=known.retires)
        )
    if known is not None and known.node == node:
        return events
    if known is not None and known.node.incarnation != node.incarnation:
        events.append(e.NodeLost(node=node.id, cause="its node agent was started anew"))
    return [*events, e.NodesJoined(nodes=(node,))]


def renewed(state: State, renew: Renew) -> Renewed:
    """The lease of a node's exclusive work, in full where the node and its agent are those that the ledger has."""
    known = state.nodes.get(renew.node)
    counts = known is not None and known.node.incarnation == renew.incarnation
    return Renewed(epoch=state.epoch, lease_ms=state.policy.lease_us // MS_US if counts else 0)


def undelivered(state: State, holding: Holding) -> list[e.Event]:
    """Attempts that the ledger has on the node and its agent has never got: they go back, at no charge.

    Sound because the agent keeps everything until it is acknowledged, and because it refuses orders of the session
    before its last greeting. Reports in `holding` must be posted before.
    """
    node = state.nodes.get(holding.node)
    if node is None:
        return []
    has = set(zip(holding.queued, holding.queued_attempts, strict=True))
    has |= set(zip(holding.entered, holding.entered_attempts, strict=True))
    for report in holding.reports:
        for ended in report.ended:
            has |= set(zip(ended.keys, ended.attempts, strict=True))
    missing = [
        (key, attempt)
        for lane in node.lanes.values()
        for key, attempt in lane.held.items()
        if (key, attempt) not in has
    ]
    if not missing:
        return []
    keys, attempts = zip(*missing, strict=True)
    count = len(missing)
    return [
        e.AttemptsEnded(
            node=holding.node,
            keys=keys,
            attempts=attempts,
            ends=(int(AttemptEnd.UNDELIVERED),) * count,
            entered_us=(0,) * count,
            ended_us=(0,) * count,
            pids=(0,) * count,
            results=(b"",) * count,
        )
    ]


def still_to_do(state: State, holding: Holding) -> Orders:
    """What the agent must be told of the attempts that it holds, before anything new.

    Attempts that the scheduler has given up are fenced, and end now. Stops and recalls that the agent has not
    carried out may have been lost with the link: they are said again.
    """
    stops: list[tuple[JobKey, int]] = []
    carriers: list[Job] = []
    recalls: list[tuple[JobKey, int]] = []
    held = list(zip(holding.queued, holding.queued_attempts, strict=True))
    held += zip(holding.entered, holding.entered_attempts, strict=True)
    for key, attempt in held:
        job = state.jobs.get(key)
        expected = job is not None and job.node == holding.node and job.attempt == attempt
        if job is not None and expected and job.state is JobState.STOPPING and key in state.agents.of_job:
            carriers.append(job)
        elif job is None or not expected or job.state is JobState.STOPPING:
            stops.append((key, attempt))
        elif job.recall_asked:
            recalls.append((key, attempt))
    node, grace_ms = holding.node, state.policy.stop_grace_ms
    return Orders(
        cluster_id="",
        epoch=0,
        recalls=tuple(
            d.Recall(node=node, keys=keys, attempts=attempts, reason=Reason.NONE)
            for keys, attempts in _columns(recalls)
        ),
        stops=(
            *(
                d.Stop(node=node, keys=keys, attempts=attempts, grace_ms=grace_ms, reason=Reason.NONE)
                for keys, attempts in _columns(stops)
            ),
            *(_stop_again(job, node) for job in carriers),
        ),
    )


def _stop_again(job: Job, node: NodeId) -> d.Stop:
    """An agent has the time that it was given, and hears again whether it is over for good."""
    return d.Stop(
        node=node,
        keys=(job.key,),
        attempts=(job.attempt,),
        grace_ms=job.entry.spec.grace_ms,
        reason=job.stopped_by,
    )


def counted_ends(state: State, events: Iterable[e.Event]) -> dict[JobKey, bytes]:
    """The results of those reported ends that count, by job; to be called before the events are applied.

    The others are fenced, as in `scheduler.apply`: of an attempt that another has replaced, or a second time.
    """
    found: dict[JobKey, bytes] = {}
    lost: set[NodeId] = set()
    for event in events:
        if isinstance(event, e.NodeLost):
            lost.add(event.node)
        elif isinstance(event, e.AttemptsEnded) and event.node not in lost:
            for key, attempt, result in zip(event.keys, event.attempts, event.results, strict=True):
                job = state.jobs.get(key)
                if job is not None and job.attempt == attempt and job.node == event.node and key not in found:
                    found[key] = result
    return found


def _columns(items: list[tuple[JobKey, int]]) -> list[tuple[tuple[JobKey, ...], tuple[int, ...]]]:
    """The items as one pair of columns, none where there are none."""
    if not items:
        return []
    keys, attempts = zip(*items, strict=True)
    return [(keys, attempts)]


def acked(journal: Journal, epoch: int, report: Report) -> Acked:
    """The acknowledgement of a report that is on disk: the rows say which of its checkpoints counted."""
    said = [
        item for event in report.checkpoints for item in zip(event.keys, event.attempts, event.numbers, strict=True)
    ]
    newest = journal.checkpoint_numbers([key for key, _, _ in said]) if said else {}
    stored = [
        (key, attempt, number)
        for key, attempt, number in said
        if key in newest and newest[key][0] == attempt and newest[key][1] >= number
    ]
    return Acked(incarnation=report.incarnation, number=report.number, epoch=epoch, stored=tuple(stored))
