"""Tables, reports and the critical path, from views."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.model.ids import JobKey
from kos_ray.model.views import AttemptView, ClusterStatus, JobView, NodeView, SchedulingView
from kos_ray.observe.critical import critical_path
from kos_ray.observe.tables import (
    attempt_table,
    first_line,
    format_bytes,
    format_duration,
    format_instant,
    format_resources,
    job_panel,
    job_table,
    node_table,
    progress_text,
    run_us,
    status_panel,
    wait_us,
    why,
)
from kos_ray.observe.workflow import report_panel, report_table, workflow_report

S = 1_000_000


def view(name: str, key: int = 0, **fields: object) -> JobView:
    return JobView(id=f"id-{name}", key=JobKey(key), name=name, **fields)  # type: ignore[arg-type]


def ran(name: str, start: int, end: int, *, after: tuple[str, ...] = (), node: str = "n1") -> JobView:
    return view(
        name,
        state="succeeded",
        node=node,
        attempt=1,
        submitted_us=100 * S,
        ready_us=(100 + start) * S - S // 2,
        entered_us=(100 + start) * S,
        ended_us=(100 + end) * S,
        resources=(("CPU", 10_000),),
        after=tuple((f"id-{parent}", "ok") for parent in after),
    )


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0"),
        (850, "850 µs"),
        (12000, "12 ms"),
        (999499, "999 ms"),
        (999500, "1.0 s"),
        (3200000, "3.2 s"),
        (59949999, "59.9 s"),
        (60 * S, "1 m 00 s"),
        (245 * S, "4 m 05 s"),
        (7620 * S, "2 h 07 m"),
        (3 * 86400 * S + 4 * 3600 * S, "3 d 04 h"),
    ],
)
def test_durations(us: int, text: str) -> None:
    assert format_duration(us) == text


@settings(deadline=None)
@given(st.integers(0, 10**15))
def test_durations_are_short_and_ordered_units(us: int) -> None:
    assert len(format_duration(us)) <= 14
    assert "60" not in format_duration(us).partition(" m ")[2]


def test_sizes_instants_and_lines() -> None:
    assert [format_bytes(size) for size in (0, 900, 1536, 3 * 2**30, 2**52)] == [
        "0 B",
        "900 B",
        "1.5 KiB",
        "3.0 GiB",
        "4096.0 TiB",
    ]
    assert format_instant(0) == ""
    assert format_instant(1_777_777_777 * S) == "2026-05-03 03:09:37 UTC"
    assert first_line("  one\ntwo") == "one"
    assert first_line("x" * 100) == "x" * 79 + "…"


def test_waiting_is_the_schedulers_share() -> None:
    waiting = view("a", state="ready", submitted_us=S, ready_us=5 * S)
    assert (wait_us(waiting, 8 * S), run_us(waiting, 8 * S)) == (3 * S, 0)
    running = view("a", state="running", ready_us=5 * S, entered_us=6 * S)
    assert (wait_us(running, 9 * S), run_us(running, 9 * S)) == (S, 3 * S)
    cancelled = view("a", state="cancelled", ready_us=5 * S, ended_us=6 * S)
    assert (wait_us(cancelled, 99 * S), run_us(cancelled, 99 * S)) == (S, 0)
    assert wait_us(view("a", state="blocked", submitted_us=S), 9 * S) == 0


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (30, ("job", "state")),
        (60, ("job", "state", "wait", "run")),
        (85, ("job", "state", "type", "wait", "run", "why")),
    ],
)
def test_narrow_terminals_get_what_matters_most(width: int, columns: tuple[str, ...]) -> None:
    table = job_table([view("a", state="ready", reason="no_room", remedy="wait")], 0, width)
    assert table.columns == columns
    assert all(len(row) == len(columns) for row in table.rows)


def test_panels_leave_out_what_is_empty() -> None:
    lines = dict(job_panel(view("a", state="failed", reason="user_error", remedy="see its error", error="boom"), 0))
    assert lines["why"] == "user error: see its error"
    assert lines["error"] == "boom"
    assert "node" not in lines
    assert why(view("a", state="succeeded", reason="succeeded", remedy="it is done")) == ""


def test_attempts_nodes_and_status() -> None:
    attempts = attempt_table([AttemptView(attempt=1, end="failed", error_type="ValueError", error="a\nb")], 0)
    assert attempts.rows[0][-1] == "ValueError: a"
    nodes = (
        NodeView(id="b" * 40, name="two", alive=False, head=False, resources=(), cause="killed"),
        NodeView(
            id="a" * 40, name="one", alive=True, head=True, resources=(("CPU", 25_000), ("memory", 2**30 * 10**4))
        ),
    )
    table = node_table(nodes)
    assert table.rows[0] == ("a" * 12, "one (head)", "alive", "CPU 2.5, memory 1.0 GiB")
    assert table.rows[1][2] == "lost: killed"
    status = ClusterStatus(cluster_id="c", epoch=2, seq=9, state_dir="/s", jobs={"ready": 2, "failed": 0}, nodes=nodes)
    panel = dict(status_panel(status))
    assert panel["jobs"] == "2 ready"
    assert panel["nodes"] == "1 alive, 1 lost"
    assert "/s" in panel["journal"]
    assert "leaks" not in panel
    leaky = replace(status, scheduling=SchedulingView(leaks=2, leaks_ended=3))
    assert "2 that nobody answers for, 3 ended" in dict(status_panel(leaky))["leaks"]


def test_the_report_of_a_diamond() -> None:
    views = [
        ran("a", 0, 2),
        ran("b", 2, 3, after=("a",)),
        ran("c", 2, 6, after=("a",), node="n2"),
        ran("d", 6, 7, after=("b", "c")),
    ]
    nodes = [NodeView(id="n1", name="n1", alive=True, head=True, resources=(("CPU", 20_000),))]
    report = workflow_report(views, 999 * S, nodes)
    assert report.succeeded
    assert (report.makespan_us, report.critical_us, report.run_us) == (7 * S, 7 * S, 8 * S)
    assert report.critical == ("a", "c", "d")
    assert [line.name for line in report.jobs] == ["a", "b", "c", "d"]
    assert [line.critical for line in report.jobs] == [True, False, True, True]
    assert {use.node: (use.jobs, use.held_us, use.available_us) for use in report.nodes} == {
        "n1": (3, 4 * S, 14 * S),
        "n2": (1, 4 * S, 0),
    }
    assert report_table(report).rows[2][:3] == ("*", "c", "succeeded")
    panel = report_panel(report)
    assert ("critical path", "7.0 s over 3 jobs") in panel
    assert ("makespan", "7.0 s, 1.00 times the critical path") in panel
    assert ("node", "n1: 3 jobs, 29% of its CPUs held over the makespan") in panel


def test_the_report_of_an_array_and_of_nothing() -> None:
    items = [
        JobView(
            id=f"arr.{n}",
            key=JobKey(n),
            state="succeeded",
            submitted_us=S,
            entered_us=S,
            ended_us=(2 + n) * S,
            node="n",
        )
        for n in range(3)
    ]
    reducer = JobView(id="r", key=JobKey(9), state="failed", submitted_us=S, after=(("arr", "ok"),))
    report = workflow_report([reducer, *items], 9 * S)
    assert report.critical in (("arr.2",), ("arr.2", "r"))
    assert report.critical_us == 3 * S
    assert not report.succeeded
    empty = workflow_report([], 0)
    assert (empty.makespan_us, empty.critical, empty.parallelism) == (0, (), 0.0)
    assert report_panel(empty)


def test_critical_path_by_hand() -> None:
    assert critical_path({}, {}) == (0, [])
    assert critical_path({"a": 1, "b": 5}, {"b": ["gone"]}) == (5, ["b"])
    assert critical_path({"a": 1, "b": 1}, {}) == (1, ["a"])
    with pytest.raises(ValueError, match="in a circle"):
        critical_path({"a": 1, "b": 1}, {"a": ["b"], "b": ["a"]})


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.lists(st.integers(0, 20), max_size=4)), max_size=20))
def test_critical_path_is_the_longest_chain(jobs: list[tuple[int, list[int]]]) -> None:
    durations = {str(n): float(length) for n, (length, _) in enumerate(jobs)}
    parents = {str(n): [str(p) for p in above if p < n] for n, (_, above) in enumerate(jobs)}
    length, path = critical_path(durations, parents)
    assert length == sum(durations[name] for name in path)
    assert all(parent in parents[child] for parent, child in pairwise(path))
    longest = dict.fromkeys(durations, 0.0)
    for name, own in durations.items():
        longest[name] = own + max((longest[parent] for parent in parents[name]), default=0.0)
    assert length == max(longest.values(), default=0.0)


def test_progress_has_a_column_only_where_a_job_has_said_it():
    silent = view("a", state="running")
    said = view("b", state="running", progress=0.4267, progress_text="epoch 4 of 10\nmore")
    assert "progress" not in job_table([silent], 0, 200).columns
    table = job_table([silent, said], 0, 200)
    at = table.columns.index("progress")
    assert [row[at] for row in table.rows] == ["", "42 %: epoch 4 of 10"]
    assert "progress" not in job_table([said], 0, 50).columns
    assert progress_text(view("c", progress=0.999)) == "99 %"
    assert ("progress", "42 %: epoch 4 of 10") in job_panel(said, 0)
    assert "progress" not in dict(job_panel(silent, 0))


def test_resources_that_count_bytes() -> None:
    amounts = [("CPU", 5_000), ("disk", 3 * 2**30 * 10_000), ("memory", 2**20 * 10_000)]
    assert format_resources(amounts) == "CPU 0.5, disk 3.0 GiB, memory 1.0 MiB"
