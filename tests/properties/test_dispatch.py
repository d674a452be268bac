"""Messages for roles: every one ends with its reasons, and the work is spread evenly over equals."""

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.model.agents import Phase
from kos_ray.model.dispatch import To
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd, JobState
from kos_ray.model.reasons import Reason
from tests.properties.crews import Crews, crew_agent

_DECLINES = ((AttemptEnd.DECLINED, -1), (AttemptEnd.DECLINED, 1_000))


def _jain(counts: list[int]) -> float:
    """Jain's index: 1 where all have the same, 1/n where one of n has all."""
    return sum(counts) ** 2 / (len(counts) * sum(count**2 for count in counts))


def test_of_a_thousand_of_which_a_third_is_declined_all_end_with_their_reasons_and_equals_share_them() -> None:
    crews = Crews(*(crew_agent(f"a{number}") for number in range(6)), every=100)
    draw = random.Random(17)
    declined: dict[JobKey, list[str]] = {}
    handled: Counter[str] = Counter()

    def judge(key: JobKey, agent: str) -> tuple[AttemptEnd, int]:
        if draw.random() < 0.3:
            declined.setdefault(key, []).append(agent)
            return draw.choice(_DECLINES)
        handled[agent] += 1
        return AttemptEnd.SUCCEEDED, 0

    for _ in range(20):
        crews.send(50)
    crews.run(judge)
    over = {key: finish for key, finish in crews.finished.items() if key in crews.choices}
    assert len(over) == 1_000
    assert {finish.reason for finish in over.values()} <= {Reason.SUCCEEDED, Reason.ALL_DECLINED}
    for key, finish in over.items():
        chosen = [choice for choice in crews.choices[key] if choice.agent]
        assert len(chosen) == len(declined.get(key, ())) + (finish.state == JobState.SUCCEEDED)
        assert all(choice.reason for choice in chosen)
    assert sum(map(len, declined.values())) > 300
    assert _jain(list(handled.values())) >= 0.95
    assert not crews.state.dispatch.chosen
    assert not crews.state.dispatch.declined


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 3))
def test_nobody_gets_what_it_declined_for_good_and_roles_that_stand_in_come_last(
    seed: int, writers: int, helpers: int
) -> None:
    agents = [crew_agent(f"w{number}") for number in range(writers)]
    agents += [crew_agent(f"h{number}", roles=("helper",)) for number in range(helpers)]
    crews = Crews(*agents, every=20)
    draw = random.Random(seed)
    gone: dict[JobKey, set[str]] = {}
    asked: dict[JobKey, set[str]] = {}

    def judge(key: JobKey, agent: str) -> tuple[AttemptEnd, int]:
        for_good, lately = gone.setdefault(key, set()), asked.setdefault(key, set())
        assert agent not in for_good
        if agent in lately:  # all have declined, and those that may are asked again
            assert {one.name for one in agents} == lately | for_good
            lately.clear()
        if agent.startswith("h"):
            assert {one.name for one in agents if one.roles == ("writer",)} <= lately | for_good
        lately.add(agent)
        if draw.random() < 0.4:
            return AttemptEnd.SUCCEEDED, 0
        end, again_ms = draw.choice(_DECLINES)
        if again_ms < 0:
            for_good.add(agent)
        return end, again_ms

    keys = crews.send(20, to=To(role="writer", fallback=("helper",)))
    crews.run(judge)
    assert crews.finished.keys() >= set(keys)
    for key in keys:
        if crews.finished[JobKey(key)].reason == Reason.ALL_DECLINED:
            assert {one.name for one in agents} == asked[JobKey(key)] | gone[JobKey(key)]
    assert all(
        choice.reason == Reason.STANDS_BY for key in keys for choice in crews.choices[JobKey(key)] if choice.stage
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_agents_come_and_go_and_every_message_ends(seed: int) -> None:
    """Deaths, sleep, lives that messages begin, messages for names and for roles; all folded, and from snapshots."""
    draw = random.Random(seed)
    agents = [
        crew_agent("first"),
        crew_agent("hot", standby="hot"),
        crew_agent("dozes", idle_sleep_ms=5_000, concurrency=2),
        crew_agent("later", kind="on_demand", idle_sleep_ms=5_000),
        crew_agent("once", kind="ephemeral"),
        crew_agent("cold", standby="cold", idle_sleep_ms=5_000, roles=("helper",)),
    ]
    crews = Crews(*agents, every=5)
    keys: list[JobKey] = []
    for _ in range(60):
        chance = draw.random()
        if chance < 0.3:
            keys += crews.send(draw.randint(1, 4), to=To(role="writer", fallback=("helper",)), band=draw.randint(0, 5))
        elif chance < 0.4:
            keys += crews.send(receiver=draw.choice(agents).name)
        elif chance < 0.5 and (up := [one.name for one in agents if crews.phase(one.name) is Phase.RUNNING]):
            crews.dies(draw.choice(up))
        elif chance < 0.6:
            crews.wait(draw.choice((0.1, 3, 6)))
        elif running := crews.enter():
            crews.end(draw.choice(running), *draw.choices((AttemptEnd.SUCCEEDED, AttemptEnd.DECLINED), (4, 1)))
        crews.carry_on()
    crews.settle()
    assert crews.finished.keys() >= set(keys)
    assert {crews.finished[key].reason for key in keys} <= {Reason.SUCCEEDED, Reason.ALL_DECLINED}
