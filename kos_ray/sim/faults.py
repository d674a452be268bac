"""What goes wrong, drawn from the seed. A fault counts when it took effect."""

import sqlite3
from collections import Counter
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from kos_ray.sim.machine import Machine
from kos_ray.sim.process import Crash
from kos_ray.sim.slots import Slot
from kos_ray.sim.world import MS_US, SECOND_US

if TYPE_CHECKING:
    from kos_ray.sim.run import Simulation

#: where a scheduler may be killed: the engine's and the journal's own failpoints
FAILPOINTS = (
    "engine.before_step",
    "engine.before_append",
    "engine.after_append",
    "engine.before_dispatch",
    "engine.after_dispatch",
    "engine.before_publish",
    "engine.before_replies",
    "engine.after_replies",
    "engine.after_fold",
    "engine.after_boot",
    "journal.before_begin",
    "journal.before_commit",
    "journal.after_commit",
)
#: kinds of faults, as they are counted when they take effect
KINDS = (
    *(f"killed at {name}" for name in FAILPOINTS),
    "scheduler killed",
    "agent killed",
    "slot killed",
    "node lost",
    "node lost while it works",
    "link broken",
    "node cut off",
    "message lost",
    "message repeated",
    "room taken by others",
    "wall clock jumped",
    "journal cannot write",
    "disk slow",
    "snapshot damaged",
    "snapshot torn",
    "operator storm",
    "lease over",
    "out of memory",
    "agent of people killed",
    "agent of people frozen",
    "home of an agent lost",
    "memory hogged",
)
_HOUR_US = 3_600 * SECOND_US
#: where there are leases: how often it is tried to lose a node with exclusive work, and how long they are at most
_LEASED, _SHORT_LEASE_US = 6, 2 * SECOND_US


