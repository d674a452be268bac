"""The agents of a world: which there are, what operators want of them, and that those run at the end that are to.

All of it is drawn from a generator of its own, so that worlds without agents keep their histories.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from kos_ray.engine.inbox import AgentWish
from kos_ray.model.agents import Agent, Phase
from kos_ray.model.errors import Refused
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey
from kos_ray.model.job import Backoff, Carries, Demands, Eviction, Spec
from kos_ray.model.resources import Resources
from kos_ray.scheduler.agents import phase
from kos_ray.scheduler.state import State
from kos_ray.sim.auditor import Auditor, Story
from kos_ray.sim.code import Fate, Run
from kos_ray.sim.network import Network
from kos_ray.sim.process import Process
from kos_ray.sim.setting import NAMESPACES, Setting
from kos_ray.sim.workload import ArrayPlan, Plan
from kos_ray.sim.world import MS_US, SECOND_US, World

#: longer than a message and its answer may take
_AGAIN_US = 8 * SECOND_US
#: at the end somebody looks so often whether all are up
_LOOK_US = 2 * SECOND_US
ROLES = ("writer", "critic")
METHOD = "work"
#: what may lawfully be answered to a wish that comes at a bad time
_BAD_TIMES = (
    "is being stopped",
    "`kos agent start",
    "expected one that is running",
    "its snapshots go with it",
    "its snapshots went with it",
    "has no snapshot",
    "which has not begun",
    "expected a parent that is registered",
)
_VERBS = (
    *("suspend", "suspend", "resume", "resume", "restart", "restart", "stop", "start", "start"),
    *("snapshot", "snapshots", "rollback", "rollback"),
)
_UP = (Phase.RUNNING, Phase.SLEEPING)
_DOWN = (Phase.REGISTERED, Phase.STOPPED, Phase.FAILED, Phase.SUSPENDED)


@dataclass(slots=True)
class Member:
    """One agent, and what operators want of it, one wish after another."""

    agent: Agent
    script: list[tuple[int, str]]
    known: bool = False
    #: a wish is not answered yet
    asking: bool = False
    #: its snapshots, as somebody saw them last
    snapshots: list[str] = field(default_factory=list)
    #: request ids of wishes that may have begun a life
    begun: list[str] = field(default_factory=list)
    #: somebody has wished for its end
    stopped: bool = False
    #: it is over for good: its work is done
    done: bool = False


class Crew:
    """The agents of one world; mostly none. `mail_open` says how many messages for an agent are not over."""

    def __init__(self, world: World, setting: Setting, network: Network, auditor: Auditor) -> None:
        self.members: dict[str, Member] = {}
        #: everything else is over, so they are to be too
        self.closing = False
        self.mail_open: Callable[[Agent], int] = lambda _: 0
        self._world, self._network, self._auditor = world, network, auditor
        self._random = Random(f"crew of {world.seed}")
        self._wishes = 0
        for number in range(setting.agents):
            agent = self._drawn(number, setting)
            script = [(self._random.randint(0, setting.busy_us), self._random.choice(_VERBS)) for _ in range(6)]
            self.members[agent.key] = Member(agent, script[: self._random.choice((0, 2, 4, 6))])
            auditor.carried.agents[agent.key] = agent
        if self.members:
            before = auditor.scheduled
            auditor.scheduled = lambda public_id: before(public_id) or self._story(public_id)
            auditor.called = self._called
            for member in self.members.values():
                world.after(self._random.randint(0, setting.busy_us // 4), self._want, member, "start")
            world.after(setting.busy_us + 2 * SECOND_US, self._look)

    # --- who there is

    def _drawn(self, number: int, setting: Setting) -> Agent:
        random, first = self._random, number == 0
        kind = "persistent" if first else random.choice(("persistent",) * 4 + ("on_demand", "ephemeral", "cascading"))
        persistent = [one.agent for one in self.members.values() if one.agent.kind == "persistent"]
        namespace = persistent[0].namespace if persistent else random.choice(NAMESPACES)
        lazy = kind in ("on_demand", "ephemeral")
        holds = not first and random.random() < 0.3
        # whoever holds room goes when its work is done: nobody is to wait for it who is for a role
        roles = () if holds else ROLES if first else random.choice(((), ROLES[:1], ROLES[:1], ROLES))
        standby = random.choice(("", "", "hot", "warm", "cold")) if roles and not first and not lazy else ""
        sleep_ms = random.choice((0, 0, 0, 300, 1_500))
        if (kind == "on_demand" or standby == "cold") and not sleep_ms:
            sleep_ms = 500
        name = f"agent{number}"
        return Agent(
            name=name,
            namespace=namespace,
            spec=self._spec(name, namespace, setting, kind, holds=holds),
            methods=(METHOD,),
            roles=roles,
            standby=standby,
            kind=kind,
            parent=persistent[0].name if kind == "cascading" else "",
            idle_sleep_ms=0 if kind == "ephemeral" else sleep_ms,
            after=(persistent[0].name,) if not first and not lazy and random.random() < 0.15 else (),
            snapshots_kept=random.choice((1, 3, 20)),
        )

    def _spec(self, name: str, namespace: str, setting: Setting, kind: str, *, holds: bool) -> Spec:
        random = self._random
        smallest = min(dict(node.amounts)["CPU"] for node in setting.nodes) / 10_000
        carries = Carries(
            name=name,
            concurrency=random.choice((1, 1, 2)),
            snapshot_every=random.choice((0, 1, 1, 1, 3)),
            interval_ms=random.choice((0, 0, 0, 700)),
            restart=kind != "ephemeral" and random.random() < 0.9,
            crashes_max=random.choice((2, 5)),
            window_ms=random.choice((2_000, 600_000)),
            silent_ms=random.choice((0, 400, 1_500)),
        )
        return Spec(
            type=name,
            namespace=namespace,
            band=random.choice((0, 3, 3, 5)),
            resources=Resources.of({"CPU": min(0.5, smallest) if holds else 0}),
            entry="module:Agent",
            carries=carries,
            demands=Demands(agent=True),
            eviction=Eviction.CHECKPOINT,
            grace_ms=random.choice((300, 3_000)),
            backoff=Backoff(first_ms=random.choice((5, 300)), factor=2.0, max_ms=2_000, jitter=0.5),
        )

    # --- the jobs that carry them

    def _story(self, public_id: str) -> Story | None:
        """The story of a life that somebody wished for."""
        for member in self.members.values():
            if any(public_id == _job_id(request_id) for request_id in member.begun):
                return self._story_of(member, public_id)
        return None

    def _called(self, public_id: str, key: JobKey) -> Story | None:
        """The story of a life that a message began."""
        for member in self.members.values():
            agent = member.agent
            if agent.lazy and public_id == _job_id(f"called:{agent.namespace}/{agent.name}:{key}"):
                return self._story_of(member, public_id)
        return None

    def _story_of(self, member: Member, public_id: str) -> Story:
        agent, luck = member.agent, Random(public_id)
        array = ArrayPlan(public_id, agent.spec, spec_hash(agent.spec), -1, "", (), ())
        lives = [Run(Fate.HANG, looks_us=luck.choice((100, 20 * MS_US, 200 * MS_US)))]
        for _ in range(luck.choice((0, 0, 0, 1, 3))):
            fate = luck.choice((Fate.CRASH, Fate.CRASH, Fate.FAIL))
            lives.insert(0, Run(fate, luck.choice((10, 30 * MS_US, 900 * MS_US)), looks_us=100))
        plan = Plan(public_id, array, agent.args, tuple(lives))
        array.jobs.append(plan)
        story = Story(plan)
        story.sent = True
        # it ends with its parent, or when its work is done; and by wish
        story.cancel_asked = agent.kind in ("cascading", "ephemeral") or member.stopped
        return story

    # --- what is wanted of them

    def _next(self, member: Member) -> None:
        if member.script:
            after_us, verb = member.script.pop(0)
            self._world.after(after_us // 3, self._want, member, verb)

    def _want(self, member: Member, verb: str) -> None:
        if member.asking:
            return
        key = member.agent.key
        self._wishes += 1
        request_id = f"wish-{self._wishes}"
        fields: dict[str, Any] = {}
        if not member.known:
            verb = "start"
        if verb == "rollback":
            if not member.snapshots:
                verb = "snapshots"
            else:
                fields["snapshot"] = self._random.choice(member.snapshots)
                self._auditor.carried.wants_back(key, fields["snapshot"])
        if verb in ("start", "restart"):
            member.begun.append(request_id)
        if verb == "stop":
            member.stopped = True
            for story in self._auditor.stories.values():
                story.cancel_asked |= story.plan.array.spec is member.agent.spec
        member.asking = True
        agent = member.agent if not member.known else None
        self._say(member, AgentWish(request_id, verb, key, agent, **fields), [])

    def _say(self, member: Member, wish: AgentWish, answers: list[object]) -> None:
        """Send a wish until it is answered."""
        if answers:
            return

        def replied(answer: object) -> None:
            if wish.verb == "rollback" and not isinstance(answer, Refused):
                self._auditor.carried.goes_back(wish.key, wish.snapshot)
            self._network.answer(self._answered, member, wish, answer, answers)

        def arrive(process: Process) -> None:
            process.engine.wish(wish, replied)
            process.kick()

        self._network.to_scheduler(arrive, once=True)
        self._world.after(_AGAIN_US, self._say, member, wish, answers)

    def _answered(self, member: Member, wish: AgentWish, answer: Any, answers: list[object]) -> None:
        if answers:
            return
        if isinstance(answer, Refused):
            told = str(answer)
            if "journal cannot write" in told or "changed by somebody else" in told:
                return  # said again when its time is over
            lawful = any(phrase in told for phrase in _BAD_TIMES)
            self._auditor.expect(lawful, "a good wish was refused", (wish.verb, wish.key, told))
        elif wish.verb == "snapshots":
            member.snapshots = [one["hash"] for one in answer["snapshots"]]
        answers.append(answer)
        member.asking, member.known = False, member.known or not isinstance(answer, Refused)
        self._next(member)

    # --- the end

    def _look(self) -> None:
        """Faults are over: whoever is to run is started, until all do; who holds room goes when its work is done."""
        process = self._network.process
        state = process.engine.state if process is not None else None
        for member in self.members.values():
            if state is None or member.asking or member.script:
                continue
            now, mail = self._phase(state, member), self.mail_open(member.agent)
            holds = bool(member.agent.spec.resources.amounts)
            member.done = member.done or self.closing or (holds and not mail and now in (*_UP, *_DOWN))
            if member.done:
                if not self._over(state, member):
                    self._want(member, "stop")
            elif now in _DOWN and (mail or not member.agent.lazy or not self._over(state, member)):
                self._want(member, "start")
        self._world.after(_LOOK_US, self._look)

    def _phase(self, state: State, member: Member) -> Phase:
        standing = state.agents.by_key.get(member.agent.key)
        return Phase.REGISTERED if standing is None else phase(state, standing)

    def _over(self, state: State, member: Member) -> bool:
        standing = state.agents.by_key.get(member.agent.key)
        return standing is None or not standing.job

    def settled(self, state: State) -> bool:
        """Whether everybody is where he is to be: up, or over; at the end all are over."""
        for member in self.members.values():
            over = self._over(state, member)
            up = self._phase(state, member) in _UP or (member.agent.lazy and over)
            there = over if member.done or self.closing else up
            if member.asking or member.script or not there:
                return False
        return True

    def up(self, state: State) -> list[str]:
        """The keys of those that run, and are to."""
        found = ((key, self._phase(state, one)) for key, one in self.members.items() if not one.done)
        return [key for key, now in found if now is Phase.RUNNING]


def _job_id(request_id: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, request_id))
