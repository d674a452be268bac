"""The seven rules of `kos_ray.model.protocol`, kept by every node agent."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kos_ray.model.job import AttemptEnd
from kos_ray.model.protocol import PROTOCOL
from tests.contract.fake_agent import FakeAgent
from tests.contract.harness import INCARNATION, NODE, AgentUnderTest, Does
from tests.contract.real_agent import RealAgent

Story = Callable[[AgentUnderTest], Awaitable[None]]

#: every implementation: runs a story with a fresh agent that has been greeted as epoch 1, session 0; `admission_ms`
#: may be given
IMPLEMENTATIONS = [RealAgent.run, FakeAgent.run]


@pytest.fixture(params=IMPLEMENTATIONS, ids=["real", "fake"])
def tell(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    return lambda story, **limits: request.param(story, tmp_path, **limits)


# ---- rule 1


def test_orders_of_an_epoch_below_the_highest_are_refused(tell):
    async def story(agent: AgentUnderTest) -> None:
        spec = agent.spec(Does.RETURN)
        stale = agent.order(spec, 1)
        agent.greet(epoch=2)
        agent.receive(stale)
        agent.launch(spec, 2)
        await agent.until_ended(2)
        await agent.settle()
        assert agent.ends() == {(2, 1): AttemptEnd.SUCCEEDED}
        assert agent.entries(1) == 0

    tell(story)


def test_orders_teach_the_epoch_as_greetings_do(tell):
    async def story(agent: AgentUnderTest) -> None:
        spec = agent.spec(Does.RETURN)
        stale = agent.order(spec, 1)
        agent.epoch = 5
        agent.launch(spec, 2)
        agent.receive(stale)
        await agent.until_ended(2)
        await agent.settle()
        assert (1, 1) not in agent.ends()
        assert agent.greet(epoch=4).refused

    tell(story)


def test_orders_of_the_session_before_the_last_greeting_are_refused(tell):
    async def story(agent: AgentUnderTest) -> None:
        spec = agent.spec(Does.RETURN)
        late = agent.order(spec, 1)
        agent.greet(session=1)
        agent.receive(late)
        agent.launch(spec, 2)
        await agent.until_ended(2)
        await agent.settle()
        assert agent.entries(1) == 0

    tell(story)


def test_greetings_and_orders_of_another_cluster_are_refused(tell):
    async def story(agent: AgentUnderTest) -> None:
        holding = agent.greet(cluster="another", epoch=9)
        assert "cluster" in holding.refused
        assert holding.cluster_id == agent.order(agent.spec(Does.RETURN), 1).cluster_id
        orders = agent.order(agent.spec(Does.RETURN), 1)
        agent.receive(type(orders)(cluster_id="another", epoch=9, new_specs=orders.new_specs, launches=orders.launches))
        await agent.settle()
        assert agent.entries(1) == 0
        assert not agent.greet().refused

    tell(story)


@pytest.mark.parametrize("protocol", [PROTOCOL - 1, PROTOCOL + 1])
def test_a_scheduler_of_the_version_before_or_after_is_served(tell, protocol):
    async def story(agent: AgentUnderTest) -> None:
        assert not agent.greet(session=1, protocol=protocol).refused
        agent.launch(agent.spec(Does.RETURN), 1)
        await agent.until_ended(1)
        assert agent.end_of(1) is AttemptEnd.SUCCEEDED

    tell(story)


@pytest.mark.parametrize("protocol", [PROTOCOL - 2, PROTOCOL + 2])
def test_other_protocols_are_refused_and_both_are_named(tell, protocol):
    async def story(agent: AgentUnderTest) -> None:
        refused = agent.greet(session=1, protocol=protocol).refused
        assert f"(kos_ray test) speaks protocol {protocol}, this agent" in refused
        assert f"understands {PROTOCOL - 1} to {PROTOCOL + 1}" in refused
        agent.launch(agent.spec(Does.RETURN), 1)
        await agent.until_ended(1)

    tell(story)


# ---- rule 2


def test_an_attempt_launched_again_runs_once(tell):
    async def story(agent: AgentUnderTest) -> None:
        spec = agent.spec(Does.RETURN)
        agent.launch(spec, 1, 1, 2)
        agent.launch(spec, 1)
        await agent.until_ended(1, 2)
        agent.launch(spec, 1)
        agent.launch(spec, 3)
        await agent.until_ended(3)
        assert agent.entries(1) == 1

    tell(story)


def test_a_higher_attempt_of_a_job_runs(tell):
    async def story(agent: AgentUnderTest) -> None:
        spec = agent.spec(Does.RETURN)
        agent.launch(spec, 1)
        await agent.until_ended(1)
        agent.launch(spec, 1, attempt=2)
        await agent.until_ended(1, attempt=2)
        agent.launch(spec, 1, attempt=1)
        await agent.settle()
        assert agent.entries(1) == 2

    tell(story)


def test_a_long_attempt_is_reported_as_entered_and_a_short_one_is_not(tell):
    async def story(agent: AgentUnderTest) -> None:
        spec = agent.spec(Does.RETURN)
        agent.launch(spec, 1)
        await agent.until_ended(1)
        agent.launch(spec, 2)
        await agent.until_ended(2)
        agent.launch(agent.spec(Does.BLOCK), 3)
        await agent.wait_for(lambda: 3 in agent.reported_entered(), "the report of an entry")
        assert 2 not in agent.reported_entered()

    tell(story)


def test_the_queue_is_in_the_order_of_ranks_then_keys(tell):
    async def story(agent: AgentUnderTest) -> None:
        spec = agent.spec(Does.RETURN)
        agent.launch(agent.spec(Does.OBEY), 1)
        await agent.until_entered(1)
        agent.launch(spec, 12, 11, 10, ranks=(5, 1, 5))
        agent.launch(spec, 13, 14, ranks=(0, 1))
        agent.stop(1, grace_ms=20_000)
        await agent.until_ended(1, 10, 11, 12, 13, 14)
        order = [key for report in agent.unique_reports() for ended in report.ended for key in ended.keys]
        assert order == [1, 13, 11, 14, 10, 12]

    tell(story)


def test_user_code_that_raises_fails_with_its_error(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(Does.RAISE), 1)
        await agent.until_ended(1)
        (ended,) = [ended for report in agent.unique_reports() for ended in report.ended]
        assert AttemptEnd(ended.ends[0]) is AttemptEnd.FAILED
        assert (ended.errors[0].type, ended.errors[0].message) == ("ValueError", "no")

    tell(story)


def test_greetings_in_between_lose_nothing_and_double_nothing(tell):
    # A greeting takes back what has not been entered, at the same time as the slots receive it.
    async def story(agent: AgentUnderTest) -> None:
        keys = range(1, 2001)
        agent.launch(agent.spec(Does.RETURN), *keys, slots=2)
        session = 0
        while len(agent.ends()) < len(keys):
            seen = len(agent.ends())
            for _ in range(5):
                session += 1
                agent.greet(session=session)
            await agent.wait_for(lambda seen=seen: len(agent.ends()) > seen, "another end")
        assert set(agent.ends().values()) == {AttemptEnd.SUCCEEDED}
        assert {agent.entries(key) for key in keys} == {1}

    tell(story)


# ---- rule 3


def test_a_recall_takes_back_what_waits_while_user_code_blocks(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(Does.BLOCK), 1, 2, 3)
        await agent.until_entered(1)
        agent.recall(2, 3)
        await agent.until_ended(2, 3)
        assert {agent.end_of(2), agent.end_of(3)} == {AttemptEnd.RECALLED}
        assert agent.end_of(1) is None

    tell(story)


def test_a_recall_is_exact_when_attempts_are_handed_ahead(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(Does.RETURN), *range(1, 101))
        await agent.until_ended(*range(1, 101))
        keys = range(1000, 1300)
        agent.launch(agent.spec(Does.RETURN), *keys)
        agent.recall(*keys)
        await agent.until_ended(*keys)
        for key in keys:
            entered = agent.end_of(key) is AttemptEnd.SUCCEEDED
            assert agent.entries(key) == entered
            assert entered or agent.end_of(key) is AttemptEnd.RECALLED

    tell(story)


def test_a_recall_reaches_what_a_slot_has_ahead_of_it(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(Does.RETURN), *range(1, 101))
        await agent.until_ended(*range(1, 101))
        behind = range(1001, 1011)
        agent.launch(agent.spec(Does.BLOCK), 1000, ranks=(0,))
        agent.launch(agent.spec(Does.RETURN), *behind)
        agent.recall(*behind)
        await agent.until_ended(*behind)
        assert {agent.end_of(key) for key in behind} == {AttemptEnd.RECALLED}
        assert not any(agent.entries(key) for key in behind)

    tell(story)


def test_a_recall_of_an_entered_attempt_is_too_late(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(Does.OBEY), 1)
        await agent.until_entered(1)
        agent.recall(1)
        agent.recall(99)
        await agent.settle()
        assert agent.ends() == {}
        assert agent.greet(session=1).entered == (1,)

    tell(story)


# ---- rule 4


def test_a_stop_of_a_queued_attempt_recalls_it(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(Does.BLOCK), 1, 2)
        await agent.until_entered(1)
        agent.stop(2, grace_ms=20_000)
        await agent.until_ended(2)
        assert agent.end_of(2) is AttemptEnd.RECALLED
        assert agent.entries(2) == 0

    tell(story)


def test_a_stop_is_obeyed_by_code_that_looks(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(Does.OBEY), 1)
        await agent.until_entered(1)
        agent.stop(1, grace_ms=20_000)
        await agent.until_ended(1)
        assert agent.end_of(1) is AttemptEnd.STOPPED
        agent.launch(agent.spec(Does.RETURN), 2)
        await agent.until_ended(2)
        first, second = agent.reported_pids()
        assert first == second, "it was killed"

    tell(story)


def test_code_that_returns_within_its_grace_without_looking_has_not_been_stopped(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(Does.FINISH), 1)
        await agent.until_entered(1)
        agent.stop(1, grace_ms=20_000)
        await agent.until_ended(1)
        assert agent.end_of(1) is AttemptEnd.SUCCEEDED

    tell(story)


def test_a_stop_kills_code_that_does_not_look_and_others_run(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(Does.BLOCK), 1)
        agent.launch(agent.spec(Does.RETURN), 2)
        await agent.until_entered(1)
        agent.stop(1, grace_ms=50)
        await agent.until_ended(1, 2)
        assert agent.ends() == {(1, 1): AttemptEnd.STOPPED, (2, 1): AttemptEnd.SUCCEEDED}

    tell(story)


def test_a_stop_without_grace_kills(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(Does.OBEY), 1)
        await agent.until_entered(1)
        agent.stop(1, grace_ms=0)
        await agent.until_ended(1)
        assert agent.end_of(1) is AttemptEnd.STOPPED

    tell(story)


@pytest.mark.parametrize("does", [Does.BLOCK, Does.OBEY])
def test_an_attempt_over_its_timeout_ends(tell, does):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(does, timeout_ms=100), 1)
        agent.launch(agent.spec(Does.RETURN), 2)
        await agent.until_ended(1, 2)
        assert agent.ends() == {(1, 1): AttemptEnd.TIMED_OUT, (2, 1): AttemptEnd.SUCCEEDED}

    tell(story)


# ---- rule 5


def test_when_a_slot_dies_only_the_entered_attempt_ends(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(Does.BLOCK), 1)
        agent.launch(agent.spec(Does.RETURN), 2, 3, 4)
        await agent.until_entered(1)
        agent.kill_slot_of(1)
        await agent.until_ended(1, 2, 3, 4)
        assert agent.end_of(1) is AttemptEnd.CRASHED
        assert {agent.end_of(key) for key in (2, 3, 4)} == {AttemptEnd.SUCCEEDED}
        assert agent.entries(1) == 1

    tell(story)


def test_attempts_handed_to_a_slot_that_dies_run_elsewhere(tell):
    async def story(agent: AgentUnderTest) -> None:
        quick = agent.spec(Does.RETURN)
        agent.launch(quick, *range(1, 101))
        await agent.until_ended(*range(1, 101))
        later = range(1001, 1051)
        agent.launch(agent.spec(Does.DIE), 1000)
        agent.launch(quick, *later)
        await agent.until_ended(1000, *later)
        assert agent.end_of(1000) is AttemptEnd.CRASHED
        for key in later:
            assert agent.end_of(key) is AttemptEnd.SUCCEEDED
            assert agent.entries(key) == 1

    tell(story)


def test_what_stands_behind_a_long_attempt_runs_in_another_slot(tell):
    async def story(agent: AgentUnderTest) -> None:
        quick = agent.spec(Does.RETURN)
        agent.launch(quick, *range(1, 101), slots=2)
        await agent.until_ended(*range(1, 101))
        agent.launch(agent.spec(Does.BLOCK), 1000, slots=2, ranks=(0,))
        later = range(1001, 1041)
        agent.launch(quick, *later, slots=2)
        await agent.until_ended(*later)
        assert agent.end_of(1000) is None

    tell(story)


def test_a_single_use_slot_runs_one_attempt(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(Does.RETURN, single_use=True), 1, 2, 3)
        await agent.until_ended(1, 2, 3)
        assert len(set(agent.reported_pids())) == 3

    tell(story)


# ---- rule 6


def test_attempts_whose_first_slot_is_not_admitted_end(tell):
    async def story(agent: AgentUnderTest) -> None:
        spec = agent.spec(Does.RETURN)
        agent.hold_back_slots(True)
        agent.launch(spec, 1, 2)
        await agent.until_ended(1, 2)
        assert set(agent.ends().values()) == {AttemptEnd.NOT_ADMITTED}
        agent.hold_back_slots(False)
        agent.launch(spec, 1, attempt=2)
        await agent.until_ended(1, attempt=2)
        assert agent.end_of(1, 2) is AttemptEnd.SUCCEEDED
        assert agent.entries(1) == 1

    tell(story, admission_ms=3_000)


def test_a_slot_too_few_does_not_end_attempts(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(Does.OBEY), 1)
        await agent.until_entered(1)
        agent.hold_back_slots(True)
        agent.launch(agent.spec(Does.BLOCK), 2, 3, slots=3)
        await agent.wait_for(lambda: agent.starts_asked() > 3, "the starts to be withdrawn and asked for again")
        agent.stop(1, grace_ms=20_000)
        await agent.until_entered(2)
        await agent.until_ended(1)
        assert agent.ends() == {(1, 1): AttemptEnd.STOPPED}

    tell(story, admission_ms=3_000)


def test_a_kind_without_slots_keeps_nobody_waiting_for_ever(tell):
    async def story(agent: AgentUnderTest) -> None:
        spec = agent.spec(Does.RETURN)
        agent.launch(spec, 1, slots=0)
        await agent.until_ended(1)
        assert agent.end_of(1) is AttemptEnd.NOT_ADMITTED

    tell(story, admission_ms=3_000)


def test_fewer_slots_let_the_running_attempt_end(tell):
    async def story(agent: AgentUnderTest) -> None:
        spec = agent.spec(Does.OBEY)
        agent.launch(spec, 1)
        await agent.until_entered(1)
        agent.resize(spec.slot_kind, 0)
        await agent.settle()
        assert agent.ends() == {}
        agent.stop(1, grace_ms=20_000)
        await agent.until_ended(1)
        agent.launch(spec, 2)
        await agent.until_entered(2)

    tell(story)


def test_complete_resizes_close_what_they_do_not_name(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.launch(agent.spec(Does.RETURN), 1)
        await agent.until_ended(1)
        agent.receive(agent.orders(complete=True))
        agent.launch(agent.spec(Does.RETURN), 2)
        await agent.until_ended(2)
        first, second = agent.reported_pids()
        assert first != second

    tell(story)


# ---- rule 7


def test_reports_are_sent_again_until_acknowledged_with_the_same_number(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.acknowledging = False
        spec = agent.spec(Does.RETURN)
        agent.launch(spec, 1)
        await agent.wait_for(lambda: len(agent.delivered) >= 3, "the report to be sent again")
        assert {report.number for report in agent.delivered} == {1}
        agent.launch(spec, 2)
        await agent.until_entered(2)
        agent.acknowledging = True
        await agent.until_ended(1, 2)
        numbers = [report.number for report in agent.delivered]
        assert numbers == sorted(numbers)
        assert set(numbers) == set(range(1, max(numbers) + 1))
        assert {(r.node, r.incarnation) for r in agent.delivered} == {(NODE, INCARNATION)}

    tell(story)


def test_what_ended_while_the_scheduler_was_away_is_in_the_answer_to_its_greeting(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.reachable = False
        agent.launch(agent.spec(Does.RETURN), 1, 2)
        agent.launch(agent.spec(Does.BLOCK), 3, 4)
        await agent.until_entered(3)
        await agent.settle()
        holding = agent.greet(epoch=2)
        assert (holding.node, holding.incarnation, holding.refused) == (NODE, INCARNATION, "")
        assert sorted(key for report in holding.reports for ended in report.ended for key in ended.keys) == [1, 2]
        assert (holding.entered, holding.entered_attempts) == ((3,), (1,))
        assert (holding.queued, holding.queued_attempts) == ((4,), (1,))
        assert [report.number for report in holding.reports] == list(range(1, len(holding.reports) + 1))
        agent.reachable = True
        await agent.until_ended(1, 2)

    tell(story)


def test_an_acknowledgement_in_orders_counts(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.acknowledging = False
        agent.launch(agent.spec(Does.RETURN), 1)
        await agent.wait_for(lambda: agent.delivered != [], "a report")
        await agent.settle()
        last = agent.greet(session=1).reports[-1]
        assert [ended.keys for ended in last.ended] == [(1,)]
        agent.receive(agent.orders(acked=last.number))
        assert agent.greet(session=2).reports == ()

    tell(story)


def test_an_old_schedulers_acknowledgement_does_not_count(tell):
    async def story(agent: AgentUnderTest) -> None:
        agent.greet(epoch=2)
        agent.epoch = 1
        spec = agent.spec(Does.RETURN)
        agent.epoch = 2
        order = agent.order(spec, 1)
        agent.epoch = 1
        agent.receive(order)
        await agent.wait_for(lambda: len(agent.delivered) >= 2, "the report to be sent again")
        assert agent.greet(epoch=2, session=1).reports != ()

    tell(story)


# ---- all rules together


@pytest.mark.parametrize("seed", range(2))
def test_every_attempt_ends_once_and_as_its_traces_tell(tell, seed):
    async def story(agent: AgentUnderTest) -> None:
        chance = random.Random(seed)
        spec = agent.spec(Does.RETURN)
        keys: list[int] = []
        for step in range(1, 121):
            launch_some(agent, chance, step, keys)
            disturb(agent, chance, step, keys)
            await agent.breathe()
        agent.reachable = True
        agent.resize(spec.slot_kind, 3)
        agent.stop(*keys, grace_ms=100)
        await agent.until_ended(*keys)
        ends = agent.ends()
        for key in keys:
            end = ends[key, 1]
            assert agent.entries(key) <= 1
            assert end is not AttemptEnd.RECALLED or agent.entries(key) == 0
            assert end is not AttemptEnd.SUCCEEDED or agent.entries(key) == 1
        assert set(ends.values()) >= {AttemptEnd.SUCCEEDED, AttemptEnd.RECALLED, AttemptEnd.STOPPED}

    tell(story)


def launch_some(agent: AgentUnderTest, chance: random.Random, step: int, keys: list[int]) -> None:
    """A batch of short jobs, and now and then one that runs until it is stopped, some steps later."""
    fresh = range(step * 1000, step * 1000 + chance.randrange(1, 60))
    agent.launch(agent.spec(Does.RETURN), *fresh, slots=chance.randrange(1, 4))
    keys += fresh
    if chance.random() < 0.2:
        agent.launch(agent.spec(Does.OBEY), step, slots=3)
        keys.append(step)
    if step % 10 == 0:
        agent.stop(*range(step), grace_ms=500)


def disturb(agent: AgentUnderTest, chance: random.Random, step: int, keys: list[int]) -> None:
    """Recalls and stops, greetings, a scheduler that is away, killed processes."""
    some = chance.sample(keys, min(len(keys), 30))
    kind = chance.random()
    if kind < 0.25:
        agent.recall(*some)
    elif kind < 0.5:
        agent.stop(*some, grace_ms=chance.choice([0, 20, 500]))
    elif kind < 0.6:
        agent.greet(session=step)
    agent.reachable = chance.random() < 0.8
    entered = [key for key in keys[-100:] if agent.entries(key)] if chance.random() < 0.08 else []
    if entered:
        agent.kill_slot_of(chance.choice(entered))
