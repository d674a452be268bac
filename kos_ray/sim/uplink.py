"""Reports of a fake agent: gathered while one is in flight, kept until acknowledged."""

from collections import deque
from collections.abc import Callable

from kos_ray.model import events
from kos_ray.model.agents import AgentsSaid
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import AttemptEnd
from kos_ray.model.protocol import Acked, Report
from kos_ray.sim.network import Network
from kos_ray.sim.world import SECOND_US, World

#: a report that is not acknowledged by then is sent again
_RESEND_US = SECOND_US


class End:
    """How an attempt ended. `pid` is its slot's, 0 for one that no slot has entered; `error` is type and message.

    `again_ms` says of a failure when it is to be tried again; see `AttemptError`.
    """

    __slots__ = ("again_ms", "attempt", "end", "ended_us", "entered_us", "error", "key", "pid", "result")

    def __init__(
        self,
        key: JobKey,
        attempt: int,
        end: AttemptEnd,
        ended_us: int,
        *,
        entered_us: int = 0,
        pid: int = 0,
        result: bytes = b"",
        error: tuple[str, str] | None = None,
        again_ms: int = 0,
    ) -> None:
        self.again_ms = again_ms
        self.key = key
        self.attempt = attempt
        self.end = end
        self.entered_us = entered_us
        self.ended_us = ended_us
        self.pid = pid
        self.result = result
        self.error = error


class Uplink:
    """All that an agent has said and that has not been acknowledged."""

    def __init__(self, world: World, network: Network, node: NodeId, incarnation: str) -> None:
        self.epoch = 0
        self._world = world
        self._network = network
        self._node = node
        self._incarnation = incarnation
        self._number = 0
        self._ends: list[End] = []
        self._entered: list[tuple[JobKey, int, int]] = []
        self._agents: list[tuple[JobKey, int, bool]] = []
        self._saves: list[tuple[JobKey, int, int, bytes, int, str]] = []
        #: who waits for a save to be stored, by carrier, attempt and number
        self._saving: dict[tuple[JobKey, int, int], Callable[[bool], None]] = {}
        self._sealed: deque[Report] = deque()
        #: which sending is the current one; 0 when none is in flight
        self._sending = 0
        self._sendings = 0
        self.closed = False

    def add_end(self, end: End) -> None:
        """Report the end of an attempt."""
        self._ends.append(end)
        self._send()

    def add_entered(self, key: JobKey, attempt: int, entered_us: int) -> None:
        """Report that an attempt runs, and is not a short one."""
        self._entered.append((key, attempt, entered_us))
        self._send()

    def add_agent(self, key: JobKey, attempt: int, *, ready: bool) -> None:
        """Report that the agent which an attempt carries takes messages, or does no more."""
        self._agents.append((key, attempt, ready))
        self._send()

    def add_save(
        self, key: JobKey, attempt: int, number: int, payload: bytes, why: str, told: Callable[[bool], None]
    ) -> None:
        """Report an agent's state; `told` hears whether it is stored, when the scheduler has said so."""
        self._saving[key, attempt, number] = told
        self._saves.append((key, attempt, number, payload, self._world.wall_us, why))
        self._send()

    def unacknowledged(self) -> tuple[Report, ...]:
        """Everything that has not been acknowledged, oldest first; it is sent again at once."""
        self._seal()
        self._sending = 0
        self._send()
        return tuple(self._sealed)

    def take(self, answer: Acked) -> None:
        """An acknowledgement, if it is about this incarnation and from no scheduler that has been replaced."""
        if self.closed or answer.incarnation != self._incarnation or answer.epoch < self.epoch:
            return
        self.acked(answer.number, answer.stored)

    def acked(self, number: int, stored: tuple[tuple[JobKey, int, int], ...] | None = None) -> None:
        """Reports up to `number` are on disk, and `stored` of their saves; None: that has not been said."""
        while self._sealed and self._sealed[0].number <= number:
            if stored is None and self._sealed[0].checkpoints:
                break  # it is sent again, and answered
            report = self._sealed.popleft()
            self._sending = 0
            for said in report.checkpoints:
                for saved in zip(said.keys, said.attempts, said.numbers, strict=True):
                    told = self._saving.pop(saved, None)
                    if told is not None:
                        self._world.after(0, told, saved in (stored or ()))
        self._send()

    def _send(self) -> None:
        if self._sending or self.closed:
            return
        if not self._sealed:
            self._seal()
        if self._sealed:
            self._sendings += 1
            self._sending = self._sendings
            self._network.report(self._node, self._sealed[0], self.take)
            self._world.after(_RESEND_US, self._again, self._sending)

    def _again(self, sending: int) -> None:
        if self._sending == sending:
            self._sending = 0
            self._send()

    def _seal(self) -> None:
        if not (self._ends or self._entered or self._agents or self._saves):
            return
        self._number += 1
        ends, self._ends = self._ends, []
        entered, self._entered = self._entered, []
        agents, self._agents = self._agents, []
        saves, self._saves = self._saves, []
        self._sealed.append(
            Report(
                node=self._node,
                incarnation=self._incarnation,
                number=self._number,
                entered=self._entered_event(entered),
                ended=self._ended_event(ends),
                agents=self._agents_event(agents),
                checkpoints=self._saves_event(saves),
            )
        )

    def _agents_event(self, agents: list[tuple[JobKey, int, bool]]) -> tuple[AgentsSaid, ...]:
        if not agents:
            return ()
        keys, attempts, ready = zip(*agents, strict=True)
        return (AgentsSaid(node=self._node, keys=keys, attempts=attempts, ready=ready),)

    def _saves_event(
        self, saves: list[tuple[JobKey, int, int, bytes, int, str]]
    ) -> tuple[events.CheckpointsStored, ...]:
        if not saves:
            return ()
        keys, attempts, numbers, payloads, at_us, whys = zip(*saves, strict=True)
        return (
            events.CheckpointsStored(
                node=self._node,
                keys=keys,
                attempts=attempts,
                numbers=numbers,
                payloads=payloads,
                at_us=at_us,
                whys=tuple(enumerate(whys)),
            ),
        )

    def _entered_event(self, entered: list[tuple[JobKey, int, int]]) -> tuple[events.AttemptsEntered, ...]:
        if not entered:
            return ()
        keys, attempts, entered_us = zip(*entered, strict=True)
        return (events.AttemptsEntered(node=self._node, keys=keys, attempts=attempts, entered_us=entered_us),)

    def _ended_event(self, ends: list[End]) -> tuple[events.AttemptsEnded, ...]:
        if not ends:
            return ()
        return (
            events.AttemptsEnded(
                node=self._node,
                keys=tuple(end.key for end in ends),
                attempts=tuple(end.attempt for end in ends),
                ends=tuple(int(end.end) for end in ends),
                entered_us=tuple(end.entered_us for end in ends),
                ended_us=tuple(end.ended_us for end in ends),
                pids=tuple(end.pid for end in ends),
                results=tuple(end.result for end in ends),
                errors=tuple(
                    events.AttemptError(index=i, type=end.error[0], message=end.error[1], again_ms=end.again_ms)
                    for i, end in enumerate(ends)
                    if end.error
                ),
            ),
        )
