"""The loop: requests and reports in, one step, one frame on disk, then orders and replies.

    inbox ──> admit ──> scheduler.step ──> journal.append (fsync) ──> dispatch, replies, outboxes

Nothing is acknowledged or sent before the frame that holds it is on disk. When the journal cannot write, the state
is thrown away and folded anew from the journal as soon as it writes again: until then every request is refused,
reports stay with their agents, and running work goes on.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from kos_ray.engine.admission import Admission
from kos_ray.engine.advice import Advisor
from kos_ray.engine.dispatch import Dispatch
from kos_ray.engine.inbox import (
    INBOX_JOBS_MAX,
    WANTED,
    Item,
    NodesWish,
    Reply,
    Round,
    SettingsWish,
    Touched,
    What,
    WindowsWish,
    portions,
)
from kos_ray.engine.moved import Moved
from kos_ray.engine.payloads import Payloads
from kos_ray.engine.ports import Clock, Frame, Journal, Links, Plugins, Snapshots
from kos_ray.engine.reconcile import counted_ends, node_events, still_to_do, undelivered
from kos_ray.engine.sessions import Session, Sessions
from kos_ray.engine.wishes import extended, extension_us, fulfilled
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.errors import JournalUnwritable, Refused
from kos_ray.model.failpoints import reach
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import JobState
from kos_ray.model.node import Node
from kos_ray.model.plugins import Advice
from kos_ray.model.policy import Policy
from kos_ray.model.protocol import Acked, Holding, Outcomes, Report, Submit
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
    ) -> None:
        self.state = State()
        self.sessions = Sessions()
        #: why the journal cannot write, "" while it can
        self.stalled = ""
        self._moved = Moved()
        #: frames committed by this engine are handed to these
        self.listeners: list[Callable[[Frame], None]] = [self._moved.note]
        self._journal = journal
        self._snapshots = snapshots
        self._clock = clock
        self._links = links
        self._python = python
        self._version = version
        self._policy = policy
        self._inbox: list[Item] = []
        self._inbox_jobs = 0
        self._spec_keys: dict[str, SpecKey] = {}
        self._payloads = Payloads(journal)
        self._dispatch = Dispatch(links, self._payloads, journal.cluster_id)
        self._advisor = Advisor(plugins, journal.public_ids)
        if plugins is not None:
            plugins.listen(self.advised)
        self._last_us = 0
        #: what is added to the clock, so that time goes on from the last frame though the wall clock was set back
        self._ahead_us = 0

    # --- life

    def boot(self) -> None:
        """Fold the journal, then take it over with a higher epoch.

        Raises:
            JournalUnwritable: the disk refuses.
            JournalDamaged: the journal contradicts itself.

        """
        self._fold()
        epoch = self._journal.last_epoch + 1
        # what was set while it ran stays in force
        policy = self._policy or self.state.policy
        started = e.SchedulerStarted(epoch=epoch, version=self._version, policy=policy)
        if not self._commit(Round(events=[started]), epoch):
            raise JournalUnwritable(self.stalled)
        reach("engine.after_boot")

    def _fold(self) -> None:
        after, self.state = resumed(self._snapshots.load_newest())
        for frame in self._journal.frames(after):
            recover(self.state, frame.events, frame.decisions, frame.now_us)
        self._last_us = self._journal.last_now_us
        self._ahead_us = max(self._ahead_us, self._last_us - self._clock.now_us())
        reach("engine.after_fold")

    # --- the inbox

    @property
    def pending(self) -> bool:
        """Whether a tick has something to do."""
        return bool(self._inbox)

    def submit(self, submit: Submit, reply: Reply) -> None:
        """Answered with `Accepted`, or an exception that says why not."""
        jobs = sum(abs(array.count) for array in submit.arrays)
        if self.stalled:
            reply(self._refusal())
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

    def change_settings(self, wish: SettingsWish, reply: Reply) -> None:
        """Answered with the `Policy` in force once it is on disk."""
        self._inbox.append(Item(wish, reply))

    def mark_nodes(self, wish: NodesWish, reply: Reply) -> None:
        """Answered with the marks of these names once they are on disk."""
        self._inbox.append(Item(wish, reply))

    def set_windows(self, wish: WindowsWish, reply: Reply) -> None:
        """Answered with the `Windows` of the scope once they are on disk, or with the refusal."""
        self._inbox.append(Item(wish, reply))

    def advised(self, advice: Advice) -> None:
        """A plug-in answered, or something is wrong with it."""
        self._inbox.append(Item(advice, None))

    def greeted(self, node: Node, holding: Holding, session: int, reply: Reply | None = None) -> None:
        """A node agent answered a greeting; see `reconcile`."""
        self._inbox.append(Item((node, holding, session), reply))

    # --- the tick

    def next_due_us(self) -> int | None:
        """When a tick is due though nothing arrives."""
        found = (next_due_us(self.state, self._last_us), extension_us(self.state), self._advisor.next_due_us())
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
        self._refuse([item for portion in rounds for item in portion])

    def _round(self, items: list[Item]) -> bool:
        """One round: take in, decide, write, act, answer. False: the journal could not write."""
        round_ = Round()
        admission = self._admission()
        for item in items:
            answer = self._take(item.what, round_, admission)
            if item.reply is not None:
                round_.replies.append((item.reply, answer))
        round_.events += self._advisor.late(self.state, self.now_us(), round_.events)
        if not self._commit(round_, self.state.epoch):
            return False
        reach("engine.before_replies")
        for reply, answer in round_.replies:
            reply(self._acked(answer) if isinstance(answer, Report) else answer)
        reach("engine.after_replies")
        return True

    def _admission(self) -> Admission:
        return Admission(
            state=self.state,
            journal=self._journal,
            python=self._python,
            next_key=self.state.next_key,
            next_spec=self._journal.next_spec_key,
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
        if isinstance(what, SettingsWish | NodesWish | WindowsWish):
            event, answer = fulfilled(what, self.state, round_.events, self.now_us())
            round_.events += [event] if event is not None else []
            return answer
        if isinstance(what, Advice):
            round_.events += self._advisor.judge(what, self.state, self.now_us())
        else:
            round_.events.append(what)
        if isinstance(what, WANTED):
            live = [job for job in map(self.state.jobs.get, what.keys) if job is not None]
            return Touched(sum(job.held for job in live) if isinstance(what, e.ReleaseRequested) else len(live))
        return None

    def _acked(self, report: Report) -> Acked:
        """The acknowledgement of a report that is on disk: the rows say which of its checkpoints counted."""
        said = [
            item for event in report.checkpoints for item in zip(event.keys, event.attempts, event.numbers, strict=True)
        ]
        newest = self._journal.checkpoint_numbers([key for key, _, _ in said]) if said else {}
        stored = [
            (key, attempt, number)
            for key, attempt, number in said
            if key in newest and newest[key][0] == attempt and newest[key][1] >= number
        ]
        return Acked(incarnation=report.incarnation, number=report.number, epoch=self.state.epoch, stored=tuple(stored))

    def _admit(self, submit: Submit, round_: Round, admission: Admission) -> object:
        last_us, now_us = self._last_us, self.now_us()
        admission.stale = submit.plan_seq > 0 and self._moved.since(submit.plan_seq, self.state, last_us, now_us)
        try:
            accepted, event = admission.admit(submit)
        except Refused as refused:
            return refused
        if event is not None:
            round_.events.append(event)
        if submit.watcher and not accepted.unknown_specs:
            round_.watches.append((submit.watcher, range(accepted.first, accepted.first + accepted.job_count)))
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
                self.stalled = str(error)
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
                _put(self._journal.outcomes(watchers), watchers)
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
        over = self._journal.outcomes([key for key in keys if self.stalled or key not in self.state.jobs])
        ended = set(over.keys)
        self.sessions.watch(name, [key for key in keys if key not in ended])
        if ended:
            session = self.sessions.get(name)
            _put(over, dict.fromkeys(over.keys, (session,)))
            session.notify()

    # --- journal trouble

    def _resume(self) -> bool:
        """Fold anew, to try to write again.

        The epoch stays: nothing was sent that is not on disk, so what agents and clients were told holds. (A higher
        one would let orders overtake a greeting that is on its way, and agents take them as sent after it.)
        """
        try:
            self._fold()
        except JournalUnwritable as error:
            self.stalled = str(error)
            return False
        self.stalled = ""
        self._spec_keys.clear()
        self._advisor.start_over()
        return True

    def _refuse(self, items: list[Item]) -> None:
        """Nothing of these has happened: whoever waits for an answer tries again; the last greetings wait here."""
        greetings: dict[NodeId, Item] = {}
        for item in items:
            if isinstance(item.what, tuple):
                greetings[item.what[0].id] = item
            elif item.reply is not None:
                item.reply(self._refusal())
        self._inbox = [*greetings.values(), *self._inbox]

    def _refusal(self) -> Refused:
        return Refused(f"nothing is accepted while the journal cannot write: {self.stalled}")


def _put(outcomes: Outcomes, watchers: Mapping[JobKey, Iterable[Session]]) -> None:
    """Put outcomes as the journal has them into outboxes."""
    errors = {index: (kind, message, traceback) for index, kind, message, traceback in outcomes.errors}
    for i, key in enumerate(outcomes.keys):
        for session in watchers[key]:
            session.put(key, outcomes.states[i], outcomes.reasons[i], outcomes.results[i], errors.get(i))
