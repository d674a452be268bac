"""Each reason to wait, and what is said of it."""

import pytest

from kos_ray.model.views import Explanation
from kos_ray.scheduler.explain import explain
from kos_ray.scheduler.machine import step
from tests.scenarios.language import Play, written

#: what happens, whom we ask about, the reason, what one node lacks ("" where it is not asked)
CASES = {
    "too small": (["node a cpu=2", "submit j cpu=4"], "j", "never_fits", "too small: CPU 4 of 2"),
    "in use": (["node a cpu=2", "submit x cpu=1", "submit j cpu=2"], "j", "no_room", "in use: CPU 2 of 1"),
    "no nodes": (["submit j cpu=1"], "j", "no_nodes", ""),
    "a parent": (["submit p cpu=1", "submit j cpu=1 after=ok:p"], "j", "dependency", ""),
    "held": (["submit j cpu=1", "hold j"], "j", "held_by_user", ""),
    "a licence": (["node a cpu=2", "submit x cpu=1 licence=l:1", "submit j cpu=1 licence=l:1"], "j", "no_licence", ""),
    "a key": (["node a cpu=2", "submit x cpu=1 key=k:1 single", "submit j cpu=1 key=k:1"], "j", "concurrency", ""),
    "a rate": (["node a cpu=2", "submit x cpu=1 rate=r:9 single", "submit j cpu=1 rate=r:9"], "j", "rate_limit", ""),
    "a quota": (["node a cpu=4", "submit x cpu=1 in=q single", "submit j cpu=1 in=q band=5"], "j", "quota", ""),
    "above it": (["node a cpu=4", "submit j cpu=2 in=q"], "j", "above_quota", ""),
    "behind": (["node a cpu=1", "submit x cpu=1", "submit y cpu=1", "submit j cpu=1 band=5"], "j", "no_room", ""),
    "a gang": (["node a cpu=2", "submit g x3 cpu=1 gang=3"], "g.0", "never_fits", ""),
    "its room": (
        ["node a cpu=2", "submit x cpu=1 single", "submit g x2 cpu=1 gang=2"],
        "g.1",
        "gang_no_room",
        "",
    ),
    "its licences": (["node a cpu=2", "submit g x2 cpu=1 licence=l:1 gang=2"], "g.0", "no_such_licence", ""),
    "a label": (
        ["node a cpu=2 zone:x", "submit j cpu=1 on=zone:y|z,!slow,!zone:x,ssd"],
        *(
            "j",
            "no_node_matches",
            "zone=y|z wanted, zone=x there, zone!=x wanted, zone=x there, a ssd wanted, no ssd there",
        ),
    ),
    "a model": (
        ["node a cpu=2 model.small:yes", "submit j cpu=1 on=model.small,model.llama-3"],
        *("j", "no_such_model", "a model.llama-3 wanted, no model.llama-3 there"),
    ),
    "a name": (["node a cpu=2", "submit j cpu=1 node=b"], "j", "no_node_matches", "not one of b"),
    "another name": (["node a cpu=2", "submit j cpu=1 not_node=a"], "j", "no_node_matches", "it is not to run there"),
    "cordoned": (["node a cpu=2", "cordon a note=disk", "submit j cpu=1"], "j", "cordoned", "cordoned: disk"),
    "drained": (["node a cpu=2", "drain a", "submit j cpu=1"], "j", "cordoned", "draining"),
    "apart": (
        ["node a cpu=2", "submit x cpu=1 tag=t", "submit j cpu=1 apart=host/tag:t"],
        *("j", "apart", "to be apart from tag:t (by host)"),
    ),
    "kept away": (
        ["node a cpu=2", "submit x cpu=1 apart=tag:t", "submit j cpu=1 tag=t"],
        *("j", "apart", "a job there is to be apart from it"),
    ),
    "near": (["node a cpu=2", "submit j cpu=1 near=job:x"], "j", "near", "to be near job:x"),
    "a window": (
        ["node a cpu=2", "open a 0s-5s", "submit j cpu=1"],
        *("j", "window", "no window is open that is as long as it"),
    ),
    "battery": (
        ["node a cpu=2", "is a battery=20", "submit j cpu=1 battery=30"],
        *("j", "battery", "20 % in its battery, more than 30 % wanted"),
    ),
    "no such GPU": (
        ["node a cpu=2 gpu=1 gpu-memory:1073741824", "submit j cpu=1 gpu_memory=2147483648"],
        *("j", "gpu_memory", "no GPU of 2 GiB there"),
    ),
    "GPU memory": (
        ["node a cpu=2 gpu=1 gpu-memory:4294967296", "is a free=1073741824", "submit j cpu=1 gpu_memory=2147483648"],
        *("j", "gpu_memory", "1 GiB free on its GPUs, 2 GiB wanted"),
    ),
    "either": (["node a cpu=2", "submit x cpu=2", "submit j gpu=1 or=cpu:2"], "j", "no_room", "in use: CPU 2 of 0"),
    "pressed": (
        ["node a cpu=2", "pressed a memory=950 gpu_memory=990", "submit j cpu=1"],
        *("j", "node_pressed", "pressed: memory, gpu memory short"),
    ),
    "moved away": (
        [
            "node a cpu=2",
            "submit j cpu=1 agent evict=checkpoint",
            "enter j",
            "pressed a memory=950 j:400",
            "end j stopped",
        ],
        *("j", "suspended", "it was moved away from there, for want of memory; it may come back when that is calm"),
    ),
    "it runs": (["node a cpu=1", "submit j cpu=1"], "j", "none", ""),
}
POLICY = {
    "licences": {"l": 1},
    "rates": [{"name": "r", "amount": 1, "per_us": 1_000_000, "burst": 9}],
    "namespaces": [{"name": "q", "limit": "cpu=1"}],
    "preemption": 0,
    "rebalance": {"memory": "90%"},
}


