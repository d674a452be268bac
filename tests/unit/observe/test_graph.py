"""Graphs as text: what is written can be read again, whatever the names are."""

import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.views import JobView
from kos_ray.observe.graph import FILLS, connected, job_graph, to_ascii, to_dot, to_mermaid

NASTY = 'a "b" \\ <c> # & ; { } [x] | --> `d`\n%% end'


def view(key: int, *after: tuple[str, str], name: str = "", state: str = "ready") -> JobView:
    return JobView(id=f"j{key}", key=JobKey(key), name=name or f"n{key}", state=state, after=after)


DIAMOND = [view(1), view(2, ("j1", "ok")), view(3, ("j1", "any")), view(4, ("j2", "ok"), ("j3", "not_ok"))]


def test_arrays_are_one_node() -> None:
    items = [
        JobView(id=f"arr.{index}", key=JobKey(index + 2), name="many", state=state, after=(("j1", "ok"),))
        for index, state in enumerate(["succeeded", "failed", "running"])
    ]
    graph = job_graph([*items, view(9, ("arr.1", "ok"), ("gone", "ok")), view(1)])
    assert [(node.label, node.state, node.text) for node in graph.nodes] == [
        ("n1", "ready", "ready"),
        ("many x3", "failed", "1 failed, 1 running, 1 succeeded"),
        ("n9", "ready", "ready"),
    ]
    assert set(graph.edges) == {("j1", "arr", "ok"), ("arr", "j9", "ok")}


def test_what_hangs_on_a_job() -> None:
    views = [*DIAMOND, view(5), view(6, ("j5", "ok"))]
    assert [one.id for one in connected(views, "j2")] == ["j1", "j2", "j4"]
    assert [one.id for one in connected(views, "j6")] == ["j5", "j6"]


def test_ascii() -> None:
    assert to_ascii(job_graph(DIAMOND)).splitlines() == [
        "n1  ready",
        "├─ n2  ready",
        "│  └─ n4  ready  ← n3 (not_ok)",
        "└─ n3  ready  ← n1 (any)",
    ]
    assert to_ascii(job_graph([])) == ""
    chain = [view(key, *([(f"j{key - 1}", "ok")] if key > 1 else [])) for key in range(1, 2_000)]
    assert len(to_ascii(job_graph(chain)).splitlines()) == 1_999


def test_every_state_has_a_colour() -> None:
    assert set(FILLS) == {state.name.lower() for state in JobState}


def read_dot(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Nodes and edges of a dot file in the form that we write; anything else is an error."""
    first, *lines, last = text.splitlines()
    assert (first, last) == ("digraph jobs {", "}")
    nodes: dict[str, str] = {}
    edges = []
    quoted = r'"(?:[^"\\]|\\.)*"'
    for line in lines[2:]:
        node = re.fullmatch(rf"  (n\d+) \[label=({quoted}), fillcolor=\"#[0-9a-f]{{6}}\"\];", line)
        edge = re.fullmatch(rf"  (n\d+) -> (n\d+)(?: \[style=dashed, label={quoted}\])?;", line)
        assert node or edge, line
        if node:
            nodes[node[1]] = node[2]
        elif edge:
            edges.append((edge[1], edge[2]))
    return nodes, edges


def read_mermaid(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The same for mermaid: no sign of its own may stand in a label except as an entity."""
    first, *lines = text.splitlines()
    assert first == "flowchart LR"
    nodes: dict[str, str] = {}
    edges = []
    classes, defined = set(), set()
    plain = r'(?:[^"<>&#`]|#(?:\d+|quot|lt|gt);)*'
    for line in lines:
        node = re.fullmatch(rf'  (n\d+)\["({plain}<br/>{plain})"\]:::(\w+)', line)
        edge = re.fullmatch(r"  (n\d+) (?:-->|-\. \w+ \.->) (n\d+)", line)
        style = re.fullmatch(r"  classDef (\w+) fill:#[0-9a-f]{6},stroke:#[0-9a-f]{6},color:#[0-9a-f]{6}", line)
        assert node or edge or style, line
        if node:
            nodes[node[1]] = node[2]
            classes.add(node[3])
        elif edge:
            edges.append((edge[1], edge[2]))
        elif style:
            defined.add(style[1])
    assert classes == defined
    return nodes, edges


@pytest.mark.parametrize("name", ["plain", NASTY, "end", "ünï→", "\\", '"', "graph"])
def test_labels_are_escaped(name: str) -> None:
    graph = job_graph([view(1, name=name), view(2, ("j1", "ok"), name=name)])
    for read, write in ((read_dot, to_dot), (read_mermaid, to_mermaid)):
        nodes, edges = read(write(graph))
        assert set(nodes) == {"n0", "n1"}
        assert edges == [("n0", "n1")]
    dot = shutil.which("dot")
    if dot:
        subprocess.run([dot, "-Tsvg"], input=to_dot(graph), capture_output=True, text=True, timeout=60, check=True)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_graph_can_be_read_again(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    views = []
    for key in range(1, count + 1):
        parents = data.draw(st.sets(st.integers(1, key - 1))) if key > 1 else set()
        kinds = {parent: data.draw(st.sampled_from(["ok", "any", "not_ok"])) for parent in sorted(parents)}
        name = data.draw(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), max_size=9))
        state = data.draw(st.sampled_from(sorted(FILLS)))
        views.append(view(key, *[(f"j{parent}", kind) for parent, kind in kinds.items()], name=name, state=state))
    graph = job_graph(views)
    wanted = {(f"n{int(parent[1:]) - 1}", f"n{int(child[1:]) - 1}") for parent, child, _ in graph.edges}
    for read, write in ((read_dot, to_dot), (read_mermaid, to_mermaid)):
        nodes, edges = read(write(graph))
        assert len(nodes) == count
        assert set(edges) == wanted
    assert len(to_ascii(graph).splitlines()) == count


def test_what_a_job_submitted_hangs_on_it():
    views = [
        JobView(id="p", key=JobKey(1), name="parent", state="running"),
        JobView(id="c", key=JobKey(2), name="child", state="ready", parent="p"),
        JobView(id="o", key=JobKey(3), name="other", state="ready", parent="gone"),
    ]
    assert job_graph(views).edges == (("p", "c", "submits"),)
    assert [view.id for view in connected(views, "p")] == ["p", "c"]
    assert to_ascii(job_graph(views)) == "parent  running\n└─ child  ready  ← parent (submits)\nother  ready\n"
