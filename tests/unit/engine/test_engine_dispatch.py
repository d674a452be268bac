"""Agents among each other in the engine: lives that messages begin, orders of start, cascades, trust."""

from dataclasses import replace
from typing import Any

from engine_build import NODE, array
from test_engine_agents import CARRIER, Keeper

from kos_ray.engine.agents import plain_agents
from kos_ray.engine.inbox import AgentWish, SettingsWish
from kos_ray.journal.verify import verify
from kos_ray.model.agents import Agent, AgentsSaid, Phase
from kos_ray.model.dispatch import To
from kos_ray.model.errors import Refused
from kos_ray.model.events import AttemptsEntered
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd, Carries, JobState, Spec
from kos_ray.model.policy import Policy
from kos_ray.scheduler.agents import phase
from kos_ray.spec.policies import parse_words

MESSAGE = Spec(entry="add", to=To(role="counts"), type="counts.add")


def agent(name: str, **fields: Any) -> Agent:
    spec = replace(CARRIER, carries=Carries(name=name), resources=CARRIER.resources)
    return Agent(name=name, spec=spec, methods=("add",), **({"roles": ("counts",)} | fields))


def child(name: str, parent: str) -> Agent:
    return agent(name, kind="cascading", parent=parent)


class Office(Keeper):
    """Hands with several agents on one node."""

    def register(self, one: Agent, verb: str = "register") -> Any:
        wish = AgentWish(f"w{len(self.answers)}", verb, one.key, one)
        self.engine.wish(wish, self.answers.append)
        self.tick()
        return self.answers[-1]

    def phase_of(self, name: str) -> Phase:
        state = self.engine.state
        return phase(state, state.agents.by_key[f"default\0{name}"])

    def job_of(self, name: str) -> Any:
        return self.engine.state.jobs[self.engine.state.agents.by_key[f"default\0{name}"].job]

    def up(self, name: str) -> None:
        """Its carrier is entered, and takes messages."""
        job = self.job_of(name)
        said = {"node": NODE.id, "keys": (job.key,), "attempts": (job.attempt,)}
        self.engine.post(AttemptsEntered(**said, entered_us=(1,)))
        self.engine.post(AgentsSaid(**said, ready=(True,)))
        self.tick()

    def ask(self, number: int, **fields: Any) -> JobKey:
        spec = replace(MESSAGE, **fields)
        return JobKey(self.submit(array(f"m{number}", spec=spec), request=f"m{number}", spec=spec).first)


def test_the_first_message_begins_a_life_in_the_next_frame_and_once() -> None:
    hands = Office()
    assert hands.register(agent("later", kind="on_demand", idle_sleep_ms=60_000), "start")["job"] == 0
    assert hands.phase_of("later") is Phase.REGISTERED
    hands.ask(1)
    hands.ask(2)
    assert hands.engine.next_due_us() is not None
    hands.tick()
    assert hands.phase_of("later") is Phase.STARTING
    assert len(hands.engine.state.agents.of_job) == 1
    assert verify(hands.journal).differences == ()


def test_who_was_stopped_is_not_begun_by_messages() -> None:
    hands = Office()
    hands.register(agent("later", kind="on_demand", idle_sleep_ms=60_000))
    hands.engine.wish(AgentWish("stop", "stop", "default\0later"), hands.answers.append)
    hands.tick()
    key = hands.ask(1)
    hands.tick()
    assert hands.phase_of("later") is Phase.REGISTERED
    assert hands.engine.why(key).name == "ABLE_AWAY"


def test_a_cycle_of_starts_is_refused_and_named() -> None:
    hands = Office()
    hands.register(agent("a", after=("b",)))
    hands.register(agent("b", after=("c",)))
    refused = hands.register(agent("c", after=("a",)))
    assert isinstance(refused, Refused)
    assert "c -> a -> b -> c" in str(refused)


def test_cascades_have_an_end() -> None:
    hands = Office()
    hands.register(agent("g0"))
    for number in range(1, Policy().agent_depth_max):
        assert not isinstance(hands.register(child(f"g{number}", f"g{number - 1}")), Refused)
    assert "at most 8 generations" in str(hands.register(child("deep", "g7")))
    for number in range(Policy().agent_children_max - 1):
        assert not isinstance(hands.register(child(f"s{number}", "g0")), Refused)
    assert "at most 32 agents" in str(hands.register(child("wide", "g0")))
    assert "a parent that is registered" in str(hands.register(agent("lost", kind="cascading", parent="nobody")))
    assert "kos agent start" in str(hands.register(agent("early", kind="cascading", parent="g1"), "start"))


def test_cascades_end_where_the_settings_say() -> None:
    hands = Office()

    def set_(*words: str) -> None:
        hands.engine.wish(SettingsWish(words[0], parse_words([*words])), hands.answers.append)
        hands.tick()

    set_("max_agent_depth=2", "max_agent_children=1")
    hands.register(agent("g0"))
    assert not isinstance(hands.register(child("g1", "g0")), Refused)
    assert "at most 2 generations of agents (max_agent_depth), found g2 <- g1 <- g0" in str(
        hands.register(child("g2", "g1"))
    )
    wide = "agent g0: expected at most 1 agents that come of it (max_agent_children), found 2 with s1: remove one"
    assert wide in str(hands.register(child("s1", "g0")))
    set_("max_agent_depth=3", "max_agent_children=2")  # from the next registration on
    for one in (child("g2", "g1"), child("s1", "g0")):
        assert not isinstance(hands.register(one), Refused)
    assert "at most 3 generations" in str(hands.register(child("g3", "g2")))
    assert "at most 2 agents" in str(hands.register(child("s2", "g0")))
    set_("max_agent_depth=1", "max_agent_children=0")
    there = AgentWish("again", "register", "default\0g2", replace(child("g2", "g1"), skills=("new",)), replace=True)
    hands.engine.wish(there, hands.answers.append)
    hands.tick()
    assert not isinstance(hands.answers[-1], Refused), "who is there stays, and can be changed"
    assert "at most 1 generations" in str(hands.register(child("s2", "g0")))
    assert verify(hands.journal).differences == ()


def test_what_an_agent_has_earned_is_shown_and_refused_twice() -> None:
    hands = Office()
    hands.register(agent("new", trust="low", verify_after=1), "start")
    hands.up("new")
    key = hands.ask(1)
    job = hands.engine.state.jobs[key]
    assert job.state is JobState.LAUNCHED
    hands.end(AttemptEnd.SUCCEEDED, job)
    verdict = AgentWish("v1", "verify", "", job=key, good=True)
    for _ in range(2):
        hands.engine.wish(verdict, hands.answers.append)
        hands.tick()
    assert hands.answers[-2] == {"name": "new", "verified": 1, "left": 0}
    assert isinstance(hands.answers[-1], Refused)
    (one,) = plain_agents(hands.engine.state)
    assert (one["trust"], one["trusted"], one["verified"], one["leads"]) == ("low", True, 1, {})


def test_a_decline_is_in_the_rows_and_charges_nothing() -> None:
    hands = Office()
    for name in ("a", "b"):
        hands.register(agent(name), "start")
        hands.up(name)
    key = hands.ask(1)
    job = hands.engine.state.jobs[key]
    first = job.kind.receiver
    hands.end(AttemptEnd.DECLINED, job)
    job = hands.engine.state.jobs[key]
    assert (job.kind.receiver, job.attempt, job.failures) == ("b" if first == "a" else "a", 2, 0)
    hands.end(AttemptEnd.SUCCEEDED, job)
    assert key not in hands.engine.state.jobs
    assert verify(hands.journal).differences == ()
