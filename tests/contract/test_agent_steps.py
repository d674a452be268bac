"""Each hook of an agent, broken in each way, at each step of its life: docs/agents.md says what becomes of it."""

import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kos_ray.model.agents import Phase
from tests.contract.agent_home import Home
from tests.contract.frail import Stuck

Story = Callable[[Home], Awaitable[None]]
HOWS = ("raises", "hangs", "dies")
#: what is called before it takes messages when it comes up for the first time, and when its state is there already
FIRST = ("__init__", "pre_start", "post_start")
AGAIN = ("__init__", "restore", "pre_start", "on_resume", "post_start")
BACK = ("resume", "restart", "crash", "rollback")


@pytest.fixture
def tell(tmp_path: Path) -> Callable[[Story], None]:
    return lambda story: Home.run(story, tmp_path)


async def leave(home: Home, step: str, to: str = "") -> None:
    """Have it go so that it comes back by itself, or when it is resumed."""
    if step == "crash":
        pid = await home.call("pid")
        os.kill(pid, signal.SIGKILL)
        await home.until(lambda: home.phase is not Phase.RUNNING, "its death")
    elif step == "rollback":
        home.wish("rollback", snapshot=to)
    else:
        home.wish({"resume": "suspend"}.get(step, step))
        if step == "resume":
            await home.until_phase(Phase.SUSPENDED)


def said(home: Home, hook: str, how: str) -> None:
    """What the failed attempt ended with names the hook, and what was wrong with it."""
    told = " ".join(home.errors())
    named = "the constructor" if hook == "__init__" else hook
    assert {"raises": f"{named} of agent keeper raised ValueError", "hangs": f"{named} of agent keeper had not"}.get(
        how, "died"
    ) in told, told


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("hook", FIRST)
def test_a_first_start_that_is_broken_is_a_crash_and_tried_again(tell, hook, how):
    async def story(home: Home) -> None:
        home.plan(hook, how)
        home.begin()
        message = home.message("add", 5)
        assert await home.result(message) == 5
        assert home.planned == 0
        assert len(home.standing.crashes) == 1
        said(home, hook, how)

    tell(story)


@pytest.mark.parametrize("step", BACK)
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("hook", AGAIN)
def test_a_return_that_is_broken_is_a_crash_and_tried_again_with_the_same_state(tell, step, hook, how):
    async def story(home: Home) -> None:
        home.begin(snapshot_every=1)
        await home.call("add", 5)
        (first,) = home.snapshots()
        await home.call("add", 5)
        if step == "crash":  # it breaks when it comes back, which it does at once
            pid = await home.call("pid")
            home.plan(hook, how)
            os.kill(pid, signal.SIGKILL)
            await home.until(lambda: home.planned == 0, "the break")
        else:
            if step == "resume":
                await leave(home, step)
            home.plan(hook, how)
            if step == "resume":
                home.wish("resume")
            else:
                await leave(home, step, first["id"])
        expected = 5 if step == "rollback" else 10
        assert await home.call("add", 1) == expected + 1
        assert home.planned == 0
        assert len(home.standing.crashes) == (2 if step == "crash" else 1)
        said(home, hook, how)

    tell(story)


@pytest.mark.parametrize("step", ["resume", "restart", "rollback"])
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("hook", ["on_suspend", "snapshot"])
def test_a_departure_that_is_broken_keeps_what_can_be_kept(tell, step, hook, how):
    async def story(home: Home) -> None:
        home.begin(snapshot_every=2)
        await home.call("add", 1)
        await home.call("add", 4)  # saved: 5
        (first,) = home.snapshots()
        await home.call("add", 5)  # not saved
        home.plan(hook, how)
        await leave(home, step, first["id"])
        await home.until(lambda: home.planned == 0 and home.standing.ready != 1, "its departure")
        if step == "resume":
            await home.until_phase(Phase.SUSPENDED)
            home.wish("resume")
        kept = hook == "on_suspend" and how != "dies"
        expected = 10 if kept and step != "rollback" else 5
        assert await home.call("add", 1) == expected + 1
        assert [one["why"] for one in home.snapshots()][:2] == (["step", "suspend"] if kept else ["step"])
        assert len(home.standing.crashes) == 0, "it was to go, and it has gone"
        if hook == "snapshot" and how != "dies":
            said(home, hook, how)

    tell(story)


@pytest.mark.parametrize("how", HOWS)
def test_a_shutdown_that_is_broken_ends_it_all_the_same(tell, how):
    async def story(home: Home) -> None:
        home.plan("on_shutdown", how)
        home.begin()
        await home.call("add", 1)
        home.wish("stop")
        await home.until_phase(Phase.STOPPED)
        assert home.planned == 0

    tell(story)


