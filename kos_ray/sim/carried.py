"""The auditor of agents: what was seen of their lives, their saves and what they did, and what must be true of it.

A life goes on from a save of an earlier one: the newest that was said to be stored, or the one that somebody went back
to; never from one that came after the next life was sent. Within one branch a message takes effect once.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kos_ray.model.agent_snapshots import contents
from kos_ray.model.agents import Agent, agent_key
from kos_ray.model.job import JobState, SlotKind
from kos_ray.model.protocol import LaunchOrder, Report
from kos_ray.sim.code import Lives, saved_state
from kos_ray.sim.world import World

if TYPE_CHECKING:
    from kos_ray.sim.auditor import Auditor, Story


def agent_of(kind: SlotKind) -> str:
    """The key of the agent that a slot of this kind carries, "" for any other kind."""
    return agent_key(kind.namespace, kind.agent) if kind.agent and kind.single_use else ""


@dataclass(slots=True)
class Save:
    """One save, as its process made it."""

    attempt: int
    number: int
    payload: bytes
    #: when it first came to a scheduler; 0: never
    came_us: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """Later saves of a carrier have higher ones."""
        return self.attempt, self.number


@dataclass(slots=True)
class Carrier:
    """One carrier, by its public id."""

    agent: Agent
    saves: list[Save] = field(default_factory=list)
    #: the newest save that was said to be stored, since somebody went back last
    newest: Save | None = None
    #: somebody wants to go back: the hashes that were asked for since the last life, and the last that was granted
    asked: list[str] = field(default_factory=list)
    granted: str = ""
    #: somebody has gone back in this life of the agent
    went_back: bool = False
    #: what each attempt was handed when it was sent
    handed: dict[int, bytes] = field(default_factory=dict)
    #: living processes by attempt: where, and what each has done
    alive: dict[int, str] = field(default_factory=dict)
    done: dict[int, list[str]] = field(default_factory=dict)
    #: messages that took effect, each with the attempt that was told so last
    did: dict[str, int] = field(default_factory=dict)


class Carried(Lives):
    """See the module. It hears of everything as it happens, from processes, networks and operators."""

    def __init__(self, world: World) -> None:
        self.carriers: dict[str, Carrier] = {}
        self.agents: dict[str, Agent] = {}
        #: what happened, by kind
        self.seen: Counter[str] = Counter()
        self._world = world
        self._auditor: Auditor | None = None
        #: by message and attempt, the agent in whose process it was entered
        self._with: dict[tuple[str, int], str] = {}
        #: saves by the identities of their payloads, which nobody copies on their way
        self._saved: dict[int, Save] = {}
        #: by message, the agents that have declined it for good, and where they did
        self._declined: dict[str, dict[str, str]] = {}

    def watch(self, auditor: "Auditor") -> None:
        """Tell it who judges."""
        self._auditor = auditor

    def expect(self, holds: bool, what: str, about: object) -> None:
        """See `Auditor.expect`."""
        assert self._auditor is not None
        self._auditor.expect(holds, what, about)

    # --- messages

    def kind_of(self, story: "Story", kind: SlotKind) -> SlotKind:
        """The kind of slot that a message may be sent to; for one that is for a role: where whoever got it is able."""
        spec = story.plan.array.spec
        if spec.to is None:
            return spec.slot_kind
        agent = self.agents.get(agent_key(kind.namespace, kind.agent))
        able = agent is not None and any(role in agent.roles for role in spec.to.roles) and spec.entry in agent.methods
        self.expect(able, "a message was given to somebody who is not able", (story.plan.id, kind.agent, spec.to))
        where = self._declined.get(story.plan.id, {}).get(kind.agent, "")
        heard = bool(where) and self._auditor is not None and where not in self._auditor.tainted
        self.expect(not heard, "a message came back to who declined it", (story.plan.id, kind.agent))
        return SlotKind(resources=spec.resources, namespace=spec.namespace, agent=kind.agent)

    def given(self, story: "Story", number: int, kind: SlotKind) -> None:
        """A message was taken in at a node."""
        if kind.receiver:
            self._with[story.plan.id, number] = kind.agent

    def lane_of(self, story: "Story", number: int) -> SlotKind:
        """The kind of slot in which an attempt was taken in."""
        kind = story.plan.array.spec.slot_kind
        agent = self._with.get((story.plan.id, number))
        return kind if agent is None else SlotKind(resources=kind.resources, namespace=kind.namespace, agent=agent)

    def declined(self, story: "Story", number: int, machine: str) -> None:
        """An agent does not handle a message."""
        self.seen["declined"] += 1
        runs, entered = story.plan.runs, [entry.number for entry in story.entries]
        if runs[min(entered.index(number), len(runs) - 1)].again_ms < 0:
            self._declined.setdefault(story.plan.id, {})[self._with[story.plan.id, number]] = machine

    # --- what is sent to nodes, and comes from them

    def sent(self, order: LaunchOrder) -> None:
        """A life of an agent was given to the network."""
        restored, agent = dict(order.restored), self.agents[agent_of(order.kind)]
        for i, (public_id, number) in enumerate(zip(order.ids, order.attempts, strict=True)):
            carrier = self.carriers.setdefault(public_id, Carrier(agent))
            self._check_handed(carrier, public_id, number, restored.get(i, b""))
            carrier.handed[number] = restored.get(i, b"")

    def _check_handed(self, carrier: Carrier, public_id: str, number: int, payload: bytes) -> None:
        about = (public_id, number, saved_state(payload)[0])
        found = [save for save in carrier.saves if save.payload == payload and save.attempt < number]
        self.expect(bool(found) or not payload, "a life begins with a state that nobody saved", about)
        hash_ = contents(payload)[0] if payload else ""
        if hash_ and hash_ in carrier.asked:
            self._went_back(carrier, found[-1], hash_)
            return
        self.expect(not carrier.granted, "a life does not begin with what was gone back to", (about, carrier.granted))
        story = self._story(public_id)
        counted = [save for save in found if not self._fenced(story, save)]
        self.expect(bool(counted) or not found, "a life begins with a save of one that was replaced", about)
        newest = max((save.place for save in counted), default=(0, 0))
        floor = carrier.newest.place if carrier.newest else (0, 0)
        self.expect(newest >= floor, "a life begins with an older state than was stored", (about, newest, floor))
        self._check_effects(carrier, saved_state(payload)[0])

    def _went_back(self, carrier: Carrier, save: Save, hash_: str) -> None:
        self.seen["went back"] += 1
        carrier.went_back, carrier.newest = True, save
        carrier.asked = [other for other in carrier.asked if other != hash_ or carrier.granted not in ("", hash_)]
        carrier.granted = "" if carrier.granted == hash_ else carrier.granted

    def _check_effects(self, carrier: Carrier, done: Sequence[str]) -> None:
        """Where it saves after each message, what clients were told has taken effect, once."""
        carries = carrier.agent.spec.carries
        if carries is None or carries.snapshot_every != 1 or carrier.went_back:
            return
        missing = [message for message in self._told(carrier) if message not in done]
        about = (carrier.agent.name, missing, done)
        self.expect(not missing, "a life lacks the effects of messages that have succeeded", about)

    def _told(self, carrier: Carrier) -> list[str]:
        """Messages that took effect under a carrier and whose clients were told that they have succeeded."""
        assert self._auditor is not None
        stories = self._auditor.stories
        last = [stories[message] for message, attempt in carrier.did.items() if attempt == stories[message].last]
        return [story.plan.id for story in last if story.outcome and story.outcome[0] is JobState.SUCCEEDED]

    def _fenced(self, story: "Story", save: Save) -> bool:
        """Whether a save came to the scheduler when a later attempt had been sent."""
        after = [at_us for number, at_us in story.ordered.items() if number > save.attempt]
        return not save.came_us or any(at_us < save.came_us for at_us in after)

    def _story(self, public_id: str) -> "Story":
        assert self._auditor is not None
        return self._auditor.stories[public_id]

    def came(self, report: Report) -> None:
        """A report has come to a scheduler."""
        for said in report.checkpoints:
            for payload in said.payloads:
                save = self._saved[id(payload)]
                save.came_us = save.came_us or self._world.now_us

    # --- operators

    def wants_back(self, key: str, hash_: str) -> None:
        """Somebody asks for an agent to go back to a snapshot."""
        for carrier in self._living(key):
            carrier.asked.append(hash_)

    def goes_back(self, key: str, hash_: str) -> None:
        """The scheduler has given its word."""
        for carrier in self._living(key):
            carrier.granted = hash_ if hash_ in carrier.asked else ""

    def _living(self, key: str) -> list[Carrier]:
        """The last carrier of an agent."""
        return [one for one in self.carriers.values() if one.agent.key == key][-1:]

    # --- processes

    def began(self, job: str, number: int, machine: str, restored: bytes) -> None:
        """See `Lives`."""
        carrier = self.carriers[job]
        self._world.note(
            "%s begins attempt %d with %d effects", carrier.agent.name, number, len(saved_state(restored)[0])
        )
        self.expect(restored == carrier.handed[number], "a life begins with another state than was sent", (job, number))
        carrier.alive[number] = machine
        carrier.done[number] = list(saved_state(restored)[0])
        self.seen["lives"] += 1
        self.seen["lives that go on from a save"] += bool(restored)

    def did(self, job: str, number: int, message: str, attempt: int) -> None:
        """See `Lives`."""
        assert self._auditor is not None
        carrier, story = self.carriers[job], self._auditor.stories[message]
        self._world.note("%s handles %s under attempt %d", carrier.agent.name, message, number)
        about = (carrier.agent.name, number, message, attempt)
        tainted = carrier.alive[number] in self._auditor.tainted
        last = self._story(job).last
        self.expect(number == last or tainted, "a life acts though another was sent", (about, last))
        told = story.outcome is not None and attempt == story.last and story.outcome[0] is JobState.SUCCEEDED
        self.expect(not told, "a message is handled after its client was told", about)
        if carrier.newest is not None and not carrier.went_back and number == last:
            stored = saved_state(carrier.newest.payload)[0]
            self.expect(message not in stored, "a message is handled again though its effect was stored", about)
        self.seen["messages handled again"] += message in carrier.did
        carrier.did[message] = attempt
        carrier.done[number].append(message)
        self.seen["messages handled"] += 1

    def knew(self, job: str, message: str, attempt: int) -> None:
        """See `Lives`."""
        self.carriers[job].did[message] = attempt
        self.seen["messages answered from a save"] += 1

    def saves(self, job: str, number: int, save: int, payload: bytes) -> None:
        """See `Lives`."""
        done = saved_state(payload)[0]
        twice = [message for message, times in Counter(done).items() if times > 1]
        self.expect(not twice, "a message took effect twice in one state", (self.carriers[job].agent.name, twice))
        self._saved[id(payload)] = found = Save(number, save, payload)
        self.carriers[job].saves.append(found)

    def kept(self, job: str, number: int, save: int, *, stored: bool) -> None:
        """See `Lives`."""
        carrier = self.carriers[job]
        self.seen["saves" if stored else "saves of old lives refused"] += 1
        found = next(one for one in carrier.saves if one.place == (number, save))
        if stored:
            self.expect(not self._fenced(self._story(job), found), "a save of an old life was taken", (job, number))
            if carrier.newest is None or found.place > carrier.newest.place:
                carrier.newest = found

    def gone(self, job: str, number: int) -> None:
        """See `Lives`."""
        self.carriers[job].alive.pop(number, None)

    # --- the end

    def judge(self, up: list[str]) -> None:
        """Everything is quiet: agents that are to run (`up`, by their keys) have one living process each.

        What clients were told has taken effect, where an agent saves after each message.
        """
        assert self._auditor is not None
        for key in up:
            living = self._living(key)
            self.expect(bool(living) and bool(living[0].alive), "an agent that is to run has no process", key)
            machines = set(living[0].alive.values()) - self._auditor.tainted
            self.expect(len(machines) <= 1, "an agent runs twice", (key, machines))
            self._check_effects(living[0], living[0].done[max(living[0].alive)])
