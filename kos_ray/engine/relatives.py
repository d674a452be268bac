"""Agents among each other: who starts before whom, who ends with whom, who has a role, and who has earned trust."""

from collections.abc import Mapping, Sequence

from kos_ray.engine.inbox import AgentWish
from kos_ray.model import events as e
from kos_ray.model.agents import Agent, AgentVerified, agent_key
from kos_ray.model.errors import Refused
from kos_ray.model.policy import Policy
from kos_ray.scheduler.state import State


def check_relatives(agent: Agent, state: State) -> None:
    """See that an agent can ever start, and that those that come of agents do not become too many.

    Raises:
        Refused: it would wait for itself, or it is one too many.

    """
    known = {one.agent.key: one.agent for one in state.agents.by_key.values()} | {agent.key: agent}
    cycle = _cycle(agent, known)
    if cycle:
        raise Refused(
            f"agent {agent.name}: expected no cycle under after, found {' -> '.join(cycle)}: none of them could start"
        )
    before = state.agents.by_key.get(agent.key)
    # one that stands there already stays, whatever the settings say since
    if agent.kind == "cascading" and not (before and _comes_of(before.agent, agent.namespace, agent.parent)):
        _check_cascade(agent, known, state.policy)


def _cycle(agent: Agent, known: Mapping[str, Agent]) -> list[str]:
    """The names on a way from an agent to itself, empty where there is none."""
    ways, seen = [[agent.name]], set[str]()
    while ways:
        way = ways.pop()
        after = known.get(agent_key(agent.namespace, way[-1]))
        for name in after.after if after is not None else ():
            if name == agent.name:
                return [*way, name]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def _check_cascade(agent: Agent, known: Mapping[str, Agent], policy: Policy) -> None:
    above, names = agent, [agent.name]
    while above.kind == "cascading":
        parent = known.get(agent_key(agent.namespace, above.parent))
        if parent is None:
            raise Refused(f"agent {above.name}: expected a parent that is registered, found {above.parent!r}")
        names.append(parent.name)
        if len(names) > policy.agent_depth_max:
            told = " <- ".join(names)
            raise Refused(
                f"agent {agent.name}: expected at most {policy.agent_depth_max} generations of agents "
                f"(max_agent_depth), found {told}"
            )
        above = parent
    siblings = [one for one in known.values() if _comes_of(one, agent.namespace, agent.parent)]
    if len(siblings) > policy.agent_children_max:
        raise Refused(
            f"agent {agent.parent}: expected at most {policy.agent_children_max} agents that come of it "
            f"(max_agent_children), found {len(siblings)} with {agent.name}: remove one"
        )


def _comes_of(agent: Agent, namespace: str, parent: str) -> bool:
    return (agent.kind, agent.namespace, agent.parent) == ("cascading", namespace, parent)


def check_parent_lives(agent: Agent, state: State) -> None:
    """See that an agent that ends with its parent begins while that lives.

    Raises:
        Refused: the parent has no life.

    """
    if agent.kind != "cascading":
        return
    parent = state.agents.by_key.get(agent_key(agent.namespace, agent.parent))
    if parent is None or not parent.job:
        raise Refused(f"agent {agent.name} ends with {agent.parent}, which has not begun: `kos agent start` that first")


def verified(wish: AgentWish, state: State, before: Sequence[e.Event]) -> tuple[list[e.Event], object]:
    """What somebody found of a result, as an event; and what the agent has earned with it."""
    earlier = {event.job for event in before if isinstance(event, AgentVerified)}
    for standing in state.agents.by_key.values():
        if wish.job in standing.handled and wish.job not in earlier:
            agent, so_far = standing.agent, standing.verified + 1 if wish.good else 0
            event = AgentVerified(request_id=wish.request_id, key=agent.key, job=wish.job, good=wish.good, by=wish.by)
            return [event], {"name": agent.name, "verified": so_far, "left": max(0, agent.verify_after - so_far)}
    return [], Refused(
        "expected a message that an agent of trust low or experimental has handled well, one of its last 1000, and "
        "that nobody has looked at yet"
    )


def leads(state: State, agent: Agent) -> dict[str, int]:
    """The roles that an agent has taken over, and how often each has gone over."""
    found = {}
    for place, lead in state.dispatch.leads.items():
        namespace, _, role = place.partition("\0")
        if (namespace, lead.agent) == (agent.namespace, agent.name):
            found[role] = lead.term
    return found