def ask(play: Play, name: str) -> Explanation:
    step(play.state, [], play.now_us)  # reasons are left behind by a pass; a copy of the state has had none
    return explain(play.state, play.job(name), play.now_us)


@pytest.mark.parametrize("case", CASES)
def test_the_reason_and_what_a_node_lacks(case: str) -> None:
    lines, name, reason, lacks = CASES[case]
    play = Play(POLICY)
    for line in lines:
        play.do([line])
    found = ask(play, name)
    assert found.reason == reason
    assert bool(found.remedy)
    if lacks:
        assert [verdict.lacks for verdict in found.nodes] == [lacks]


def test_a_model_that_no_node_has_is_named_with_how_many_were_looked_at() -> None:
    play = Play()
    play.do(["node a cpu=2 model.small:yes", "node b cpu=2 model.large:yes"])
    play.do(["submit j cpu=1 on=model.llama-3 single", "submit k cpu=1 on=model.small,model.large single"])
    play.do(["submit l cpu=1 on=model.small,fast single"])
    assert ask(play, "j").lacks == "no node has model llama-3 (2 nodes looked at)"
    assert ask(play, "k").lacks == "no node has models small and large together (2 nodes looked at)"
    assert ask(play, "k").reason == "no_such_model"
    assert (ask(play, "l").reason, ask(play, "l").lacks) == ("no_node_matches", "")
    play.do(["label b model.llama-3:yes"])
    assert (ask(play, "j").reason, ask(play, "j").lacks) == ("none", "")


def test_how_far_a_gang_is_from_its_start() -> None:
    play = Play()
    play.do(["node a cpu=4", "submit x cpu=2 single"])
    play.do(["submit g x4 cpu=1 gang=4 quorum=3 single", "hold g.0"])
    found = ask(play, "g.3")
    assert (found.reason, found.gang_needs, found.gang_ready, found.gang_fits) == ("gang_no_room", 3, 3, 2)
    play.do(["hold g.1"])
    found = ask(play, "g.3")
    assert (found.reason, found.gang_needs, found.gang_ready) == ("gang_incomplete", 3, 2)


def test_room_that_is_being_made_and_who_is_ahead() -> None:
    play = Play({"exempt_us": 0})
    play.do(["node a cpu=1", "submit low cpu=1 band=5 single"])
    play.do(["wait 1s", "submit high cpu=1 band=0", "submit mid cpu=1", "submit mid2 cpu=1"])
    found = ask(play, "high")
    assert (found.reason, found.making_room, found.target) == ("room_being_made", 1, "a")
    found = ask(play, "mid2")
    assert found.ahead_keys == (play.keys["high"], play.keys["mid"])
    assert found.ahead == 2


def test_a_parent_is_named_and_a_job_that_waited_too_long_says_so() -> None:
    play = Play({"aging_us": [1_000_000] * 6})
    play.do(["submit p cpu=1", "submit c cpu=1 after=ok:p"])
    play.do(["wait 2s"])
    assert ask(play, "c").parents == (play.keys["p"],)
    assert ask(play, "p").overdue
    assert written(play.state.policy, {}) == play.state.policy
