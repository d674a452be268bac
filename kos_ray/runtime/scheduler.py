"""The scheduler actor: the engine, its journal and its links to the nodes, driven by one asyncio loop.

Everything that touches the engine runs in the actor's default loop, one step after another. The group `control` has a
loop and a thread of its own and only reads: it answers however busy the engine is.
"""

import asyncio
import contextlib
import logging
import os
import platform
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import ray

import kos_ray
from kos_ray.engine import garbage
from kos_ray.engine.engine import Engine
from kos_ray.engine.inbox import NodesWish, SettingsWish, Touched, WindowsWish, plugins_named
from kos_ray.engine.overview import learnt
from kos_ray.engine.reconcile import renewed
from kos_ray.engine.telemetry import Telemetry
from kos_ray.engine.wishes import advised, standings
from kos_ray.journal.snapshots import FileSnapshots
from kos_ray.journal.store import Journal
from kos_ray.model import events as e
from kos_ray.model.errors import JournalTaken, JournalUnwritable, Refused
from kos_ray.model.failpoints import reach
from kos_ray.model.ids import JobKey
from kos_ray.model.protocol import Accepted, Acked, Outcomes, Renew, Report, Submit
from kos_ray.model.views import NodeStandings
from kos_ray.model.windows import Windows
from kos_ray.model.wire import untagged
from kos_ray.plugins.process import PluginProcesses, check
from kos_ray.runtime.agent_calls import AgentCalls
from kos_ray.runtime.channel import Door
from kos_ray.runtime.clock import SystemClock
from kos_ray.runtime.compaction import FINALS
from kos_ray.runtime.coordination_calls import CoordinationCalls
from kos_ray.runtime.links import RayLinks
from kos_ray.runtime.messages import pack, unpack
from kos_ray.runtime.names import RAY_NAMESPACE, READER
from kos_ray.runtime.opening import open_journal
from kos_ray.runtime.placing import start_reader
from kos_ray.runtime.retention import Retention, cutoffs
from kos_ray.runtime.snapshotting import SnapshotsDue
from kos_ray.runtime.versions import installed
from kos_ray.runtime.watch_calls import WatchCalls, over
from kos_ray.worker import failpoint

_log = logging.getLogger("kos_ray.scheduler")

_WANTED: dict[str, type] = {
    kind.__name__: kind for kind in (e.CancelRequested, e.HoldRequested, e.ReleaseRequested, e.PriorityChanged)
}

#: seconds between attempts to write again after the disk refused: the first pause, which doubles up to the longest
_STALLED_S = 0.5
_STALLED_S_MAX = 8.0
#: seconds between looks whether the herald is there
_HERALD_S = 10.0


class _Snapshots:
    """The newest snapshot that fits one journal."""

    def __init__(self, files: FileSnapshots, journal: Journal) -> None:
        self._files = files
        self._journal = journal

    def load_newest(self) -> tuple[int, Any] | None:
        """See `engine.ports.Snapshots`."""
        return self._files.load_newest(self._journal)


