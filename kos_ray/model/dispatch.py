"""Messages to whoever is able: a role or capabilities in the place of a name, and what is recorded of the choice."""

from dataclasses import dataclass

#: how a node's labels begin that name the models which are there
MODEL = "model."
#: how the name of the one who has not been chosen yet begins; no agent is called so
NOBODY = "?"
#: what stands between whom a message is for, and those that have declined it
_LESS = "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class To:
    """Who may handle a message: agents of its namespace that are and have all of this."""

    role: str = ""
    capabilities: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    #: of the models and the settings that an agent has (`Needs`), these
    models: tuple[str, ...] = ()
    config: tuple[tuple[str, str], ...] = ()
    #: roles that stand in for the first, in order
    fallback: tuple[str, ...] = ()
    #: an agent, or one that is tagged so, is preferred where it takes hardly longer
    affinity: str = ""

    @property
    def roles(self) -> tuple[str, ...]:
        """The first one, "" for any, and those that stand in for it."""
        return (self.role, *self.fallback)

    @property
    def word(self) -> str:
        """What stands for the one who has not been chosen yet: the same for all that are for the same agents."""
        pairs = ",".join(f"{name}={value}" for name, value in self.config)
        parts = (*map(",".join, (self.capabilities, self.skills, self.models)), pairs, ",".join(self.fallback))
        return NOBODY + "|".join((self.role, *parts, self.affinity))

    def __str__(self) -> str:
        said = [f"role {self.role}"] if self.role else []
        for what in ("capabilities", "skills", "models"):
            said += [f"{what} {', '.join(getattr(self, what))}"] if getattr(self, what) else []
        said += [f"config {', '.join(f'{name}={value}' for name, value in self.config)}"] if self.config else []
        return " and ".join(said)


def less(word: str, declined: tuple[str, ...]) -> str:
    """The same for those of them that have not declined."""
    return _LESS.join((word, *declined)) if declined else word


def declined_of(word: str) -> tuple[str, ...]:
    """The agents that `less` left out."""
    return tuple(word.split(_LESS)[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an agent needs before it can work, and has when it does."""

    #: a node that has them says so with the label `model.NAME`
    models: tuple[str, ...] = ()
    #: environment variables that its process must have with these values; "" for any value
    config: tuple[tuple[str, str], ...] = ()
    #: paths that must be there on its node
    files: tuple[str, ...] = ()


NEEDS_NOTHING = Needs()


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """An agent that was not chosen, and why."""

    agent: str
    reason: int
    #: when it would have been done, as far as is known; 0 where it came into no question
    delay_us: int = 0
    skill: int = 0
