"""Jobs that run out of memory in a virtual world: which do, and what the auditor expects where they are tried again."""

from dataclasses import replace
from typing import TYPE_CHECKING

from kos_ray.model.job import AttemptEnd, MoreMemory, SlotKind, Spec
from kos_ray.model.resources import UNIT, Resources
from kos_ray.sim.code import Fate, Run
from kos_ray.sim.world import World

if TYPE_CHECKING:
    from kos_ray.sim.auditor import Auditor, Story

_MEMORY = "memory"
#: how many of the jobs that may be given more memory need more than they have at first
_SHARE = 0.5


def memory_of(kind: SlotKind) -> int:
    """The memory that a slot holds, in 1/10 000 bytes."""
    return dict(kind.resources.amounts).get(_MEMORY, 0)


def with_memory(kind: SlotKind, amount: int) -> SlotKind:
    """The same slot with so much memory; one that asks for none has none."""
    if not memory_of(kind):
        return kind
    return replace(kind, resources=Resources.from_amounts(dict(kind.resources.amounts) | {_MEMORY: amount}))


def maybe_raised(world: World, spec: Spec, nodes: tuple[Resources, ...]) -> Spec:
    """The spec, with more memory for those that run out of it where that is possible, up to what some node has."""
    amounts = dict(spec.resources.amounts)
    if not amounts.get(_MEMORY) or not spec.retries or world.aside.random() < 0.3:
        return spec
    others = Resources.from_amounts({name: amount for name, amount in amounts.items() if name != _MEMORY})
    largest = max(dict(node.amounts)[_MEMORY] for node in nodes if others.fits(dict(node.amounts)))
    most = world.aside.choice((largest, largest // 2, largest // 3)) // UNIT
    return replace(spec, on_oom=MoreMemory(world.aside.choice((1_500, 2_000, 5_000)), most))


def maybe_starving(world: World, spec: Spec, runs: tuple[Run, ...]) -> tuple[Run, ...]:
    """What a job does, or (some of those that may be given more memory) that it needs more than it asks for."""
    if spec.on_oom is None or world.aside.random() >= _SHARE:
        return runs
    needed = memory_of(spec.slot_kind) * world.aside.choice((15, 30, 100)) // 10
    starving = replace(runs[0], fate=Fate.STARVE, run_us=world.aside.randint(10, 50_000), memory=needed)
    return (starving, *runs[1:])


def check_memory(auditor: "Auditor", story: "Story", number: int) -> None:
    """What an attempt is to hold: as much as the one before; more, where that ran out of it, up to the limit."""
    spec, amount = story.plan.array.spec, story.memory[number]
    least = memory_of(spec.slot_kind)
    about = (story.plan.id, number, story.memory, spec.on_oom)
    before = max((at for at in story.memory if at < number), default=0)
    had = story.memory.get(before, least)
    if spec.on_oom is None:
        auditor.expect(amount == least, "another amount of memory than was asked for", about)
        return
    raised = min(had * spec.on_oom.thousandths // 1_000, max(had, spec.on_oom.most * UNIT))
    auditor.expect(amount in (had, raised), "memory that is neither what it was nor what it may be raised to", about)
    ran_out = any(entry.number == before and entry.end is AttemptEnd.OUT_OF_MEMORY for entry in story.entries)
    machine, _ = story.charged.get(before, ("", 0))
    if before == number - 1 and ran_out and machine not in auditor.tainted and story.plan.array.gang is None:
        auditor.expect(amount > had, "tried again with no more memory than it ran out of", about)


def at_limit(story: "Story") -> bool:
    """Whether a job held as much memory as it may ever be given."""
    on_oom = story.plan.array.spec.on_oom
    highest = max(story.memory.values(), default=0)
    return on_oom is not None and (highest >= on_oom.most * UNIT or highest * on_oom.thousandths // 1_000 <= highest)
