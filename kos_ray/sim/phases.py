"""Where agents stand, frame by frame: each move is one of the table in `model/agents.py`."""

from collections import Counter
from collections.abc import Callable

from kos_ray.engine.ports import Frame
from kos_ray.model.agents import LEGAL_PHASES, Phase, agent_key
from kos_ray.model.decisions import TakeOver
from kos_ray.scheduler.agents import phase
from kos_ray.scheduler.state import State


class AgentWatch:
    """Looks at every agent after each frame of a history, and at those who take roles over."""

    def __init__(self, expect: Callable[[bool, str, object], None]) -> None:
        #: how often an agent came to each phase, by its name in small letters; and what else was decided
        self.seen: Counter[str] = Counter()
        self._expect = expect
        self._before: dict[str, Phase] = {}
        #: how often each role has gone over
        self._terms: Counter[tuple[str, str]] = Counter()

    def __call__(self, state: State, frame: Frame) -> None:
        """See where they stand: each move from one frame to the next is one of the table, or two."""
        for key, standing in state.agents.by_key.items():
            now, then = phase(state, standing), self._before.get(key, Phase.REGISTERED)
            if now is not then:
                about = (standing.agent.name, then.name, now.name, frame.events, frame.decisions)
                self._expect(now in _REACHED[then], "an agent makes a move that is not in the table", about)
                self.seen[now.name.lower()] += 1
            self._before[key] = now
        for decision in frame.decisions:
            if isinstance(decision, TakeOver):
                self._taken_over(state, decision)

    def _taken_over(self, state: State, decision: TakeOver) -> None:
        """A role goes to a hot standby that has it, and each time under the next term."""
        self.seen["taken over"] += 1
        role = (decision.namespace, decision.role)
        self._terms[role] += 1
        self._expect(decision.term == self._terms[role], "a role goes over under another term", decision)
        agent = state.agents.by_key[agent_key(decision.namespace, decision.agent)].agent
        able = decision.role in agent.roles and (agent.standby == "hot" or self._terms[role] > 1)
        self._expect(able and decision.agent not in decision.over, "a role goes to somebody else", decision)


def _within(moves: int) -> dict[Phase, frozenset[Phase]]:
    found = {start: frozenset({start}) for start in Phase}
    for _ in range(moves):
        found = {start: there.union(*(LEGAL_PHASES[one] for one in there)) for start, there in found.items()}
    return found


_REACHED = _within(2)
