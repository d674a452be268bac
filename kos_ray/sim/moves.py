"""The auditor of rebalancing: what nodes said of themselves, and what was moved away from them for that."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kos_ray.journal.store import Journal
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import AttemptEnd
from kos_ray.model.reasons import Reason
from kos_ray.model.sample import MEMORY, Sample
from kos_ray.sim.world import SECOND_US

if TYPE_CHECKING:
    from kos_ray.model.rebalance import Rebalance
    from kos_ray.sim.auditor import Auditor

_AWAY = (Reason.MOVED, Reason.SUSPENDED)
_MINUTE_US = 60 * SECOND_US


class Moves:
    """What scheduler processes heard of nodes; at the end the journal is held against it."""

    def __init__(self, rebalance: "Rebalance") -> None:
        self._settings = rebalance
        high = [one.high for one in rebalance.thresholds if one.kind == MEMORY]
        self._high = high[0] if high else 1_001
        self._low = min((one.low for one in rebalance.thresholds if one.kind == MEMORY), default=-1)
        #: how many measurements in a row one life of the scheduler heard that were above, and below, by life and node
        self._rows: dict[tuple[int, NodeId], tuple[int, int]] = {}
        #: when such a row was long enough, by the scheduler's clock
        self.above: dict[NodeId, list[int]] = defaultdict(list)
        self.below: dict[NodeId, list[int]] = defaultdict(list)
        self.seen: Counter[str] = Counter()

    def heard(self, life: int, node: NodeId, sample: Sample, now_us: int) -> None:
        """A life of the scheduler hears what a node measured."""
        load, (above, below) = sample.loads[MEMORY], self._rows.get((life, node), (0, 0))
        above, below = above + 1 if load >= self._high else 0, below + 1 if load <= self._low else 0
        self._rows[life, node] = above, below
        if above >= self._settings.after:
            self.above[node].append(now_us)
        if below >= self._settings.after:
            self.below[node].append(now_us)

    def judge(self, auditor: "Auditor", journal: Journal) -> None:
        """Only pressed nodes are left; so many a minute at most; what was moved rests, and does not come right back."""
        if self._settings.thresholds:
            book = _Book(auditor, self._settings, self)
            for frame in journal.frames():
                book.take(frame.events, frame.decisions, frame.now_us)
            self.seen.update(book.seen)


class _Book:
    """What happened, frame by frame."""

    def __init__(self, auditor: "Auditor", settings: "Rebalance", heard: Moves) -> None:
        self._auditor, self._settings, self._heard = auditor, settings, heard
        #: when each node was said to be pressed, or calm again, last
        self._turned_us: Counter[NodeId] = Counter()
        self._low = settings.thresholds[0].low
        #: what pressed nodes have said: how much is used, and by which attempts how much
        self._pressed: dict[NodeId, tuple[int, dict[JobKey, int]]] = {}
        self._moves: list[tuple[int, JobKey, NodeId]] = []
        #: where each job was sent to since it was moved last
        self._since: dict[JobKey, set[NodeId]] = defaultdict(set)
        self._let: set[JobKey] = set()
        self._bands: dict[JobKey, int] = {}
        self.seen: Counter[str] = Counter()

    def take(self, events: Sequence[e.Event], decisions: Sequence[d.Decision], now_us: int) -> None:
        """One frame."""
        for event in events:
            if isinstance(event, e.NodePressed | e.NodeCalm | e.NodeLost):
                self._hear(event, now_us)
            elif isinstance(event, e.AttemptsEnded):
                self._ended(event)
        stops = [one for one in decisions if isinstance(one, d.Stop) and one.reason in _AWAY]
        for decision in decisions:
            if isinstance(decision, d.Stop) and decision in stops:
                self._left(decision, now_us)
            elif isinstance(decision, d.LetBack):
                self._let.update(decision.keys)
                self.seen["let back"] += len(decision.keys)
            elif isinstance(decision, d.Hold):
                # whoever was held while it left is not moved any more
                self._let.update(key for key in decision.keys if not self._since.get(key))
            elif isinstance(decision, d.Launch):
                self._sent(decision, now_us)
        fresh = {event.node for event in events if isinstance(event, e.NodePressed)}
        for node in fresh & {stop.node for stop in stops}:
            self._check_no_more(node, stops)

    def _hear(self, event: e.NodePressed | e.NodeCalm | e.NodeLost, now_us: int) -> None:
        """How nodes stand."""
        was = event.node in self._pressed
        self._pressed.pop(event.node, None)
        if isinstance(event, e.NodePressed):
            if not was:
                self._turns(event.node, self._heard.above, "a node is pressed that has not said so", now_us)
            shares = [use[0] for use in event.uses]
            self._pressed[event.node] = (event.loads[0], dict(zip(event.keys, shares, strict=True)))
            self.seen["node pressed"] += 1
        elif isinstance(event, e.NodeCalm):
            if was:
                self._turns(event.node, self._heard.below, "a node is calm that has not said so", now_us)
        else:
            self._lost(event.node)

    def _ended(self, event: e.AttemptsEnded) -> None:
        """Whoever died, or was over, before it had left, was not moved."""
        for key, end in zip(event.keys, event.ends, strict=True):
            if end != AttemptEnd.STOPPED and not self._since.get(key):
                self._let.add(key)

    def _turns(self, node: NodeId, said: dict[NodeId, list[int]], what: str, now_us: int) -> None:
        """A node has said so, often enough in a row, since it said otherwise."""
        when = [at_us for at_us in said[node] if self._turned_us[node] <= at_us <= now_us]
        self._auditor.expect(bool(when), what, (node, self._turned_us[node], now_us))
        self._turned_us[node] = now_us

    def _lost(self, node: NodeId) -> None:
        """Whoever was there has to go somewhere: it counts as if it had not been."""
        for found in self._since.values():
            found.discard(node)

    def _left(self, stop: d.Stop, now_us: int) -> None:
        expect, settings = self._auditor.expect, self._settings
        expect(stop.node in self._pressed, "something leaves a node that is calm", stop)
        for key in stop.keys:
            rests = [at for at, one, _ in self._moves if one == key and at > now_us - settings.rest_us]
            expect(not rests, "something is moved again in its rest", (stop, rests))
            self._moves.append((now_us, key, stop.node))
            self._since[key] = set()
            self._let.discard(key)
            self.seen["moved" if stop.reason == Reason.MOVED else "moved away, to wait"] += 1
        lately = [at for at, _, _ in self._moves if at > now_us - _MINUTE_US]
        expect(len(lately) <= settings.moves_per_minute, "more is moved than may in a minute", (len(lately), stop))

    def _sent(self, launch: d.Launch, now_us: int) -> None:
        expect = self._auditor.expect
        calm = launch.node not in self._pressed or bool(launch.kind.receiver)
        expect(calm, "something starts on a node that is pressed", launch)
        for key in launch.keys:
            for at_us, one, origin in self._moves[-50:]:
                back = one == key and origin == launch.node and at_us > now_us - self._settings.rest_us
                lawful = key in self._let or self._since[key] - {origin} == set()
                expect(not back or lawful, "there and back", (key, origin, self._since[key]))
                expect(not back or key in self._let, "something starts where it was moved from", (key, origin))
            self._since[key].add(launch.node)

    def _check_no_more(self, node: NodeId, stops: list[d.Stop]) -> None:
        """Of those that leave a node at once, none could stay."""
        load, uses = self._pressed.get(node, (0, {}))
        going = [key for stop in stops if stop.node == node for key in stop.keys if key in uses]
        freed = [uses[key] for key in going]
        more = [share for share in freed if sum(freed) - share >= load - self._low]
        self._auditor.expect(not more, "more leaves a node than is needed", (node, load, self._low, freed))
