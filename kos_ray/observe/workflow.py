"""The report of a workflow: what each job did, and how near the whole came to the fastest possible."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kos_ray.model.ids import split_item_id
from kos_ray.model.views import JobView, NodeView
from kos_ray.observe.critical import critical_path
from kos_ray.observe.tables import Table, final, format_duration, label, run_us, short_node, wait_us


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLine:
    """One job of the report; `wait_us` and `run_us` are microseconds."""

    id: str
    name: str
    type: str
    state: str
    node: str
    attempt: int
    wait_us: int
    run_us: int
    #: on the critical path
    critical: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeUse:
    """What the workflow used of one node: CPU microseconds that its jobs held, and that there were in the makespan."""

    node: str
    jobs: int
    held_us: int
    available_us: int

    @property
    def share(self) -> float:
        """From 0 to 1; 0 where the node's size is not known."""
        return self.held_us / self.available_us if self.available_us else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowReport:
    """The whole; times are microseconds."""

    jobs: tuple[JobLine, ...]
    states: dict[str, int]
    makespan_us: int  #: from the first submission to the last end
    critical_us: int  #: run time along the longest chain: no cluster could be faster
    critical: tuple[str, ...]  #: names of its jobs, first to last
    run_us: int  #: of all jobs
    nodes: tuple[NodeUse, ...]

    @property
    def succeeded(self) -> bool:
        """Whether every job did."""
        return set(self.states) <= {"succeeded"}

    @property
    def parallelism(self) -> float:
        """How many jobs ran at once, on average."""
        return self.run_us / self.makespan_us if self.makespan_us else 0.0


def workflow_report(views: Sequence[JobView], now_us: int, nodes: Sequence[NodeView] = ()) -> WorkflowReport:
    """The report of jobs that belong together, in the order in which they ran; `nodes` give the utilisation."""
    length, path = critical_path({view.id: run_us(view, now_us) for view in views}, _parents(views))
    on_path = set(path)
    lines = tuple(
        JobLine(
            id=view.id,
            name=label(view),
            type=view.type,
            state=view.state,
            node=view.node,
            attempt=view.attempt,
            wait_us=wait_us(view, now_us),
            run_us=run_us(view, now_us),
            critical=view.id in on_path,
        )
        for view in sorted(views, key=lambda view: (not view.entered_us, view.entered_us, view.key))
    )
    states: dict[str, int] = {}
    for view in views:
        states[view.state] = states.get(view.state, 0) + 1
    start = min((view.submitted_us for view in views), default=0)
    end = max(((view.ended_us if final(view) else now_us) for view in views), default=0)
    names = {view.id: label(view) for view in views}
    return WorkflowReport(
        jobs=lines,
        states=states,
        makespan_us=max(end - start, 0),
        critical_us=round(length),
        critical=tuple(names[job] for job in path),
        run_us=sum(line.run_us for line in lines),
        nodes=_use(views, now_us, max(end - start, 0), {node.id: node for node in nodes}),
    )


def report_table(report: WorkflowReport) -> Table:
    """One row a job; `*` marks the critical path."""
    return Table(
        columns=("", "job", "state", "node", "wait", "run"),
        rows=tuple(
            (
                "*" if line.critical else "",
                line.name,
                line.state if line.attempt <= 1 else f"{line.state} (attempt {line.attempt})",
                short_node(line.node),
                format_duration(line.wait_us),
                format_duration(line.run_us),
            )
            for line in report.jobs
        ),
        numbers=frozenset({"wait", "run"}),
    )


def report_panel(report: WorkflowReport) -> list[tuple[str, str]]:
    """The figures of the whole, labelled."""
    over = report.makespan_us / report.critical_us if report.critical_us else 0.0
    times = f", {over:.2f} times the critical path" if over else ""
    return [
        ("jobs", ", ".join(f"{count} {state}" for state, count in sorted(report.states.items())) or "none"),
        ("makespan", f"{format_duration(report.makespan_us)}{times}"),
        ("critical path", f"{format_duration(report.critical_us)} over {len(report.critical)} jobs"),
        ("", " → ".join(report.critical)),
        ("work", f"{format_duration(report.run_us)} in all, {report.parallelism:.2f} jobs at once on average"),
        *(
            (
                "node",
                f"{short_node(use.node)}: {use.jobs} jobs"
                + (f", {use.share:.0%} of its CPUs held over the makespan" if use.available_us else ""),
            )
            for use in report.nodes
        ),
    ]


def _parents(views: Sequence[JobView]) -> dict[str, list[str]]:
    """Each job's parents among the views, by id; a parent that is an array means all of its items."""
    known: dict[str, list[str]] = {}
    for view in views:
        array, index = split_item_id(view.id)
        for alias in {view.id, view.name, *((array,) if index is not None else ())} - {""}:
            known.setdefault(alias, []).append(view.id)
    return {view.id: [job for parent, _ in view.after for job in known.get(parent, ())] for view in views}


def _use(views: Sequence[JobView], now_us: int, makespan_us: int, nodes: Mapping[str, NodeView]) -> tuple[NodeUse, ...]:
    held: dict[str, list[int]] = {}
    for view in views:
        if view.node and view.entered_us:
            cpus = dict(view.resources).get("CPU", 0)
            held.setdefault(view.node, []).append(run_us(view, now_us) * cpus // 10_000)
    return tuple(
        NodeUse(
            node=node,
            jobs=len(times),
            held_us=sum(times),
            available_us=dict(nodes[node].resources).get("CPU", 0) * makespan_us // 10_000 if node in nodes else 0,
        )
        for node, times in sorted(held.items())
    )
