"""What the doctor says of what it finds."""

from dataclasses import replace

import pytest

from kos_ray.model.views import ClusterStatus, Leak, NodeStanding, NodeView, SchedulingView
from kos_ray.observe import health
from kos_ray.observe.health import Finding
from kos_ray.observe.load import held, load_table, share, summary
from kos_ray.observe.measured import with_loads
from kos_ray.observe.tables import status_panel

GIB = 2**30


def levels(*found: Finding) -> list[str]:
    for one in found:
        assert bool(one.remedy) == (one.level != "ok"), one
    return [one.level for one in found]


@pytest.mark.parametrize(
    ("python", "ray", "expected"),
    [
        ("3.11.2", "2.60.0", ["ok", "ok", "ok"]),
        ("3.10.9", "2.57.1", ["ok", "bad", "bad"]),
        ("3.13.0", "", ["ok", "ok", "bad"]),
        ("3.12.0", "3.0.0", ["ok", "ok", "bad"]),
        ("3.12.0rc1", "2.61.0.dev0", ["ok", "ok", "ok"]),
    ],
)
def test_versions(python: str, ray: str, expected: list[str]) -> None:
    assert levels(*health.versions("0.1", python, ray)) == expected


def test_disk() -> None:
    assert levels(
        health.disk("/s", 50 * GIB, "ext4", writable=True),
        health.disk("/s", 2 * GIB, "ext4", writable=True),
        health.disk("/s", GIB // 2, "", writable=True),
        health.disk("/s", 50 * GIB, "nfs4", writable=True),
        health.disk("/s", 50 * GIB, "ext4", writable=False),
    ) == ["ok", "warn", "bad", "bad", "bad"]


def test_journal() -> None:
    assert levels(*health.journal("/s/j", -1, 0, None)) == ["ok"]
    assert levels(*health.journal("/s/j", 10, 0, ())) == ["ok", "ok"]
    assert levels(*health.journal("/s/j", 10, GIB // 2, None)) == ["ok", "warn"]
    assert levels(*health.journal("/s/j", 10, 2 * GIB, ("frame 3",))) == ["bad", "bad"]


def test_authentication() -> None:
    assert levels(
        health.authentication("", own_head=True, remote=False),
        health.authentication("token", own_head=False, remote=True),
        health.authentication("", own_head=False, remote=False),
        health.authentication("disabled", own_head=False, remote=True),
    ) == ["ok", "ok", "ok", "warn"]


def node(name: str, *, alive: bool = True, head: bool = False, cpus: float = 2) -> NodeView:
    resources = (("CPU", round(cpus * 10_000)),) if cpus else ()
    return NodeView(id=name, name=name, alive=alive, head=head, resources=resources)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("h", head=True)], ["ok", "ok", "ok"]),
        ([node("h", head=True, cpus=0), node("a")], ["ok", "ok", "ok"]),
        ([node("h", head=True), node("a")], ["ok", "ok", "warn"]),
        ([node("h", head=True, cpus=0)], ["ok", "ok", "bad"]),
        ([node("h", head=True), node("a", alive=False)], ["ok", "warn", "ok"]),
        ([node("a")], ["ok", "ok", "bad"]),
        ([], ["ok", "bad"]),
    ],
)
def test_cluster(nodes: list[NodeView], expected: list[str]) -> None:
    status = ClusterStatus(cluster_id="c", epoch=1, seq=1, state_dir="/s", jobs={}, nodes=tuple(nodes))
    assert levels(*health.cluster(status)) == expected
    assert summary(status)


def test_clock_port_and_files() -> None:
    assert levels(*health.clock(10, -5)) == ["ok"]
    assert levels(*health.clock(-90_000, 5_000_000)) == ["warn", "warn"]
    assert levels(health.port("h:1", answers=True), health.port("h:1", answers=False)) == ["ok", "bad"]
    assert levels(health.files_limit(1024), health.files_limit(-1), health.files_limit(65536)) == ["warn", "ok", "ok"]