class Faults:
    """Strikes while the history is busy, and heals everything at its end."""

    def __init__(self, sim: "Simulation") -> None:
        #: faults that took effect, by kind
        self.landed: Counter[str] = Counter()
        #: how often each failpoint was reached
        self.reached: Counter[str] = Counter()
        #: the scheduler dies at this failpoint when it is reached so many more times
        self._armed: tuple[str, int] | None = None
        self.unwritable = False
        #: the longest time that a commit takes, microseconds
        self.slow_us = 0
        self._healed = False
        self._sim = sim
        self._world = sim.world
        kinds = [
            self._kill_scheduler,
            self._kill_scheduler,
            self._kill_agent,
            self._kill_slot,
            self._lose_node,
            self._break_link,
            self._cut_machine,
            self._lose_messages,
            self._foreign_work,
            self._jump_clock,
            self._refuse_writing,
            self._slow_disk,
            self._spoil_snapshot,
            self._operator_storm,
        ]
        for _ in range(sim.setting.faults):
            at_us = int(self._world.random.random() * sim.setting.busy_us)
            self._world.after(at_us, self._strike, self._world.pick(kinds))
        if sim.setting.leases:
            for _ in range(_LEASED):
                at_us = self._world.aside.randint(0, sim.setting.busy_us)
                self._world.after(at_us, self._strike, self._lose_exclusive)
        if sim.setting.agents:
            self._strike_agents(Random(f"strikes of {self._world.seed}"))
        self._world.after(sim.setting.busy_us + SECOND_US, self.heal)

    def reach(self, name: str) -> None:
        """The failpoint hook."""
        self.reached[name] += 1
        if self.unwritable and name == "journal.before_commit":
            self.landed["journal cannot write"] += 1
            raise sqlite3.OperationalError("database or disk is full")
        if self.slow_us and name == "journal.before_commit":
            self.landed["disk slow"] += 1
            self._world.now_us += self._world.between(0, self.slow_us)
        if self._armed and self._armed[0] == name:
            name, left = self._armed
            self._armed = (name, left - 1) if left > 1 else None
            if self._armed is None:
                self.landed[f"killed at {name}"] += 1
                self._world.note("the scheduler is killed at %s", name)
                raise Crash(name)

    def heal(self) -> None:
        """No more faults: everything works from now on, and what was lost comes back."""
        self._healed = True
        self._armed = None
        self.unwritable = False
        self.slow_us = 0
        network = self._sim.network
        self.landed["message lost"] += network.lost
        self.landed["message repeated"] += network.repeated
        network.loss_share = network.twice_share = network.again_share = 0.0
        for machine in network.machines.values():
            machine.cut = False
            machine.hog = 0
            machine.others_leave()
        self._world.note("faults are over")

    # --- faults

    def _strike(self, fault: object) -> None:
        if not self._healed:
            fault()  # type: ignore[operator]

    def _strike_agents(self, random: Random) -> None:
        """What agents of people die of, besides what everything dies of; by chances of its own."""
        kinds = [self._kill_life, self._kill_life, self._freeze_life, self._freeze_life, self._lose_home]
        self._sim.network.again_share = 0.1
        for _ in range(3 if self._sim.setting.policy.rebalance.thresholds else 0):
            at_us = random.randint(0, self._sim.setting.busy_us)
            self._world.after(at_us, self._strike, partial(self._hog, Random(random.random())))
        for _ in range(random.choice((2, 4, 8))):
            at_us = random.randint(0, self._sim.setting.busy_us)
            self._world.after(at_us, self._strike, partial(random.choice(kinds), Random(random.random())))

    def _landed(self, kind: str, about: str = "") -> None:
        self.landed[kind] += 1
        self._world.note("fault: %s %s", kind, about)

    def _machine(self) -> Machine | None:
        living = [machine for machine in self._sim.network.machines.values() if machine.alive and machine.listed]
        return self._world.pick(living) if living else None

    def _kill_scheduler(self) -> None:
        self._armed = (self._world.pick(FAILPOINTS), self._world.between(1, 4))
        if self._armed[0] in ("engine.after_fold", "engine.after_boot"):
            self._armed = (self._armed[0], 1)
            self._sim.kill_process()
            self._landed("scheduler killed")

    def _kill_agent(self) -> None:
        machine = self._machine()
        if machine and machine.agent and machine.agent.alive:
            self._landed("agent killed", machine.name)
            self._sim.auditor.taint(machine.name)
            machine.agent.die()

    def _kill_slot(self) -> None:
        machine = self._machine()
        slots = machine.agent.fleet.connected_slots() if machine and machine.agent and machine.agent.alive else []
        if machine and machine.agent and slots:
            slot = self._world.pick(slots)
            self._landed("slot killed", f"{slot.pid} on {machine.name}")
            machine.agent.fleet.kill(slot)

    def _lose_node(self) -> None:
        """A machine dies and Ray notices, or Ray declares it dead before it dies: then it reports on for a while."""
        machine = self._machine()
        if machine is None:
            return
        self._sim.auditor.taint(machine.name)
        if self._world.chance(0.5):
            self._landed("node lost", machine.name)
            self._dies(machine)
            self._world.after(self._world.between(0, 2 * SECOND_US), self._unlisted, machine)
        else:
            self._landed("node lost while it works", machine.name)
            self._unlisted(machine)
            self._world.after(self._world.between(0, 2 * SECOND_US), self._dies, machine)
        self._world.after(self._world.between(500 * MS_US, 3 * SECOND_US), self._sim.add_machine, machine)

    def _lose_exclusive(self) -> None:
        """A node counts as lost where exclusive work goes on, for longer than its lease; by chances of its own."""
        aside, lease_us = self._world.aside, self._sim.setting.policy.lease_us
        places = [
            machine
            for machine in self._sim.network.machines.values()
            if machine.alive and machine.listed and machine.agent and machine.agent.fleet.exclusive
        ]
        if not places or lease_us > _SHORT_LEASE_US:
            return
        machine = aside.choice(places)
        self._sim.auditor.taint(machine.name)
        self._landed("node lost while it works", machine.name)
        self._unlisted(machine)
        self._world.after(aside.randint(lease_us, 3 * lease_us), self._dies, machine)
        self._world.after(aside.randint(500 * MS_US, 3 * SECOND_US), self._sim.add_machine, machine)

    def _lives(self) -> list[tuple[Machine, Slot]]:
        """Agents that take messages, and where."""
        machines = [one for one in self._sim.network.machines.values() if one.alive and one.agent and one.agent.alive]
        return [(one, slot) for one in machines if one.agent for slot in one.agent.fleet.homes.all]

    def _kill_life(self, random: Random) -> None:
        found = self._lives()
        if found:
            machine, slot = random.choice(found)
            assert machine.agent is not None
            self._landed("agent of people killed", slot.pool.kind.agent)
            machine.agent.fleet.kill(slot)

    def _freeze_life(self, random: Random) -> None:
        """It stands still, and goes on where nobody has ended it; now and then its node counts as lost meanwhile."""
        found = self._lives()
        if found:
            machine, slot = random.choice(found)
            assert machine.agent is not None
            time_us = random.choice((100, 700, 4_000)) * MS_US
            self._landed("agent of people frozen", slot.pool.kind.agent)
            machine.agent.fleet.homes.freeze(slot, time_us)
            if machine.listed and random.random() < 0.3:
                self._lose_slowly(machine, 2 * time_us)

    def _lose_home(self, random: Random) -> None:
        """A node counts as lost where agents live, which go on for a while: nothing that they do counts any more."""
        found = [machine for machine, _ in self._lives() if machine.listed]
        if found:
            self._lose_slowly(random.choice(found), random.randint(0, 3 * SECOND_US))

    def _lose_slowly(self, machine: Machine, time_us: int) -> None:
        self._sim.auditor.taint(machine.name)
        self._landed("home of an agent lost", machine.name)
        self._unlisted(machine)
        self._world.after(time_us, self._dies, machine)
        self._world.after(500 * MS_US, self._sim.add_machine, machine)

    def _hog(self, random: Random) -> None:
        machine = random.choice(list(self._sim.network.machines.values()))
        if machine.alive and not machine.hog:
            self._landed("memory hogged", machine.name)
            machine.hog = random.choice((500, 800, 950))
            sated_us = random.randint(SECOND_US, 4 * SECOND_US)
            self._world.after(sated_us, self._sated, machine, 620)  # neither calm, nor so much that it were pressed
            self._world.after(sated_us + 2 * SECOND_US, self._sated, machine, 0)

    def _sated(self, machine: Machine, share: int) -> None:
        machine.hog = min(machine.hog, share)

    def _dies(self, machine: Machine) -> None:
        machine.alive = False
        if machine.agent and machine.agent.alive:
            machine.agent.die()

    def _unlisted(self, machine: Machine) -> None:
        machine.listed = False

    def _break_link(self) -> None:
        machine = self._machine()
        process = self._sim.network.process
        link = process.links.by_node.get(machine.id) if machine and process else None
        if link is not None and not link.broken:
            self._landed("link broken", link.agent.incarnation)
            link.break_off()

    def _cut_machine(self) -> None:
        machine = self._machine()
        if machine and not machine.cut:
            self._landed("node cut off", machine.name)
            machine.cut = True
            self._world.after(self._world.between(10 * MS_US, 4 * SECOND_US), self._joined_again, machine)

    def _joined_again(self, machine: Machine) -> None:
        machine.cut = False

    def _lose_messages(self) -> None:
        network = self._sim.network
        network.loss_share, network.twice_share = self._world.pick(((0.1, 0.0), (0.0, 0.2), (0.1, 0.1)))
        self._world.after(self._world.between(100 * MS_US, 2 * SECOND_US), self._messages_again)

    def _messages_again(self) -> None:
        self._sim.network.loss_share = self._sim.network.twice_share = 0.0

    def _foreign_work(self) -> None:
        machine = self._machine()
        if machine and machine.others_take(self._world.pick((0.5, 1.0))):
            self._landed("room taken by others", machine.name)
            self._world.after(self._world.between(100 * MS_US, 5 * SECOND_US), machine.others_leave)

    def _jump_clock(self) -> None:
        shift_us = self._world.pick((-24 * _HOUR_US, -_HOUR_US, -SECOND_US, SECOND_US, _HOUR_US))
        self._landed("wall clock jumped", f"{shift_us // SECOND_US} s")
        self._sim.auditor.jumped = True
        self._world.wall_shift_us += shift_us

    def _refuse_writing(self) -> None:
        self.unwritable = True
        self._world.note("fault: the journal cannot write")
        self._world.after(self._world.between(10 * MS_US, 2 * SECOND_US), self._writing_again)

    def _writing_again(self) -> None:
        self.unwritable = False

    def _slow_disk(self) -> None:
        """Commits take long, and the scheduler's process does nothing else meanwhile."""
        self.slow_us = self._world.pick((5, 100, 1_000)) * MS_US
        self._world.after(self._world.between(100 * MS_US, 2 * SECOND_US), self._fast_again)

    def _fast_again(self) -> None:
        self.slow_us = 0

    def _spoil_snapshot(self) -> None:
        """Flip a bit of the newest snapshot, or tear it; then kill the scheduler: it must start from the one before."""
        files = self._sim.snapshots.files
        if files:
            newest = max(files)
            spoilt = bytearray(files[newest])
            where = self._world.between(0, len(spoilt) - 1)
            torn = self._world.chance(0.5)
            if torn:
                del spoilt[where:]
            else:
                spoilt[where] ^= 1 << self._world.between(0, 7)
            files[newest] = bytes(spoilt)
            self._landed("snapshot torn" if torn else "snapshot damaged", str(newest))
            self._sim.kill_process()

    def _operator_storm(self) -> None:
        """Somebody changes his mind about many jobs, many times in a moment."""
        client = self._world.pick(self._sim.clients)
        if client.storm(self._world.between(5, 40)):
            self._landed("operator storm", client.name)
