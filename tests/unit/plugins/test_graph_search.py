"""The search for a good order of a graph, on graphs whose best schedule is known."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.plugins.graph_search import GraphSearch, Project, project_of, search


def task(name: str, run_s: float | None, *after: str, **resources: float) -> dict[str, Any]:
    return {
        "id": name,
        "run_time": run_s,
        "measured_run_time": None,
        "resources": resources or {"CPU": 1.0},
        "after": list(after),
    }


def test_what_longest_first_misses() -> None:
    """Nine seconds on two CPUs are 5 + 4 and 3 + 3 + 3."""
    found = search(Project([5, 4, 3, 3, 3], [[(0, 1)]] * 5, [[]] * 5, [2]))
    assert found.length == 9
    assert Project([5, 4, 3, 3, 3], [[(0, 1)]] * 5, [[]] * 5, [2]).schedule([-5, -4, -3, -3, -3]).length == 10


def test_the_first_that_does_not_fit_is_not_delayed() -> None:
    """Two of three run for 10; the second needs all three; the third would delay it, the fourth is over in time."""
    project = Project([10, 5, 11, 10], [[(0, 2)], [(0, 3)], [(0, 1)], [(0, 1)]], [[]] * 4, [3])
    assert project.schedule([0, 1, 2, 3]).starts == [0, 10, 15, 0]
    wider = Project([10, 5, 11, 11], [[(0, 2)], [(0, 3)], [(0, 1)], [(0, 1)]], [[]] * 4, [4])
    assert wider.schedule([0, 1, 2, 3]).starts == [0, 10, 0, 11], "beside it there is room for one"


def test_ranks_are_instants_and_the_same_again() -> None:
    tasks = [task("a", 2), task("b", 1), task("c", 4, "b"), task("d", None, "a", "c", CPU=9.0, licence=1.0)]
    cluster = {"now": 1_000.0, "capacity": {"CPU": 2.0}}
    ranks = GraphSearch().order(tasks, cluster)
    assert min(ranks) == 1_000.0
    assert ranks[1] <= ranks[0] < ranks[3], "b has the longest chain behind it, d the shortest"
    assert ranks == GraphSearch().order(tasks, cluster)


def test_one_without_a_run_time_counts_as_the_mean_and_nobody_asks_for_more_than_there_is() -> None:
    project = project_of([task("a", 2), task("b", 4), task("c", None, CPU=9.0)], {"CPU": 2.0})
    assert project.lengths == [2_000, 4_000, 3_000]
    assert project.needs[2] == [(0, 20_000)]
    assert project_of([task("a", None)], {}).lengths == [1_000]


@st.composite
def projects(draw: st.DrawFn) -> Project:
    count = draw(st.integers(1, 12))
    capacity = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    needs = [[(number, draw(st.integers(1, most))) for number, most in enumerate(capacity)] for _ in range(count)]
    parents = [sorted(draw(st.sets(st.integers(0, task - 1), max_size=3))) if task else [] for task in range(count)]
    return Project([draw(st.integers(1, 9)) for _ in range(count)], needs, parents, capacity)


@settings(max_examples=60, deadline=None)
@given(projects())
def test_every_schedule_keeps_to_order_and_room(project: Project) -> None:
    found = search(project)
    ends = [start + length for start, length in zip(found.starts, project.lengths, strict=True)]
    assert found.length == max(ends) >= project.bound
    assert found.length <= project.schedule([-tail for tail in project.tails]).length
    for number, parents in enumerate(project.parents):
        assert all(ends[parent] <= found.starts[number] for parent in parents)
    for now in found.starts:
        running = [number for number, start in enumerate(found.starts) if start <= now < ends[number]]
        for resource, most in enumerate(project.capacity):
            assert sum(dict(project.needs[number])[resource] for number in running) <= most
