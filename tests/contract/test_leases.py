"""Exclusive work under a lease, by the real agent and real processes: it stops by itself when nobody renews it.

What was done is read from a file that the jobs write, never from what the agent believes.
"""

import dataclasses
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from kos_ray.model.ids import JobKey, SpecKey
from kos_ray.model.job import AttemptEnd, Guarantee, Spec
from kos_ray.model.protocol import LaunchOrder, Renew, Renewed
from kos_ray.worker import context
from tests.contract.harness import INCARNATION, NODE
from tests.contract.real_agent import RealAgent

LEASE_MS = 1_000


class Granting(RealAgent):
    """A scheduler that grants leases while `granting`, for so long."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.granting = True
        self.asked: list[Renew] = []

    async def renew(self, renew: Renew) -> Renewed:
        """The uplink: this object is the scheduler."""
        self.asked.append(renew)
        return Renewed(epoch=self.epoch, lease_ms=LEASE_MS if self.granting else 0)


def launch(agent: RealAgent, guarantee: Guarantee, call: Callable[..., Any] | None = None, **fields: Any) -> None:
    spec = Spec(function=cloudpickle.dumps(call) if call else b"", guarantee=guarantee, **fields)
    order = LaunchOrder(
        kind=spec.slot_kind,
        slots=1,
        keys=(JobKey(1),),
        attempts=(3,),
        ranks=(3,),
        specs=(SpecKey(1),),
        ids=("job-1",),
        args=(b"",),
    )
    agent.receive(agent.orders(new_specs=((SpecKey(1), spec),), launches=(order,)))


def writes(path: Path, go_on: Path) -> Callable[[], tuple[str, int]]:
    """A job that writes its process and the time every few milliseconds until a file is there."""

    def work() -> tuple[str, int]:
        while not go_on.exists():
            with path.open("a") as out:
                out.write(f"{os.getpid()} {time.monotonic()}\n")
            time.sleep(0.01)
        return context().token, context().fence

    return work


def written(path: Path) -> list[tuple[int, float]]:
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(int(pid), float(at)) for pid, at in lines]


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    return tmp_path / "effects"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return tmp_path / "release"


def test_it_goes_on_as_long_as_it_is_renewed_and_knows_its_token_and_fence(tmp_path, effects, release):
    async def story(agent: Granting) -> None:
        launch(agent, Guarantee.EXACTLY_ONCE, writes(effects, release))
        await agent.wait_for(lambda: len(agent.asked) >= 5, "renewals")
        release.touch()
        await agent.until_ended(1, attempt=3)
        assert agent.end_of(1, 3) is AttemptEnd.SUCCEEDED
        assert set(agent.asked) == {Renew(node=NODE, incarnation=INCARNATION)}
        (ended,) = [event for report in agent.unique_reports() for event in report.ended]
        assert b"job-1" in ended.results[0]

    Granting.run(story, tmp_path)


def test_it_is_not_entered_before_there_is_a_lease(tmp_path, effects, release):
    async def story(agent: Granting) -> None:
        agent.granting = False
        launch(agent, Guarantee.EXACTLY_ONCE, writes(effects, release))
        await agent.wait_for(lambda: len(agent.asked) >= 3, "questions for a lease")
        assert not effects.exists()
        agent.granting = True
        await agent.wait_for(effects.exists, "its entry")
        release.touch()
        await agent.until_ended(1, attempt=3)

    Granting.run(story, tmp_path)


def test_it_is_ended_when_nobody_renews_and_the_job_is_not_charged(tmp_path, effects, release):
    async def story(agent: Granting) -> None:
        launch(agent, Guarantee.EXACTLY_ONCE, writes(effects, release))
        await agent.wait_for(lambda: len(written(effects)) > 3, "its first effects")
        agent.granting = False
        refused_at = time.monotonic()
        await agent.until_ended(1, attempt=3)
        assert agent.end_of(1, 3) is AttemptEnd.LOST
        assert written(effects)[-1][1] - refused_at <= LEASE_MS / 1_000, "an effect after the lease's end"
        (ended,) = [event for report in agent.unique_reports() for event in report.ended]
        assert ended.errors[0].type == "LeaseOver"

    Granting.run(story, tmp_path)


def test_one_that_is_stopped_past_its_lease_makes_no_effect_when_it_goes_on(tmp_path, effects, release):
    """SIGSTOP: neither its code nor its threads run, and the kernel's timer ends it all the same."""

    async def story(agent: Granting) -> None:
        launch(agent, Guarantee.EXACTLY_ONCE, writes(effects, release))
        await agent.wait_for(lambda: len(written(effects)) > 3, "its first effects")
        pid = written(effects)[-1][0]
        os.kill(pid, signal.SIGSTOP)
        stopped_at = time.monotonic()
        await agent.until_ended(1, attempt=3)
        assert time.monotonic() - stopped_at >= LEASE_MS / 2_000, "it was ended by something else"
        with pytest.raises(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        assert agent.end_of(1, 3) is AttemptEnd.LOST
        assert written(effects)[-1][1] <= stopped_at + 0.1

    Granting.run(story, tmp_path)


def test_a_command_dies_with_its_slot(tmp_path, effects):
    text = f"echo $KOS_TOKEN $KOS_FENCE >> {effects}; while true; do date >> {effects}; sleep 0.02; done"

    async def story(agent: Granting) -> None:
        launch(agent, Guarantee.EXACTLY_ONCE, command=("sh", "-c", text))
        await agent.wait_for(lambda: effects.exists() and len(effects.read_text().splitlines()) > 3, "its effects")
        agent.granting = False
        await agent.until_ended(1, attempt=3)
        assert agent.end_of(1, 3) is AttemptEnd.LOST
        size = len(effects.read_text())
        await agent.settle()
        assert len(effects.read_text()) == size
        assert effects.read_text().splitlines()[0] == "job-1 3"

    Granting.run(story, tmp_path)


@pytest.mark.parametrize("guarantee", [Guarantee.AT_LEAST_ONCE, Guarantee.AT_MOST_ONCE])
def test_other_work_needs_no_lease_and_goes_on(tmp_path, effects, release, guarantee):
    async def story(agent: Granting) -> None:
        launch(agent, guarantee, writes(effects, release))
        begun = time.monotonic()
        await agent.wait_for(lambda: time.monotonic() - begun > 1.5 * LEASE_MS / 1_000, "a lease's time")
        release.touch()
        await agent.until_ended(1, attempt=3)
        assert agent.end_of(1, 3) is AttemptEnd.SUCCEEDED
        assert not agent.asked

    Granting.run(story, tmp_path)


def test_an_answer_of_a_scheduler_that_was_replaced_counts_for_nothing(tmp_path, effects, release):
    class Old(Granting):
        async def renew(self, renew: Renew) -> Renewed:
            return dataclasses.replace(await super().renew(renew), epoch=self.epoch - 1)

    async def story(agent: Granting) -> None:
        launch(agent, Guarantee.EXACTLY_ONCE, writes(effects, release))
        await agent.wait_for(lambda: len(agent.asked) >= 3, "questions for a lease")
        assert not effects.exists()

    Old.run(story, tmp_path)
