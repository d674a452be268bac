"""What the dispatch of messages to roles remembers: who has which, who declined what, and how well agents do.

Sparse: a job that is for no role, and was never declined, stands nowhere here.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kos_ray.model.decisions import Assign
from kos_ray.model.ids import JobKey
from kos_ray.model.reasons import Reason
from kos_ray.model.wire import from_plain, to_plain
from kos_ray.scheduler.jobs import ClassKey
from kos_ray.scheduler.skill import Skill


class Declined(NamedTuple):
    """Who has declined a message, in order, and whether for good; how often those who did not are asked again."""

    by: tuple[tuple[str, bool], ...] = ()
    rounds: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are not asked now, each once, in the order of names."""
        return tuple(sorted({name for name, _ in self.by}))


NOBODY_YET = Declined()


class Lead(NamedTuple):
    """Who has a role over that a hot standby took over, over whom, and how often that has happened."""

    agent: str
    over: tuple[str, ...]
    term: int


@dataclass(slots=True)
class Desk:
    """All of it. Agents are known by their keys, or by their names in the namespace of a message."""

    #: whether any message so far was for a role
    used: bool = False
    #: the choice for each live message that has one and has not come back
    chosen: dict[JobKey, Assign] = field(default_factory=dict)
    declined: dict[JobKey, Declined] = field(default_factory=dict)
    #: by agent's key and method
    skills: dict[tuple[str, str], Skill] = field(default_factory=dict)
    #: when an agent was chosen last, in choices
    turns: dict[str, int] = field(default_factory=dict)
    turn: int = 0
    #: by namespace, NUL, role
    leads: dict[str, Lead] = field(default_factory=dict)
    #: why the messages of a class wait for a choice; found anew in each step, derived
    why: dict[ClassKey, Reason] = field(default_factory=dict)


def to_snapshot(desk: Desk) -> Any:
    """Plain data."""
    return (
        [to_plain(choice) for choice in desk.chosen.values()],
        [(key, declined.by, declined.rounds) for key, declined in desk.declined.items()],
        [(*place, skill.tries, skill.good, skill.run_us) for place, skill in desk.skills.items()],
        (list(desk.turns.items()), desk.turn),
        [(place, *lead) for place, lead in desk.leads.items()],
        desk.used,
    )


def from_snapshot(plain: Any) -> Desk:
    """The inverse. Snapshots of before do not say what was `used`: the specs do, as far as they are still known."""
    chosen, declined, skills, (turns, turn), leads, *used = plain
    choices = [from_plain(Assign, choice) for choice in chosen]
    return Desk(
        used=bool(used and used[0]),
        chosen={choice.key: choice for choice in choices},
        declined={
            JobKey(key): Declined(tuple([(name, good) for name, good in by]), rounds) for key, by, rounds in declined
        },
        skills={(agent, method): Skill(tries, good, run_us) for agent, method, tries, good, run_us in skills},
        turns=dict(turns),
        turn=turn,
        leads={place: Lead(agent, tuple(over), term) for place, agent, over, term in leads},
    )
