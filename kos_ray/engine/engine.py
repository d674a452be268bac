"""The loop: requests and reports in, one step, one frame on disk, then orders and replies.

    inbox ──> admit ──> scheduler.step ──> journal.append (fsync) ──> dispatch, replies, outboxes

Nothing is acknowledged or sent before the frame that holds it is on disk. When the journal cannot write, the state
is thrown away and folded anew from the journal as soon as it writes again: until then every request is refused,
reports stay with their agents, and running work goes on.
"""

from collections.abc import Callable, Iterable, Sequence

from kos_ray.engine import garbage
from kos_ray.engine.admission import Admission
from kos_ray.engine.advice import Advisor
from kos_ray.engine.arising import arising
from kos_ray.engine.dispatch import Dispatch
from kos_ray.engine.foresight import Foresight
from kos_ray.engine.inbox import (
    INBOX_JOBS_MAX,
    WANTED,
    Item,
    Reply,
    Round,
    Touched,
    What,
    Wish,
    portions,
)
from kos_ray.engine.keyed import keys_of
from kos_ray.engine.leases import Leases
from kos_ray.engine.moved import Moved
from kos_ray.engine.payloads import Payloads
from kos_ray.engine.ports import Clock, Frame, Journal, Links, Plugins, Rules, Snapshots
from kos_ray.engine.reconcile import acked, counted_ends, node_events, still_to_do, undelivered
from kos_ray.engine.sessions import Session, Sessions, put_outcomes
from kos_ray.engine.trouble import Trouble
from kos_ray.engine.wishes import extended, extension_us, granted
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.errors import JournalUnwritable, Refused
from kos_ray.model.failpoints import reach
from kos_ray.model.ids import JobKey, SpecKey
from kos_ray.model.job import JobState
from kos_ray.model.node import Node
from kos_ray.model.plugins import Advice
from kos_ray.model.policy import Policy
from kos_ray.model.protocol import Holding, Report, Submit
from kos_ray.model.reasons import Reason
from kos_ray.model.views import Explanation
from kos_ray.scheduler.explain import explain, why
from kos_ray.scheduler.machine import next_due_us, recover, step
from kos_ray.scheduler.snapshot import resumed
from kos_ray.scheduler.state import State