def test_shares() -> None:
    assert share("CPU", 0, 0) == ""
    assert share("CPU", 15_000, 20_000) == "████████░░ 1.5/2"
    assert share("memory", 0, 10_000 * GIB) == "░░░░░░░░░░ 0 B/1.0 GiB"
    assert held([]) == {}


def node(name: str, *, head: bool = False, alive: bool = True, **versions: str) -> NodeView:
    return NodeView(id=name, name=name, alive=alive, head=head, resources=(), versions=tuple(versions.items()))


SAME = {"kos_ray": "0.1", "Python": "3.11.7", "Ray": "2.60.0"}


def test_versions_of_nodes() -> None:
    head = node("h", head=True, **SAME)
    found = health.node_versions(
        [
            node("a", **{**SAME, "Python": "3.11.2"}),
            node("b", **{**SAME, "Python": "3.12.1", "Ray": "2.59.0"}),
            node("c", **{**SAME, "kos_ray": "0.2"}),
            node("d"),
            node("gone", alive=False, kos_ray="9"),
            head,
        ],
        "0.1",
    )
    assert [one.subject for one in found] == ["node h", "node a", "node b", "node c", "node d"]
    assert levels(*found) == ["ok", "ok", "bad", "bad", "warn"]
    assert found[0].text == "kos_ray 0.1, Python 3.11.7, Ray 2.60.0"
    assert found[2].text == "Python 3.12.1, expected 3.11.7, Ray 2.59.0, expected 2.60.0"
    assert "pip install ray==2.60.0 there" in found[2].remedy
    assert found[3].remedy == "pip install kos_ray==0.1 there, and start the node again"


def test_a_cluster_of_another_version() -> None:
    (found,) = health.node_versions([node("h", head=True, **SAME)], "0.2")
    assert levels(found) == ["bad"]
    assert "install the cluster's version here" in found.remedy
    assert levels(*health.node_versions([node("a", **SAME)], "0.1")) == ["ok"], "without a head, that is all we know"


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("database or disk is full", "make room on the disk of /s"),
        ("No space left on device", "make room on the disk of /s"),
        ("attempt to write a readonly database", "make /s writable"),
        ("Read-only file system", "make /s writable"),
        ("disk I/O error", "see to the disk of /s"),
    ],
)
def test_a_journal_that_cannot_write(said: str, remedy: str) -> None:
    view = SchedulingView(trouble=f"/s/journal.db: {said}", trouble_since_us=1_000_000)
    status = ClusterStatus(cluster_id="c", epoch=1, seq=1, state_dir="/s", jobs={}, nodes=(), scheduling=view)
    (found,) = (one for one in health.cluster(status) if one.subject == "journal")
    assert levels(found) == ["bad"]
    assert said in found.text
    assert found.remedy.startswith(remedy)
    told = dict(status_panel(status))["TROUBLE"]
    assert all(part in told for part in (said, remedy, "1970-01-01 00:00:01 UTC", "nothing starts"))


def test_leaks_are_told_with_what_ends_them() -> None:
    assert [one.level for one in health.leaks([])] == ["ok"]
    there = Leak(kind="node agent", name="kos-agent-a", node="a" * 56, why="it does not answer")
    warned, over = health.leaks([there, replace(there, why="it is another's", certain=True, ended=True)])
    assert (warned.level, over.level) == ("warn", "ok")
    assert warned.text == f"node agent kos-agent-a on node {'a' * 12}: it does not answer"
    assert "kos doctor --fix" in warned.remedy
    assert over.text.endswith("it is another's; it was ended")


def test_what_nodes_measured_is_told_in_one_column() -> None:
    node = NodeView(id="n1", name="a", alive=True, head=True, resources=())
    other = NodeView(id="n2", name="b", alive=False, head=False, resources=())
    standing = NodeStanding(id="n1", name="a", loads=(("battery", 860), ("cpu", 455), ("memory", 620)))
    found = with_loads([node, other], [standing, NodeStanding(id="", name="absent")])
    assert [one.loads for one in found] == [standing.loads, ()]
    assert [row[-1] for row in load_table(found, []).rows] == ["cpu 46 %, memory 62 %, battery 14 %", ""]
