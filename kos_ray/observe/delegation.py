"""Who had a message, who declined it and why, and to whom its work was delegated: a tree, as data and as text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kos_ray.model.views import JobView, StoryLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One agent that had a message: why that one, why not others, and what it made of it (its attempt's end)."""

    agent: str
    reason: str
    others: str = ""
    outcome: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegated:
    """A job, the agents that had it in order, and what was delegated while it ran."""

    job: str
    label: str
    state: str
    steps: tuple[Step, ...] = ()
    children: "tuple[Delegated, ...]" = ()


def delegation(
    view: JobView, children: Mapping[str, Sequence[JobView]], story: Callable[[JobView], Sequence[StoryLine]]
) -> Delegated:
    """The tree of a job; `children` by the public id of whoever submitted them, `story` as of `journal.history`."""
    return Delegated(
        job=view.id,
        label=view.name or view.type,
        state=view.state,
        steps=tuple(steps(view, story(view))),
        children=tuple(delegation(child, children, story) for child in children.get(view.id, ())),
    )


def family(view: JobView, children: Mapping[str, Sequence[JobView]]) -> Iterator[JobView]:
    """The jobs of its tree: it, and whatever was delegated while one of them ran."""
    yield view
    for child in children.get(view.id, ()):
        yield from family(child, children)


def steps(view: JobView, story: Sequence[StoryLine]) -> Iterator[Step]:
    """The agents that had a message, from its story; of one that is for a name, that agent alone."""
    agent, reason, others = "", "", ""
    for line in story:
        if line.what == "assigned":
            agent, reason, others = line.by, line.reason, line.detail
        elif line.what in _ENDS and agent:
            yield Step(agent=agent, reason=reason, others=others, outcome=line.what, note=_note(line))
            agent = ""
        elif line.what == "declined":
            yield Step(agent=view.type.partition(".")[0], reason="", outcome=line.what, note=_note(line))
        elif line.what == "given_back" and agent:
            yield Step(agent=agent, reason=reason, others=others, outcome=line.what, note=line.reason)
            agent = ""
    if agent:
        yield Step(agent=agent, reason=reason, others=others)


#: how attempts end that an agent had
_ENDS = ("succeeded", "failed", "declined", "timed_out", "lost", "recalled", "stopped", "crashed", "unprepared")


def _note(line: StoryLine) -> str:
    """What an agent said: of an error its text, without its type."""
    return line.detail.partition(": ")[2] or line.detail


def to_text(found: Delegated) -> str:
    """The tree, a line for each job and for each agent that had it."""
    return "\n".join(_lines(found, "", "")) + "\n"


def _lines(found: Delegated, first: str, indent: str) -> Iterator[str]:
    yield f"{first}{found.label}  {found.state}"
    parts: list[Step | Delegated] = [*found.steps, *found.children]
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        branch, inner = ("└─ ", "   ") if last else ("├─ ", "│  ")
        if isinstance(part, Step):
            yield f"{indent}{branch}{_told(part)}"
        else:
            yield from _lines(part, f"{indent}{branch}", f"{indent}{inner}")


def _told(step: Step) -> str:
    chosen = f" ({step.reason.replace('_', ' ')})" if step.reason else ""
    outcome = f": {step.outcome.replace('_', ' ')}" if step.outcome else ": has it"
    note = f", {step.note}" if step.note and step.outcome != "succeeded" else ""
    others = f"  [{step.others.replace('_', ' ')}]" if step.others else ""
    return f"{step.agent}{chosen}{outcome}{note}{others}"