class SchedulerActor(AgentCalls, CoordinationCalls, WatchCalls):
    """One per Ray cluster: detached, on the head, without resources, restarted by Ray when it dies."""

    def __init__(self, state_dir: str, adopt: bool = False) -> None:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
        failpoint.arm()
        self._loop = asyncio.get_running_loop()
        self._state_dir = Path(state_dir).expanduser()
        self._journal, adopted = open_journal(self._state_dir, adopt=adopt)
        links = RayLinks()
        self._plugins = PluginProcesses(self._hand_over)
        self._engine = Engine(
            journal=self._journal,
            snapshots=_Snapshots(FileSnapshots(self._state_dir / "snapshots"), self._journal),
            clock=SystemClock(),
            links=links,
            python=".".join(platform.python_version_tuple()[:2]),
            version=kos_ray.__version__,
            plugins=self._plugins,
            rules=self._plugins.rules,
            adopted=adopted,
        )
        with contextlib.suppress(JournalUnwritable):  # ticks try it again
            self._engine.boot()
        garbage.begin()
        self._telemetry = Telemetry(lambda: self._engine.state.policy.telemetry)
        self._engine.listeners += (SnapshotsDue(self._snapshot_due), self._telemetry)
        self._hear_of_coordination()
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        #: what went wrong with the journal, as the log has it; and how long until it is tried again
        self._trouble, self._pause_s = "", _STALLED_S
        self._nodes = self._watch(links)
        often = (self.submit, self.watch, self.poll, self.want, self.report, self.renew)
        self._door = Door(ray.util.get_node_ip_address(), (*often, *self.coordinating()))
        self._opened = asyncio.ensure_future(self._door.run())
        self._watching = asyncio.ensure_future(self._nodes.run())
        self._beside = asyncio.ensure_future(self._keep_herald())
        self._retention = Retention(self._engine, self._journal, self._state_dir, self._ask, _reader)
        self._sweeping = asyncio.ensure_future(self._retention.run())
        self._kick()
        _log.info("epoch %d, %d live jobs", self._engine.state.epoch, len(self._engine.state.jobs))

    # --- driving the engine

    def _kick(self) -> None:
        """Have a tick run after what is ready in the loop now: what arrived together goes into one frame.

        While the journal cannot write, the timer alone says when it is tried again.
        """
        if not self._scheduled and not (self._engine.stalled and self._timer):
            self._scheduled = True
            self._loop.call_soon(self._tick)

    def _due(self) -> None:
        """Time has come for something."""
        reach("scheduler.timer_due")
        self._kick()

    def _hand_over(self, what: Callable[[], None]) -> None:
        """Another thread has something for the engine."""

        def do() -> None:
            what()
            self._kick()

        with contextlib.suppress(RuntimeError):  # the loop has ended, and the engine with it
            self._loop.call_soon_threadsafe(do)

    def _tick(self) -> None:
        self._scheduled = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            self._engine.tick()
        except JournalTaken as error:
            over(str(error))
        except BaseException:  # noqa: BLE001 - it is logged, and the process ends
            # A programmer's error. The state in memory may be half moved, the journal is not: start over from it.
            _log.exception("the engine broke; the journal is whole, starting over from it")
            os._exit(1)
        self._tell_trouble()
        if self._engine.stalled:
            self._timer = self._loop.call_later(self._pause_s, self._try_again)
            self._pause_s = min(2 * self._pause_s, _STALLED_S_MAX)
            return
        self._pause_s = _STALLED_S
        due_us = self._engine.next_due_us()
        if due_us is not None:
            self._timer = self._loop.call_later(max(0, due_us - self._engine.now_us()) / 1e6, self._due)

    def _try_again(self) -> None:
        self._timer = None
        self._kick()

    def _tell_trouble(self) -> None:
        """The log has both ends of a trouble."""
        trouble = self._engine.stalled
        if trouble and not self._trouble:
            _log.error("the journal cannot write: %s; nothing is accepted and nothing starts until it can", trouble)
        elif self._trouble and not trouble:
            _log.warning("the journal writes again")
        self._trouble = trouble

    async def _ask(self, put: Callable[[Callable[[object], None]], None]) -> Any:
        """Put something into the inbox and wait for its answer."""
        answer: asyncio.Future[object] = self._loop.create_future()

        def reply(value: object) -> None:
            if not answer.done():
                answer.set_result(value)

        put(reply)
        self._kick()
        return await answer

    # --- what clients and agents call

    async def submit(self, data: bytes) -> bytes:
        """`Submit` to `Accepted`; a refusal is in its field `refused`."""
        submit = unpack(Submit, data)
        reach("scheduler.submit_heard")
        answer = await self._ask(lambda reply: self._engine.submit(submit, reply))
        reach("scheduler.submit_answered")
        return pack(Accepted(refused=str(answer)) if isinstance(answer, Refused) else answer)

    async def report(self, data: bytes) -> bytes:
        """`Report` to `Acked`."""
        report = unpack(Report, data)
        reach("scheduler.report_heard")
        answer = await self._ask(lambda reply: self._engine.report(report, reply))
        reach("scheduler.report_answered")
        if isinstance(answer, Refused):
            raise answer
        assert isinstance(answer, Acked)
        return pack(answer)

    async def renew(self, data: bytes) -> bytes:
        """`Renew` to `Renewed`."""
        return pack(renewed(self._engine.state, unpack(Renew, data)))

    async def want(self, data: bytes) -> int:
        """What somebody wants of jobs, as a tagged event; how many of them were live."""
        event = untagged(_WANTED, msgpack.unpackb(data, use_list=False))
        reach("scheduler.wish_heard")
        answer = await self._ask(lambda reply: self._engine.post(event, reply))
        reach("scheduler.wish_answered")
        if isinstance(answer, Refused):
            raise answer
        assert isinstance(answer, Touched)
        return answer.count

    async def why(self, key: int) -> int:
        """See `Engine.why`."""
        return int(self._engine.why(JobKey(key)))

    async def settings(self, data: bytes) -> bytes:
        """A change of settings (`spec.policies`; empty for none) to the whole `Policy` then in force, both packed."""
        change = msgpack.unpackb(data, use_list=False)
        if not change:
            return pack(self._engine.state.policy)
        for plugin in plugins_named(change):
            problem = await asyncio.to_thread(check, plugin)
            if problem:
                raise Refused(f"scheduler_mode: plugin:{plugin}: {problem}")
        wish = SettingsWish(request_id=uuid.uuid4().hex, change=change)
        answer = await self._ask(lambda reply: self._engine.wish(wish, reply))
        if isinstance(answer, Refused):
            raise answer
        return pack(answer)

    async def nodes(self, data: bytes) -> bytes:
        """A wish about nodes (`names`, `change`, `by`; empty for none) to how all of them stand, both packed."""
        wish = msgpack.unpackb(data, use_list=False)
        if wish:
            wanted = NodesWish(request_id=uuid.uuid4().hex, names=wish["names"], change=wish["change"], by=wish["by"])
            answer = await self._ask(lambda reply: self._engine.wish(wanted, reply))
            if isinstance(answer, Refused):
                raise answer
        return pack(NodeStandings(nodes=tuple(map(self._nodes.loads.told, standings(self._engine.state)))))

    async def windows(self, data: bytes) -> bytes:
        """`scope` and `text` to the `Windows` then in force, both packed; without a text to what is in force."""
        said = msgpack.unpackb(data, use_list=False)
        if "text" in said:
            wish = WindowsWish(uuid.uuid4().hex, said["scope"], said["text"], said["by"])
            answer = await self._ask(lambda reply: self._engine.wish(wish, reply))
            if isinstance(answer, Refused):
                raise answer
        return pack(self._engine.state.windows.get(said["scope"], Windows(scope=said["scope"])))

    async def advise(self, data: bytes) -> bytes:
        """Kinds of nodes that could be added, by name, to how many of each would help, and how many jobs wait then."""
        return bytes(msgpack.packb(advised(self._engine.state, msgpack.unpackb(data, use_list=False))))

    async def learnt(self) -> bytes:
        """What was learnt of run times, as `LearntKinds`."""
        return pack(learnt(self._engine.state))

    async def compact(self, before_us: int) -> dict[str, Any] | None:
        """Remove jobs that ended before an instant (-1: as the settings say), as `Compacted`; None: there are none."""
        policy, now_us = self._engine.state.policy, self._engine.now_us()
        wanted = cutoffs(policy, now_us) if before_us < 0 else dict.fromkeys(FINALS, before_us)
        return await self._retention.compact(wanted, bytes_max=policy.journal_bytes_max if before_us < 0 else 0)

    async def watch(self, session: str, keys: list[int]) -> int:
        """Send the outcomes of these jobs to an outbox; the epoch."""
        self._engine.watch(session, [JobKey(key) for key in keys])
        return self._engine.state.epoch

    async def poll(self, session: str, epoch: int, acked: int, timeout_s: float) -> bytes:
        """The next `Outcomes` of an outbox after number `acked`; number 0 when there was none within the time.

        When the epoch is another one, the outbox is new: the client watches again what it waits for.
        """
        now = self._engine.state.epoch
        if epoch != now or self._engine.sessions.is_closed(session):
            return pack(Outcomes(number=0, epoch=now))
        outbox = self._engine.sessions.get(session)
        found = outbox.take(acked)
        if found is None:
            # A bare future instead of `wait_for`, which would make a task of its own: this is on every job's way back.
            woken: asyncio.Future[None] = self._loop.create_future()

            def wake() -> None:
                if not woken.done():
                    woken.set_result(None)

            outbox.wake = wake
            timer = self._loop.call_later(timeout_s, wake)
            await woken
            timer.cancel()
            found = outbox.take(acked)
        reach("scheduler.outcomes_taken")
        return pack(replace(found, epoch=now) if found else Outcomes(number=0, epoch=now))

    async def close_session(self, session: str) -> None:
        """A client leaves."""
        self._engine.sessions.close(session)

    async def close(self) -> None:
        """Copy the write-ahead log into the database and let the state directory go; nothing is served after this."""
        self._opened.cancel()
        self._watching.cancel()
        self._sweeping.cancel()
        self._beside.cancel()
        self._plugins.end_all()
        self._journal.close()

    @ray.method(concurrency_group="control")
    async def greet(self) -> dict[str, Any]:
        """Who this is; answered however busy the engine is."""
        return {
            "cluster_id": self._journal.cluster_id,
            "epoch": self._engine.state.epoch,
            "state_dir": str(self._state_dir),
            "version": kos_ray.__version__,
            "installed": installed(),
            "python": ".".join(platform.python_version_tuple()[:2]),
            "pid": os.getpid(),
            "door": tuple(self._door.at),
            "stalled": self._engine.stalled,
            "nodes": len(self._engine.state.nodes),
        }

    async def _keep_herald(self) -> None:
        """Have a reader with a herald: Ray starts a dead reader again, but nothing in it."""
        while True:
            try:
                await start_reader(str(self._state_dir)).herald.remote()
            except Exception as error:  # noqa: BLE001 - it dies, or Ray does: tried again
                _log.warning("no herald yet: notifications and hooks wait: %s", error)
            await asyncio.sleep(_HERALD_S)

    # --- snapshots

    def _snapshot_due(self) -> None:
        """Ask the reader for a snapshot: it folds the frames. What lives then is taken for long-lived."""
        reach("scheduler.snapshot_due")
        garbage.keep()
        try:
            _reader().snapshot.remote()
        except ValueError:
            _log.warning("no reader: no snapshot was taken")


def _reader() -> Any:
    """The reader actor; ValueError where there is none."""
    return ray.get_actor(READER, namespace=RAY_NAMESPACE)
