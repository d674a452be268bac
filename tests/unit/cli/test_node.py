"""`kos node`: what reaches the client, and what is said of the answer."""

from pathlib import Path

from fake_cluster import Kos, World

from kos_ray.model.views import NodeStanding

OPEN = NodeStanding(id="a", name="a", host="h", free=(("CPU", 20_000),), labels=(("host", "h"), ("zone", "x")))
FULL = NodeStanding(id="b", name="b", cordoned=True, draining=True, attempts=2, note="fan", by="ann")
EMPTY = NodeStanding(id="b", name="b", cordoned=True, draining=True)
GONE = NodeStanding(id="", name="c", cordoned=True)


def test_nodes_are_listed_with_their_state(kos: Kos, world: World) -> None:
    world.standings = [[GONE, FULL, OPEN]]
    code, out, _ = kos("node", "ls")
    assert code == 0
    rows = [line.split() for line in out.splitlines()[-3:]]
    assert [row[:3] for row in rows] == [["a", "open", "0"], ["b", "draining", "2"], ["c", "absent", "0"]]
    assert rows[0][-1] == "zone=x"
    assert rows[1][-2:] == ["fan", "(ann)"]


def test_what_is_said_reaches_the_client(kos: Kos, world: World) -> None:
    assert kos("node", "cordon", "a", "b", "--note", "fan")[0] == 0
    assert kos("node", "uncordon", "a")[0] == 0
    assert kos("node", "label", "a", "zone=x", "disk=", "k=a=b")[0] == 0
    assert [call for call in world.calls if call[0] == "mark_nodes"] == [
        ("mark_nodes", ["a", "b"], {"cordoned": True, "note": "fan"}),
        ("mark_nodes", ["a"], {"cordoned": False, "draining": False, "note": ""}),
        ("mark_nodes", ["a"], {"labels": {"zone": "x", "disk": "", "k": "a=b"}}),
    ]


def test_draining_waits_until_the_node_is_empty(kos: Kos, world: World) -> None:
    world.standings = [[FULL], [FULL], [EMPTY]]
    code, out, _ = kos("node", "drain", "b", "--wait", "1m")
    assert (code, "drained" in out) == (0, True)
    world.standings = [[FULL]]
    code, _, err = kos("node", "drain", "b", "--wait", "1ms")
    assert (code, err) == (1, "kos: not empty yet: b\n")
    assert kos("node", "drain", "b")[0] == 0


def test_wrong_usage(kos: Kos) -> None:
    code, _, err = kos("node", "label", "a", "zone")
    assert (code, err) == (2, "kos: expected KEY=VALUE, found 'zone'\n")
    code, _, err = kos("node", "drain", "a", "--wait", "soon")
    assert (code, "--wait: expected a time" in err) == (2, True)


def test_advice(kos: Kos, world: World, tmp_path: Path) -> None:
    file = tmp_path / "kinds.yaml"
    file.write_text("big: {resources: {cpu: 8, gpu: 1}, at_most: 3}\n")
    assert kos("node", "advise", str(file)) == (0, "2 big\n", "")
    asked = next(call for call in world.calls if call[0] == "advise")
    assert asked[1] == {"big": {"resources": (("CPU", 80_000), ("GPU", 10_000)), "at_most": 3}}
    file.write_text("{}")
    code, _, err = kos("node", "advise", str(file))
    assert (code, "none of these kinds would help" in err, "3 jobs would wait still" in err) == (0, True, True)


def test_windows(kos: Kos, world: World, tmp_path: Path) -> None:
    file = tmp_path / "busy.ics"
    file.write_text("BEGIN:VCALENDAR")
    shown = "1970-01-01 00:00:01 UTC to 1970-01-01 00:00:02 UTC\n"
    assert kos("node", "windows", "a") == (0, shown, "")
    assert kos("node", "windows", "a", "Mon 1:00-2:00", "Tue 1:00-2:00") == (0, shown, "")
    assert kos("node", "windows", "-n", "team", "daily 1:00-2:00") == (0, shown, "")
    assert kos("node", "windows", "a", "--file", str(file)) == (0, shown, "")
    assert kos("node", "windows", "a", "--always") == (0, "always open\n", "")
    assert [call[1:] for call in world.calls if call[0] == "windows"] == [
        ("a", "", None),
        ("a", "", "Mon 1:00-2:00\nTue 1:00-2:00"),
        ("", "team", "daily 1:00-2:00"),
        ("a", "", "BEGIN:VCALENDAR"),
        ("a", "", ""),
    ]
    assert kos("node", "windows")[0] == 2
    assert kos("node", "windows", "a", "Mon 1:00-2:00", "--always")[0] == 2
    assert kos("node", "windows", "a", "--file", str(tmp_path / "absent"))[0] == 2


def test_kinds_of_nodes_that_are_none(kos: Kos, tmp_path: Path) -> None:
    file = tmp_path / "kinds.yaml"
    for text, message in (
        ("[a]", "kinds.yaml:1: expected a mapping of names to kinds of nodes"),
        ("big:\n  resources: {cpus: 8}", "kinds.yaml:2: big.resources.cpus: expected a known field, found 'cpus'"),
        ("big: {}", "kinds.yaml:1: big: expected the field 'resources', found nothing"),
        ("big:\n  resources: {}\n  at_most: -1", "kinds.yaml:3: big.at_most: expected a whole number from 0 to 1000"),
    ):
        file.write_text(text)
        code, _, err = kos("node", "advise", str(file))
        assert code == 2
        assert message in err
