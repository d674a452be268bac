"""Rules 8 to 10 of `kos_ray.model.protocol`: agents that people keep, and their messages, at every node agent."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kos_ray.model.job import AttemptEnd
from tests.contract.fake_agent import FakeAgent
from tests.contract.harness import AgentUnderTest, Does
from tests.contract.real_agent import RealAgent

Story = Callable[[AgentUnderTest], Awaitable[None]]

#: the carrier's key
KEEPER = 1


@pytest.fixture(params=[RealAgent.run, FakeAgent.run], ids=["real", "fake"])
def tell(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    return lambda story, **limits: request.param(story, tmp_path, **limits)


async def begun(agent: AgentUnderTest) -> None:
    agent.launch(agent.carrier(), KEEPER)
    await agent.until_ready(KEEPER)


def test_messages_run_in_the_agents_own_process(tell):
    async def story(agent: AgentUnderTest) -> None:
        await begun(agent)
        assert KEEPER in agent.reported_entered()
        agent.launch(agent.message(Does.RETURN), 2)
        agent.launch(agent.message(Does.RAISE), 3)
        await agent.until_ended(2, 3)
        assert agent.ends() == {(2, 1): AttemptEnd.SUCCEEDED, (3, 1): AttemptEnd.FAILED}
        if isinstance(agent, RealAgent):
            assert agent.starts_asked() == 1
            assert agent.pids(2) == agent.pids(3)

    tell(story)


def test_as_many_messages_run_at_once_as_there_are_lanes(tell):
    async def story(agent: AgentUnderTest) -> None:
        await begun(agent)
        message = agent.message(Does.OBEY)
        agent.launch(message, 2, 3, 4, slots=2)
        await agent.until_entered(2)
        await agent.until_entered(3)
        await agent.settle()
        assert agent.entries(4) == 0
        agent.stop(2, grace_ms=9_000)
        await agent.until_entered(4)
        agent.stop(3, 4, grace_ms=9_000)
        await agent.until_ended(2, 3, 4)
        assert set(agent.ends().values()) == {AttemptEnd.STOPPED}

    tell(story)


def test_without_the_agent_messages_go_back(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.message(Does.RETURN), 2)
        await agent.until_ended(2)
        assert agent.end_of(2) is AttemptEnd.RECALLED
        assert agent.entries(2) == 0

    tell(story)


def test_when_it_is_to_stop_its_messages_end_or_go_back(tell):
    async def story(agent: AgentUnderTest) -> None:
        await begun(agent)
        agent.launch(agent.message(Does.FINISH), 2, 3)
        await agent.until_entered(2)
        agent.stop(KEEPER, grace_ms=9_000)
        await agent.until_ended(KEEPER, 2, 3)
        expected = {(1, 1): AttemptEnd.STOPPED, (2, 1): AttemptEnd.SUCCEEDED, (3, 1): AttemptEnd.RECALLED}
        assert agent.ends() == expected
        assert agent.agents_said() == [(KEEPER, True), (KEEPER, False)]
        agent.launch(agent.message(Does.RETURN), 4)
        await agent.until_ended(4)
        assert agent.end_of(4) is AttemptEnd.RECALLED

    tell(story)


def test_when_its_process_dies_messages_are_lost_or_go_back_and_it_has_crashed(tell):
    async def story(agent: AgentUnderTest) -> None:
        await begun(agent)
        agent.launch(agent.message(Does.BLOCK), 2, 3)
        await agent.until_entered(2)
        agent.kill_slot_of(2)
        await agent.wait_for(lambda: (KEEPER, False) in agent.agents_said(), "the word that it is gone")
        await agent.until_ended(KEEPER, 2, 3)
        assert agent.end_of(KEEPER) is AttemptEnd.CRASHED
        assert agent.end_of(2) is AttemptEnd.LOST
        assert agent.end_of(3) is AttemptEnd.RECALLED

    tell(story)


def test_another_life_of_it_takes_messages_again(tell):
    async def story(agent: AgentUnderTest) -> None:
        await begun(agent)
        agent.stop(KEEPER, grace_ms=9_000)
        await agent.until_ended(KEEPER)
        agent.launch(agent.carrier(), KEEPER, attempt=2)
        await agent.wait_for(lambda: agent.agents_said().count((KEEPER, True)) == 2, "the second life")
        agent.launch(agent.message(Does.RETURN), 2)
        await agent.until_ended(2)
        assert agent.end_of(2) is AttemptEnd.SUCCEEDED

    tell(story)
