"""Agents and messages for roles in the pure scheduler: what happens, and what must hold after every step."""

from collections.abc import Callable
from typing import Any

from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.agents import LEGAL_PHASES, Agent, AgentCarried, AgentSet, AgentsSaid, AgentWanted, Phase, Wanted
from kos_ray.model.dispatch import To
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import AttemptEnd, Backoff, Carries, Demands, Eviction, JobState, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.model.resources import Resources
from kos_ray.scheduler import invariants
from kos_ray.scheduler.agents import phase
from kos_ray.scheduler.machine import next_due_us, recover, step
from kos_ray.scheduler.resting import called
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.scheduler.state import State

NODE = Node(NodeId("n"), "n", Resources.of({"CPU": 1_000}), incarnation="1")
SECOND_US = 1_000_000


def crew_agent(name: str, *, concurrency: int = 1, **fields: Any) -> Agent:
    """An agent as it is registered."""
    spec = Spec(
        entry="module:Class",
        resources=Resources.of({"CPU": 1}),
        carries=Carries(name=name, concurrency=concurrency, crashes_max=1_000),
        demands=Demands(agent=True),
        eviction=Eviction.CHECKPOINT,
        grace_ms=1_000,
        backoff=Backoff(first_ms=1_000, jitter=0),
        tags=fields.pop("tags", ()),
    )
    return Agent(name=name, spec=spec, **({"roles": ("writer",), "methods": ("work",)} | fields))


