"""Ends by want of memory, as the real agent and real processes tell them apart from other ends."""

import os
import signal

import cloudpickle
import pytest

from kos_ray.model.ids import JobKey, SpecKey
from kos_ray.model.job import AttemptEnd, MoreMemory, Spec
from kos_ray.model.protocol import LaunchOrder
from kos_ray.runtime.agent import endings
from kos_ray.worker import slot as slot_module
from tests.contract.real_agent import RealAgent


def launch(agent: RealAgent, spec: Spec) -> None:
    order = LaunchOrder(
        kind=spec.slot_kind,
        slots=1,
        keys=(JobKey(1),),
        attempts=(1,),
        ranks=(3,),
        specs=(SpecKey(1),),
        ids=("job-1",),
        args=(b"",),
    )
    agent.receive(agent.orders(new_specs=((SpecKey(1), spec),), launches=(order,)))


def end_of(tmp_path, spec: Spec) -> tuple[AttemptEnd | None, str]:
    found: list[tuple[AttemptEnd | None, str]] = []

    async def story(agent: RealAgent) -> None:
        launch(agent, spec)
        await agent.until_ended(1)
        (ended,) = [event for report in agent.unique_reports() for event in report.ended]
        found.append((agent.end_of(1), ended.errors[0].type))

    RealAgent.run(story, tmp_path)
    return found[0]


def starves() -> None:
    raise MemoryError


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("on_oom", "end"), [(MoreMemory(), AttemptEnd.OUT_OF_MEMORY), (None, AttemptEnd.FAILED)])
def test_a_memory_error_counts_where_somebody_wants_more_memory_then(tmp_path, on_oom, end):
    assert end_of(tmp_path, Spec(function=cloudpickle.dumps(starves), on_oom=on_oom)) == (end, "MemoryError")


def test_a_process_that_the_kernel_killed_for_memory(tmp_path, monkeypatch):
    """The kernel's counter, read by the agent, has gone up since the slot was started."""
    monkeypatch.setattr(endings, "oom_kills", lambda: 1 << 40)
    assert end_of(tmp_path, Spec(function=cloudpickle.dumps(dies))) == (AttemptEnd.OUT_OF_MEMORY, "OutOfMemory")


def test_a_process_that_dies_of_something_else_crashed(tmp_path):
    assert end_of(tmp_path, Spec(function=cloudpickle.dumps(dies))) == (AttemptEnd.CRASHED, "Crashed")


def test_rays_memory_monitor_says_it_by_a_name(tmp_path, monkeypatch):
    async def cause(*_: object) -> str:
        return "OutOfMemoryError: Task was killed due to the node running low on memory."

    monkeypatch.setattr(endings.Endings, "_cause", cause)
    assert end_of(tmp_path, Spec(function=cloudpickle.dumps(dies))) == (AttemptEnd.OUT_OF_MEMORY, "OutOfMemory")


def test_a_command_that_was_killed_is_told_apart_by_the_counter(tmp_path):
    killed = Spec(command=("sh", "-c", "kill -9 $$"))
    assert end_of(tmp_path, killed) == (AttemptEnd.FAILED, "CommandFailed")
    assert slot_module.oom_kills() >= 0