def test_an_ephemeral_one_whose_work_is_done_is_shut_down_and_not_suspended(tell):
    async def story(home: Home) -> None:
        home.plan("on_shutdown", "raises")
        home.begin(kind="ephemeral", restart=False)
        await home.call("add", 1)
        await home.until_phase(Phase.STOPPED)
        assert home.planned == 0

    tell(story)


@pytest.mark.parametrize(("hook", "left"), [("snapshot", 1), ("on_suspend", 1), ("on_shutdown", 0)])
def test_an_ephemeral_one_whose_time_is_over_is_shut_down_and_nothing_is_saved(tell, hook, left):
    async def story(home: Home) -> None:
        home.plan(hook, "raises")
        home.begin(kind="ephemeral", restart=False, limit_ms=300)
        gate = str(home.folder / "gate")
        message = home.message("stay", gate)
        await home.until_phase(Phase.FAILED)
        assert any(home.folder.glob("gate.begun")), "it was at work"
        home.open(gate)
        home.wish("start")
        await home.result(message)
        await home.until_phase(Phase.STOPPED)
        assert home.planned == left
        saved = "SELECT count(*) FROM checkpoints"
        assert home.journal.connection.execute(saved).fetchone() == (0,)

    tell(story)


@pytest.mark.parametrize("how", HOWS)
def test_a_save_between_messages_that_is_broken_is_told_and_it_lives_on_unless_it_dies(tell, how):
    async def story(home: Home) -> None:
        home.begin(snapshot_every=1)
        await home.call("add", 5)
        home.plan("snapshot", how)
        assert await home.call("add", 1) == 6, "handled again where it died: its effect was not saved"
        assert await home.call("add", 1) == 7
        assert len(home.standing.crashes) == (how == "dies")
        assert home.planned == 0

    tell(story)


def test_what_it_needs_and_its_node_has_not_is_the_reason_that_it_waits(tell):
    async def story(home: Home) -> None:
        there = home.folder / "words"
        home.begin(config=(("NO_SUCH_TOKEN", ""),), files=(str(there),), crashes_max=1)
        await home.until_phase(Phase.FAILED)
        found = home.engine.explain(home.standing.job)
        assert (found.state, found.reason) == ("held", "no_such_setting")
        assert found.lacks == f"no node has setting NO_SUCH_TOKEN and file {there} (1 node tried)"

    tell(story)


# --- the time that a start has


@pytest.mark.parametrize("hook", FIRST[:2])
def test_a_start_that_takes_too_long_is_a_crash_that_says_what_it_was_about(tell, hook):
    async def story(home: Home) -> None:
        home.plan(hook, "hangs")
        home.begin(start_ms=150, hook_ms=60_000)
        assert await home.call("add", 5) == 5
        assert len(home.standing.crashes) == 1
        named = "the constructor" if hook == "__init__" else hook
        (told,) = home.errors()
        assert told == f"agent keeper did not take messages within 0.15 s (start_timeout): {named} still ran"

    tell(story)


def test_the_time_of_a_start_is_that_of_all_its_parts_together_and_of_a_return_as_well(tell):
    async def story(home: Home) -> None:
        home.begin(start_ms=150, hook_ms=60_000)
        await home.call("add", 5)
        home.wish("suspend")
        await home.until_phase(Phase.SUSPENDED)
        home.plan("restore", "hangs")
        home.wish("resume")
        assert await home.call("add", 1) == 6
        assert "(start_timeout): restore still ran" in home.errors()[-1]

    tell(story)


def test_a_start_whose_code_does_not_come_up_is_ended_by_the_node_agent(tell):
    async def story(home: Home) -> None:
        home.begin(Stuck(), start_ms=100, crashes_max=1)
        await home.until_phase(Phase.FAILED)
        (told,) = home.errors()
        assert told == (
            "expected an agent that takes messages within 0.1 s (start_timeout); found one that still loads its code, "
            "or hangs"
        )

    tell(story)


def test_a_life_is_not_limited_by_the_time_of_its_start(tell):
    async def story(home: Home) -> None:
        home.begin(start_ms=300)
        await home.call("add", 1)
        pid = await home.call("pid")
        begun = time.monotonic()
        await home.until(lambda: time.monotonic() - begun > 1.6, "the end of what the node agent would wait for")
        assert await home.call("pid") == pid

    tell(story)


# --- signs of life