class Crews:
    """One node with agents. All is folded anew beside it, and goes on from a snapshot."""

    def __init__(self, *agents: Agent, start: bool = True, every: int = 1) -> None:
        #: every so many steps the states are compared
        self.every, self.steps = every, 0
        self.state, self.folded = State(), State()
        self.now_us = SECOND_US
        self.specs: dict[Spec, SpecKey] = {}
        self.finished: dict[JobKey, d.Finish] = {}
        self.choices: dict[JobKey, list[d.Assign]] = {}
        self.taken_over: list[d.TakeOver] = []
        self.phases: dict[str, Phase] = {}
        self.step(e.SchedulerStarted(epoch=1, version="0", policy=Policy()), e.NodesJoined(nodes=(NODE,)))
        for agent in agents:
            self.register(agent)
            if start and not agent.lazy:
                self.start(agent.name)

    # --- what happens

    def step(self, *events: e.Event) -> list[d.Decision]:
        found = step(self.state, list(events), self.now_us)
        recover(self.folded, list(events), found, self.now_us)
        #: the state that made the last step: why jobs wait is left in it, and in no snapshot
        self.stepped = self.state
        self.steps += 1
        if self.steps % self.every == 0:
            self.compare()
        for decision in found:
            if isinstance(decision, d.Finish):
                self.finished.update(dict.fromkeys(decision.keys, decision))
            elif isinstance(decision, d.Assign):
                self.choices.setdefault(decision.key, []).append(decision)
            elif isinstance(decision, d.TakeOver):
                self.taken_over.append(decision)
            elif isinstance(decision, d.Launch) and decision.kind.receiver:
                for key in decision.keys:
                    spec = self.state.jobs[key].entry.spec
                    assert spec.receiver or self.choices[key][-1].agent == decision.kind.receiver
        for standing in self.state.agents.by_key.values():
            now, before = phase(self.state, standing), self.phases.get(standing.agent.name)
            assert before is None or now is before or _reachable(before, now), (before, now)
            self.phases[standing.agent.name] = now
        return found

    def compare(self) -> None:
        """The fold of what happened is the same state, and goes on from a snapshot."""
        for state in (self.state, self.folded):
            assert invariants.check(state) == []
        plain, folded = state_to_plain(self.state), state_to_plain(self.folded)
        for part in ("dispatch", "agents"):
            assert plain[part] == folded[part]
        self.state = state_from_plain(plain)

    def register(self, agent: Agent) -> None:
        self.step(AgentSet(request_id="", agent=agent))

    def start(self, name: str, *, ready: bool = True) -> None:
        standing = self.standing(name)
        wanted = AgentWanted(request_id="", key=standing.agent.key, wanted=Wanted.RUNNING)
        job = self.state.next_key
        self.step(wanted, self.submitted(standing.agent.spec), AgentCarried(key=standing.agent.key, job=job))
        if ready:
            self.ready(name)

    def ready(self, name: str) -> None:
        """Its carrier was launched: it is entered, and takes messages."""
        job = self.carrier(name)
        assert job.state is JobState.LAUNCHED, job.state
        said = {"node": NODE.id, "keys": (job.key,), "attempts": (job.attempt,)}
        self.step(e.AttemptsEntered(**said, entered_us=(self.now_us,)), AgentsSaid(**said, ready=(True,)))

    def dies(self, name: str) -> list[d.Decision]:
        """Its process: messages that it had entered are lost with it."""
        job = self.carrier(name)
        gone = AgentsSaid(node=NODE.id, keys=(job.key,), attempts=(job.attempt,), ready=(False,))
        entered = [key for key in self.with_(name) if self.state.jobs[key].state is JobState.RUNNING]
        others = [key for key in self.with_(name) if self.state.jobs[key].state is JobState.LAUNCHED]
        ends = [
            *((key, AttemptEnd.LOST) for key in entered),
            *((key, AttemptEnd.RECALLED) for key in others),
            (job.key, AttemptEnd.CRASHED),
        ]
        return self.step(gone, *(self.ended(key, end) for key, end in ends))

    def submitted(self, spec: Spec, count: int = 1) -> e.JobsSubmitted:
        key = self.specs.get(spec)
        new = key is None
        key = self.specs.setdefault(spec, SpecKey(len(self.specs) + 1))
        first = self.state.next_key
        return e.JobsSubmitted(
            request_id=str(first),
            first=first,
            ids=tuple(f"j{first + number}" for number in range(count)),
            counts=(-1,) * count,
            specs=(key,) * count,
            args=(b"",) * count,
            new_specs=((key, spec),) if new else (),
        )

    def send(self, count: int = 1, *, to: To | None = None, receiver: str = "", **fields: Any) -> range:
        """So many messages; the keys of their jobs."""
        to = None if receiver else to or To(role="writer")
        fields = {"type": "writer.work", "entry": "work", "backoff": Backoff(first_ms=1_000, jitter=0)} | fields
        first = self.state.next_key
        self.step(self.submitted(Spec(to=to, receiver=receiver, **fields), count))
        return range(first, first + count)

    def enter(self) -> list[JobKey]:
        """The messages that were sent to agents run; all that run now."""
        for key, job in self.state.jobs.items():
            if job.kind.receiver and job.state is JobState.LAUNCHED:
                said = {"node": NODE.id, "keys": (key,), "attempts": (job.attempt,)}
                self.step(e.AttemptsEntered(**said, entered_us=(self.now_us,)))
        return [key for key, job in self.state.jobs.items() if job.kind.receiver and job.state is JobState.RUNNING]

    def ended(self, key: int, end: AttemptEnd, *, ran_us: int = 1_000, again_ms: int = 0) -> e.AttemptsEnded:
        job = self.state.jobs[JobKey(key)]
        error = e.AttemptError(index=0, type="E", message="", again_ms=again_ms)
        return e.AttemptsEnded(
            node=NODE.id,
            keys=(job.key,),
            attempts=(job.attempt,),
            ends=(int(end),),
            entered_us=(self.now_us - ran_us,),
            ended_us=(self.now_us,),
            pids=(1,),
            results=(b"",),
            errors=() if end is AttemptEnd.SUCCEEDED else (error,),
        )

    def end(self, key: int, end: AttemptEnd = AttemptEnd.SUCCEEDED, **said: Any) -> list[d.Decision]:
        return self.step(self.ended(key, end, **said))

    def wait(self, seconds: float) -> list[d.Decision]:
        self.now_us += round(seconds * SECOND_US)
        return self.step()

    # --- how it stands

    def standing(self, name: str) -> Any:
        return self.state.agents.by_key[f"default\0{name}"]

    def carrier(self, name: str) -> Any:
        return self.state.jobs[self.standing(name).job]

    def phase(self, name: str) -> Phase:
        return phase(self.state, self.standing(name))

    def with_(self, name: str) -> list[JobKey]:
        """The messages that an agent has been sent."""
        sent = (JobState.LAUNCHED, JobState.RUNNING)
        return [key for key, job in self.state.jobs.items() if job.kind.receiver == name and job.state in sent]

    def agent_of(self, key: int) -> str:
        choice = self.state.dispatch.chosen.get(JobKey(key))
        return choice.agent if choice is not None else ""

    def carry_on(self) -> None:
        """What a cluster does by itself: carriers come up and stop as they are told, and messages begin lives."""
        for _ in range(100):
            names = [one.agent.name for one in self.state.agents.by_key.values()]
            if keys := called(self.state):
                self.start(keys[0].rpartition("\0")[2], ready=False)
            elif coming := [name for name in names if self._carrier_in(name, JobState.LAUNCHED)]:
                self.ready(coming[0])
            elif going := [name for name in names if self._carrier_in(name, JobState.STOPPING)]:
                job = self.carrier(going[0])
                gone = AgentsSaid(node=NODE.id, keys=(job.key,), attempts=(job.attempt,), ready=(False,))
                self.step(gone, self.ended(job.key, AttemptEnd.STOPPED))
            else:
                return
        raise AssertionError("carriers come and go for ever")

    def _carrier_in(self, name: str, state: JobState) -> bool:
        job = self.state.jobs.get(self.standing(name).job)
        return job is not None and job.state is state

    def settle(self) -> None:
        """Let all messages end well, as time goes on."""
        for _ in range(1_000):
            self.carry_on()
            running = self.enter()
            if not any(job.entry.spec.message for job in self.state.jobs.values()):
                return
            if running:
                self.end(running[0])
            else:
                self.wait(1)
        raise AssertionError("messages wait for ever")

    def run(self, judge: Callable[[JobKey, str], tuple[AttemptEnd, int]], *, most: int = 100_000) -> None:
        """Let all messages end as `judge` says of each, one at a time, until nothing is left to do."""
        for _ in range(most):
            running = self.enter()
            if not running:
                due_us = next_due_us(self.state, self.now_us)
                if due_us is None or not any(job.entry.spec.message for job in self.state.jobs.values()):
                    return
                self.now_us = max(self.now_us + 1, due_us)
                self.step()
                continue
            key = running[0]
            end, again_ms = judge(key, self.state.jobs[key].kind.receiver)
            self.now_us += 1_000
            self.end(key, end, again_ms=again_ms)
        raise AssertionError("it goes on for ever")


def _reachable(before: Phase, now: Phase) -> bool:
    """Whether moves of the table lead from one to the other; one frame may hold several."""
    seen, front = {before}, [before]
    while front:
        for following in LEGAL_PHASES[front.pop()] - seen:
            seen.add(following)
            front.append(following)
    return now in seen