class Engine:
    """See the module. `tick()` does one round; it is due when `pending` is true or the clock passes `next_due_us()`."""

    def __init__(
        self,
        *,
        journal: Journal,
        snapshots: Snapshots,
        clock: Clock,
        links: Links,
        python: str,
        version: str,
        policy: Policy | None = None,
        plugins: Plugins | None = None,
        rules: Rules | None = None,
        adopted: str = "",
    ) -> None:
        self.state = State()
        self.sessions = Sessions()
        self.trouble = Trouble()
        #: whether it has taken the journal over
        self.booted = False
        self._moved = Moved()
        #: frames committed by this engine are handed to these
        self.listeners: list[Callable[[Frame], None]] = [self._moved.note]
        self._journal = journal
        self._snapshots = snapshots
        self._clock = clock
        self._links = links
        self._python = python
        self._version = version
        self._adopted = adopted
        self._policy = policy
        self._inbox: list[Item] = []
        self._inbox_jobs = 0
        self._spec_keys: dict[str, SpecKey] = {}
        self._payloads = Payloads(journal)
        self._dispatch = Dispatch(links, self._payloads, journal.cluster_id)
        self._advisor = Advisor(plugins, journal.public_ids)
        if plugins is not None:
            plugins.listen(self.advised)
        self._foresight = Foresight(rules, self.wish)
        self._leases = Leases()
        self._last_us = 0
        #: what is added to the clock, so that time goes on from the last frame though the wall clock was set back
        self._ahead_us = 0

    # --- life

    def boot(self) -> None:
        """Fold the journal, then take it over with a higher epoch.

        Raises:
            JournalUnwritable: the disk refuses; ticks try it again.
            JournalDamaged: the journal contradicts itself.

        """
        self._fold()
        if not self._take_over([]):
            raise JournalUnwritable(self.stalled)

    def _take_over(self, events: list[e.Event]) -> bool:
        epoch = self._journal.last_epoch + 1
        # what was set while it ran stays in force
        policy = self._policy or self.state.policy
        started = e.SchedulerStarted(epoch=epoch, version=self._version, policy=policy, adopted=self._adopted)
        self.booted = self._commit(Round(events=[started, *events]), epoch)
        if self.booted:
            reach("engine.after_boot")
        return self.booted

    def _fold(self) -> None:
        with garbage.waiting():
            after, self.state = resumed(self._snapshots.load_newest())
        for frame in self._journal.frames(after):
            recover(self.state, frame.events, frame.decisions, frame.now_us)
        self._last_us = self._journal.last_now_us
        self._ahead_us = max(self._ahead_us, self._last_us - self._clock.now_us())
        reach("engine.after_fold")

    # --- the inbox

    @property
    def stalled(self) -> str:
        """Why the journal cannot write, "" while it can."""
        return self.trouble.reason

    @property
    def pending(self) -> bool:
        """Whether a tick has something to do."""
        return bool(self._inbox)

    def submit(self, submit: Submit, reply: Reply) -> None:
        """Answered with `Accepted`, or an exception that says why not."""
        jobs = submit.job_count
        if self.stalled:
            reply(self.trouble.refusal())
        elif self._inbox_jobs + jobs > INBOX_JOBS_MAX:
            reply(Refused(f"{self._inbox_jobs} jobs wait to be accepted: try again in a moment"))
        else:
            self._inbox_jobs += jobs
            self._inbox.append(Item(submit, reply))

    def report(self, report: Report, reply: Reply) -> None:
        """Answered with `Acked` when it is on disk."""
        self._inbox.append(Item(report, reply))

    def post(self, event: e.Event, reply: Reply | None = None) -> None:
        """Something happened. What somebody wants of jobs is answered with `Touched`."""
        self._inbox.append(Item(event, reply))

    def wish(self, wish: Wish, reply: Reply) -> None:
        """Answered with what holds then (the `Policy`, marks, `Windows`, a mapping) once on disk, or the refusal."""
        self._inbox.append(Item(wish, reply))

    def advised(self, advice: Advice) -> None:
        """A plug-in answered, or something is wrong with it."""
        self._inbox.append(Item(advice, None))

    def greeted(self, node: Node, holding: Holding, session: int, reply: Reply | None = None) -> None:
        """A node agent answered a greeting; see `reconcile`."""
        self._inbox.append(Item((node, holding, session), reply))

    def renewed(self, tickets: Iterable[str]) -> list[str]:
        """Whoever has these tickets was heard; those that are not his any more. While it is stalled nobody knows."""
        lost = self._leases.renew(self.state, tickets, self.now_us())
        return [] if self.stalled else lost

    # --- the tick

    def next_due_us(self) -> int | None:
        """When a tick is due though nothing arrives."""
        own = next_due_us(self.state, self._last_us), self.state.schedules.next_due_us()
        found = (*own, extension_us(self.state), self._advisor.next_due_us(), self._leases.next_due_us())
        return min((at_us for at_us in found if at_us is not None), default=None)

    def now_us(self) -> int:
        """The engine's clock: never before the last frame."""
        self._last_us = max(self._last_us, self._clock.now_us() + self._ahead_us)
        return self._last_us

    def tick(self) -> None:
        """Deal with the inbox. Never raises for what a client or an agent sent; a programmer's error does raise."""
        items, self._inbox, self._inbox_jobs = self._inbox, [], 0
        rounds = [items] if self.stalled and not self._resume() else list(portions(items))
        while rounds and not self.stalled and self._round(rounds[0]):
            del rounds[0]
        if rounds:
            self._inbox = [*self.trouble.refuse(item for portion in rounds for item in portion), *self._inbox]

    def _round(self, items: list[Item]) -> bool:
        """One round: take in, decide, write, act, answer. False: the journal could not write."""
        round_ = Round()
        admission = self._admission()
        for item in items:
            answer = self._take(item.what, round_, admission)
            if item.reply is not None:
                round_.replies.append((item.reply, answer))
        round_.events += self._advisor.late(self.state, self.now_us(), round_.events)
        round_.events += arising(self.state, admission, self._journal.names, self.now_us(), round_.events)
        round_.events += self._leases.over(self.state, round_.events, self.now_us())
        if not self._commit(round_, self.state.epoch):
            return False
        reach("engine.before_replies")
        for reply, answer in round_.replies:
            reply(acked(self._journal, self.state.epoch, answer) if isinstance(answer, Report) else answer)
        reach("engine.after_replies")
        return True

    def _admission(self) -> Admission:
        return Admission(
            state=self.state,
            journal=self._journal,
            python=self._python,
            next_key=self.state.next_key,
            spec_keys=self._spec_keys,
        )

    def _take(self, what: What, round_: Round, admission: Admission) -> object:
        """Make events of one thing from the inbox; what it is answered with once they are on disk.

        A report stands for its acknowledgement.
        """
        if isinstance(what, Submit):
            return self._admit(what, round_, admission)
        if isinstance(what, Report):
            round_.events += what.events
            return what
        if isinstance(what, tuple):
            self._reconcile(*what, round_)
            return None
        if isinstance(what, Wish):
            events, answer = granted(what, self.state, admission, self.now_us(), round_.events)
            round_.events += events
            return answer
        if isinstance(what, Advice):
            round_.events += self._advisor.judge(what, self.state, self.now_us())
        else:
            round_.events.append(what)
        if isinstance(what, WANTED):
            live = [job for job in map(self.state.jobs.get, what.keys) if job is not None]
            asked = self.state.coordination.approvals.waiting
            held = sum(job.held and job.key not in asked for job in live)
            return Touched(held if isinstance(what, e.ReleaseRequested) else len(live))
        return None

    def _admit(self, submit: Submit, round_: Round, admission: Admission) -> object:
        last_us, now_us = self._last_us, self.now_us()
        admission.stale = submit.plan_seq > 0 and self._moved.since(submit.plan_seq, self.state, last_us, now_us)
        accepted, event = admission.judged(submit)
        if isinstance(accepted, Refused):
            return accepted
        if event is not None:
            round_.events.append(event)
        if submit.watcher and not accepted.unknown_specs:
            round_.watches += [(submit.watcher, keys) for keys in keys_of(submit, accepted)]
        return accepted

    def _reconcile(self, node: Node, holding: Holding, session: int, round_: Round) -> None:
        changed = node_events(self.state, node)
        round_.events += changed
        round_.greeted.append((node.id, session))
        for report in holding.reports:
            round_.events += report.events
        if not any(isinstance(event, e.NodeLost) for event in changed):
            round_.events += undelivered(self.state, holding)
        orders = still_to_do(self.state, holding)
        if orders.recalls or orders.stops:
            round_.orders.append((node.id, orders))

    def _commit(self, round_: Round, epoch: int) -> bool:
        """Decide, write, act. False: the journal could not write, and nothing of it has happened."""
        now_us = self.now_us()
        events = round_.events
        events += extended(self.state, now_us)
        ends = counted_ends(self.state, events)
        reach("engine.before_step")
        decisions = step(self.state, events, now_us)
        frame: Frame | None = None
        if events or decisions:
            reach("engine.before_append")
            try:
                frame = self._journal.append(now_us=now_us, epoch=epoch, events=events, decisions=decisions)
            except JournalUnwritable as error:
                self.trouble.begin(error, now_us)
                return False
            reach("engine.after_append")
        self._act(round_, ends, decisions)
        if frame is not None:
            for listener in self.listeners:
                listener(frame)
        return True

    def _act(self, round_: Round, ends: dict[JobKey, bytes], decisions: list[d.Decision]) -> None:
        """What may happen now that the frame is on disk. `ends` are the results of the ends that count."""
        for event in round_.events:
            if isinstance(event, e.JobsSubmitted):
                self._payloads.submitted(event)
        self._payloads.ended(ends)
        for name, keys in round_.watches:
            self.watch(name, [JobKey(key) for key in keys])
        reach("engine.before_dispatch")
        for node, session in round_.greeted:
            self._dispatch.greeted(self.state, node, session)
        for node, orders in round_.orders:
            self._dispatch.send(self.state, node, orders)
        self._dispatch.carry_out(self.state, decisions)
        self._advisor.done(round_.events, decisions)
        self._advisor.ask(self.state, self._last_us)
        self._foresight.ask(self.state, self._last_us)
        reach("engine.after_dispatch")
        finished = [decision for decision in decisions if isinstance(decision, d.Finish)]
        if finished:
            reach("engine.before_publish")
            self._publish(finished, ends)

    def _publish(self, finished: list[d.Finish], ends: dict[JobKey, bytes]) -> None:
        """Put outcomes into the outboxes of those who wait for them."""
        woken: dict[Session, None] = {}
        for finish in finished:
            self._payloads.finished(finish.keys)
            if not self.sessions.watching:
                continue
            watchers = {key: found for key in finish.keys if (found := self.sessions.take_watchers(key))}
            if finish.state == JobState.SUCCEEDED:
                for key, sessions in watchers.items():
                    for session in sessions:
                        session.put(key, finish.state, finish.reason, ends[key], None)
            elif watchers:
                put_outcomes(self._journal.outcomes(watchers), watchers)
            woken.update(dict.fromkeys(session for sessions in watchers.values() for session in sessions))
        for session in woken:
            session.notify()

    def explain(self, key: JobKey) -> Explanation | None:
        """How a live job stands now; None for one that has ended."""
        job = self.state.jobs.get(key)
        return None if job is None else explain(self.state, job, self.now_us())

    def why(self, key: JobKey) -> Reason:
        """What holds a live job: rows do not have it for ready ones, since it changes with every pass."""
        job = self.state.jobs.get(key)
        return Reason.NONE if job is None else why(self.state, job)

    # --- clients that come back

    def watch(self, name: str, keys: Sequence[JobKey]) -> None:
        """Send the outcomes of these jobs to an outbox, at once for those that are over."""
        unknown = [key for key in keys if self.stalled or key not in self.state.jobs]
        if not unknown:
            self.sessions.watch(name, keys)
            return
        over = self._journal.outcomes(unknown)
        ended = set(over.keys)
        self.sessions.watch(name, [key for key in keys if key not in ended])
        if ended:
            session = self.sessions.get(name)
            put_outcomes(over, dict.fromkeys(over.keys, (session,)))
            session.notify()

    # --- journal trouble

    def _resume(self) -> bool:
        """Fold anew, to try to write again.

        The epoch stays: nothing was sent that is not on disk, so what agents and clients were told holds. (A higher
        one would let orders overtake a greeting that is on its way, and agents take them as sent after it.)
        """
        try:
            self._journal.probe()
        except JournalUnwritable as error:
            self.trouble.begin(error, self.now_us())
            return False
        self._fold()
        self._spec_keys.clear()
        self._advisor.start_over()
        resumed_ = self.trouble.event()
        done = self._commit(Round(events=[resumed_]), self.state.epoch) if self.booted else self._take_over([resumed_])
        if done:
            self.trouble.over()
        return done