def test_one_that_is_frozen_is_ended_and_another_life_does_what_it_had(tell):
    async def story(home: Home) -> None:
        home.begin(snapshot_every=1, silent_ms=1_500)
        await home.call("add", 5)
        pid = await home.call("pid")
        begun = time.monotonic()
        await home.until(lambda: time.monotonic() - begun > 1.7, "a while in which it is heard")
        assert await home.call("pid") == pid
        os.kill(pid, signal.SIGSTOP)
        assert await home.call("add", 1) == 6
        assert len(home.standing.crashes) == 1
        (told,) = home.errors()
        assert told == (
            f"expected a sign of life of process {pid} every 1.5 s (heartbeat_timeout); found none: it was frozen, or "
            "does not let go of the interpreter"
        )

    tell(story)


def test_one_that_stood_still_together_with_its_node_lives_on(tell):
    async def story(home: Home) -> None:
        home.begin(silent_ms=1_000)
        await home.call("add", 5)
        pid = await home.call("pid")
        home.stand_still(pid, 1.3)
        begun = time.monotonic()
        await home.until(lambda: time.monotonic() - begun > 0.5, "looks of the node agent")
        assert await home.call("pid") == pid
        assert home.errors() == []

    tell(story)


# --- saves that nobody has to wait for


def test_one_is_taken_when_it_is_asked_for_between_two_messages(tell):
    async def story(home: Home) -> None:
        home.begin()
        await home.call("add", 5)
        gate = str(home.folder / "gate")
        stays = home.message("stay", gate)
        await home.until(Path(f"{gate}.begun").exists, "the message that stays")
        home.wish("snapshot")
        assert home.snapshots() == []
        home.open(gate)
        await home.result(stays)
        await home.until(lambda: len(home.snapshots()) == 1, "the snapshot")
        (one,) = home.snapshots()
        assert (one["why"], one["parent"], one["current"]) == ("asked", "", True)

    tell(story)


def test_one_that_was_asked_for_and_cannot_be_is_said(tell):
    async def story(home: Home) -> None:
        home.begin()
        await home.call("add", 5)
        home.plan("snapshot", "raises")
        home.wish("snapshot")
        await home.until(lambda: home.wish("snapshots")["saves"] == 1, "the answer")
        assert home.wish("snapshots")["wrong"] == "snapshot of agent keeper raised ValueError: no"
        assert await home.call("add", 1) == 6

    tell(story)


def test_one_that_waits_for_a_message_does_not_keep_the_agent_from_going(tell):
    async def story(home: Home) -> None:
        home.begin(concurrency=2)
        await home.call("add", 5)
        gate = str(home.folder / "gate")
        stays = home.message("stay", gate)
        await home.until(Path(f"{gate}.begun").exists, "the message that stays")
        home.wish("snapshot")
        home.wish("suspend")
        await home.until_phase(Phase.SUSPENDED)
        assert [one["why"] for one in home.snapshots()] == ["suspend"]
        home.open(gate)
        home.wish("resume")
        await home.result(stays)
        assert await home.call("add", 1) == 6

    tell(story)


def test_by_the_clock_it_saves_what_was_handled_and_nothing_twice(tell):
    async def story(home: Home) -> None:
        home.begin(interval_ms=60)
        await home.call("add", 5)
        await home.until(lambda: len(home.snapshots()) == 1, "the first save")
        await home.call("add", 1)
        await home.until(lambda: len(home.snapshots()) == 2, "the second one")
        begun = time.monotonic()
        await home.until(lambda: time.monotonic() - begun > 0.3, "five times as long")
        assert home.standing.lineage.saves == 2, "nothing was handled since"
        assert {one["why"] for one in home.snapshots()} == {"schedule"}
        pid = await home.call("pid")
        await home.until(lambda: home.standing.lineage.saves == 3, "the third one")
        os.kill(pid, signal.SIGKILL)
        assert await home.call("add", 1) == 7

    tell(story)


def test_messages_that_come_while_it_goes_back_are_delayed_and_none_is_lost(tell):
    async def story(home: Home) -> None:
        home.begin(snapshot_every=1)
        await home.call("add", 100)
        (first,) = home.snapshots()
        keys = [home.message("add", 1) for _ in range(5)]
        home.wish("rollback", snapshot=first["id"])
        keys += [home.message("add", 1) for _ in range(5)]
        results = [await home.result(key) for key in keys]
        # what the old life had handled belongs to its branch; all others follow the snapshot
        assert results in [[*range(101, 101 + old), *range(101, 111 - old)] for old in range(6)]

    tell(story)
