"""The agents that live at one fake node agent: who takes messages, and what the end of a process means for lanes."""

from typing import TYPE_CHECKING

from kos_ray.model.job import AttemptEnd, SlotKind
from kos_ray.sim.lives import Life
from kos_ray.sim.slots import Attempt, Slot
from kos_ray.sim.uplink import Uplink
from kos_ray.sim.world import MS_US, World

if TYPE_CHECKING:
    from kos_ray.sim.fleet import Fleet


class Homes:
    """The slots of agents that take messages, by namespace and name; one that is to end stands here no more."""

    def __init__(self, world: World, uplink: Uplink, fleet: "Fleet") -> None:
        self._world = world
        self._uplink = uplink
        self._fleet = fleet
        self._ready: dict[tuple[str, str], Slot] = {}

    def of(self, kind: SlotKind) -> Slot | None:
        """The slot into whose process a kind is a lane."""
        return self._ready.get((kind.namespace, kind.receiver)) if kind.receiver else None

    @property
    def all(self) -> list[Slot]:
        """All of them."""
        return list(self._ready.values())

    def takes_messages(self, slot: Slot, attempt: Attempt) -> None:
        """An agent has come up, unless it is to go before it has."""
        kind = slot.pool.kind
        if slot.life is not None and slot.life.stands_still(self.takes_messages, slot, attempt):
            return
        if self._fleet.runs(slot, attempt) and attempt.asked is None:
            self._ready[kind.namespace, kind.agent] = slot
            self._uplink.add_entered(attempt.key, attempt.number, self._fleet.wall(attempt.entered_us))
            self._uplink.add_agent(attempt.key, attempt.number, ready=True)

    def close_lanes(self, slot: Slot) -> None:
        """An agent in a slot that is to end gets nothing more; what it handles it ends, or dies with it."""
        name = (slot.pool.kind.namespace, slot.pool.kind.agent)
        if not slot.pool.kind.single_use or self._ready.get(name) is not slot:
            return
        del self._ready[name]
        self._uplink.add_agent(slot.handed[0].key, slot.handed[0].number, ready=False)
        pools = self._fleet.pools
        for pool in [one for kind, one in pools.items() if (kind.namespace, kind.receiver) == name]:
            for lane in list(pool.slots):
                self._fleet.take_back_behind(lane)
                lane.closing = True
                if not lane.handed:
                    self._fleet.drop(lane)
            self._fleet.end_waiting(pool, AttemptEnd.RECALLED)

    def lanes_die(self, slot: Slot) -> None:
        """A process has ended: if an agent lived in it, so have its lanes, and what they handled is lost."""
        life = slot.life
        if life is None or life.attempt.slot is not slot or life.dead:
            return
        life.die()
        for pool in list(self._fleet.pools.values()):
            for lane in [one for one in pool.slots if one.life is life and one is not slot]:
                self._fleet.kill(lane)

    def save(self, attempts: list[Attempt]) -> None:
        """Ask agents to save their state."""
        for attempt in attempts:
            if attempt.slot is not None and attempt.slot.life is not None:
                attempt.slot.life.asked()

    def freeze(self, slot: Slot, time_us: int) -> None:
        """An agent's process stands still for a while; where somebody listens for it, it is ended for that."""
        assert slot.life is not None
        slot.life.frozen_us = self._world.now_us + time_us
        silent_us = slot.life.carries.silent_ms * MS_US
        if silent_us and silent_us <= time_us:
            self._world.after(silent_us, self._silent, slot, slot.life)

    def _silent(self, slot: Slot, life: Life) -> None:
        if not life.dead and not slot.gone and life.frozen_us > self._world.now_us:
            life.attempt.wrong = ("Silent", f"{life.attempt.job} was silent in attempt {life.attempt.number}")
            self._fleet.kill(slot)
