"""What running attempts say and ask, through the real agent: progress, checkpoints, children, output."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from kos_ray.model.events import ProgressMade
from kos_ray.model.ids import JobKey, SpecKey
from kos_ray.model.job import AttemptEnd, Spec
from kos_ray.model.protocol import LaunchOrder
from kos_ray.worker import context
from tests.contract.real_agent import RealAgent

Story = Callable[[RealAgent], Awaitable[None]]


@pytest.fixture
def tell(tmp_path: Path) -> Callable[..., None]:
    def run(story: Story, **limits: int) -> None:
        RealAgent.run(story, tmp_path, **limits)

    return run


def launch(agent: RealAgent, call: Callable[..., Any], key: int = 1, attempt: int = 1, **more: Any) -> None:
    """Launch a job of its own spec."""
    spec = Spec(function=cloudpickle.dumps(call))
    order = LaunchOrder(
        kind=spec.slot_kind,
        slots=1,
        keys=(JobKey(key),),
        attempts=(attempt,),
        ranks=(3,),
        specs=(SpecKey(100 * key + attempt),),
        ids=(f"job-{key}",),
        args=(b"",),
        **more,
    )
    agent.receive(agent.orders(new_specs=((SpecKey(100 * key + attempt), spec),), launches=(order,)))


def progress(agent: RealAgent) -> list[ProgressMade]:
    return [said for report in agent.unique_reports() for said in report.progress]


# ---- progress


def test_progress_is_reported_while_the_attempt_runs(tell, tmp_path):
    go = tmp_path / "go"

    async def story(agent: RealAgent) -> None:
        def work() -> None:
            context().progress(0.5, "half")
            while not go.exists():
                time.sleep(0.01)

        launch(agent, work)
        await agent.wait_for(lambda: progress(agent) != [], "its progress")
        (said,) = progress(agent)
        assert (said.node, said.keys, said.attempts, said.shares, said.texts) == ("n1", (1,), (1,), (5_000,), ("half",))
        assert agent.end_of(1) is None
        go.touch()
        await agent.until_ended(1)
        assert agent.end_of(1) is AttemptEnd.SUCCEEDED

    tell(story)


def test_much_progress_is_few_reports_and_the_last_word_is_there_with_the_end(tell):
    async def story(agent: RealAgent) -> None:
        def work() -> None:
            for step in range(50_000):
                context().progress(step / 50_000, f"step {step}")
            raise ValueError("no")

        launch(agent, work)
        await agent.until_ended(1)
        said = progress(agent)
        assert said[-1].texts == ("step 49999",)
        assert len(said) <= 3, "the first word, and the last one; one more for a slow machine"
        (report,) = [report for report in agent.unique_reports() if report.ended]
        assert report.progress, "the last word comes with the end, before it"
        assert [type(event).__name__ for event in report.events][-2:] == ["ProgressMade", "AttemptsEnded"]

    tell(story, progress_ms=20_000)


def test_while_the_scheduler_is_away_only_the_newest_progress_is_kept(tell, tmp_path):
    go = tmp_path / "go"

    async def story(agent: RealAgent) -> None:
        def work() -> None:
            step = 0
            while not go.exists():
                step += 1
                context().progress(0.5, f"step {step}")
                time.sleep(0.005)
            context().progress(1, "done")

        agent.reachable = False
        launch(agent, work)
        await agent.settle()
        go.touch()
        await agent.settle()
        agent.reachable = True
        await agent.until_ended(1)
        said = [text for event in progress(agent) for text in event.texts]
        assert said[-1] == "done"
        assert len(said) <= 3, said

    tell(story, progress_ms=10)


def test_progress_that_is_none_ends_the_attempt_with_a_clear_error(tell):
    async def story(agent: RealAgent) -> None:
        launch(agent, lambda: context().progress(40))
        await agent.until_ended(1)
        (error,) = agent.unique_reports()[-1].ended[0].errors
        assert "expected a fraction from 0 to 1, found 40" in error.message

    tell(story)
