"""Mailboxes as they stand: what waits in each, who has taken what, and who waits for something."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from kos_ray.model.ids import JobKey
from kos_ray.model.mailboxes import (
    SEEN_MAX,
    BuryMessages,
    DeliverMessages,
    EndTakes,
    MailboxDecision,
    MailboxEvent,
    MessagesPut,
    TakeAsked,
    TakesEnded,
)
from kos_ray.model.wire import from_plain, to_plain

#: takes that ended with nothing are remembered for whoever asks again, the last so many
_ENDED_MAX = 10_000
_JOB = "\0job\0"


@dataclass(slots=True)
class Message:
    """One message; `deliveries` is how often it was handed out."""

    value: bytes
    by: str = ""
    at_us: int = 0
    deliveries: int = 0


@dataclass(slots=True)
class Box:
    """One mailbox: messages by id, the next one first."""

    ready: OrderedDict[str, Message] = field(default_factory=OrderedDict)
    taken: dict[str, Message] = field(default_factory=dict)
    dead: dict[str, Message] = field(default_factory=dict)
    #: ids that were put, the oldest first
    seen: OrderedDict[str, None] = field(default_factory=OrderedDict)
    #: tickets of those that wait, as they came
    waiting: dict[str, None] = field(default_factory=dict)
    #: those that came back as often as they may; empty between steps
    spent: dict[str, None] = field(default_factory=dict)
    bytes: int = 0

    @property
    def size(self) -> int:
        """Messages in all."""
        return len(self.ready) + len(self.taken) + len(self.dead)


@dataclass(slots=True)
class Take:
    """One ask, and the message that it has."""

    said: TakeAsked
    box: str = ""
    id: str = ""


@dataclass(slots=True)
class Mailboxes:
    """All of them."""

    by_key: dict[str, Box] = field(default_factory=dict)
    takes: dict[str, Take] = field(default_factory=dict)
    ended: OrderedDict[str, None] = field(default_factory=OrderedDict)
    #: bytes of all messages; derived
    bytes: int = 0
    #: mailboxes of signals to jobs; derived
    of_job: dict[JobKey, list[str]] = field(default_factory=dict)
    #: a heap of `(until_us, ticket)`, with stale entries; derived
    due: list[tuple[int, str]] = field(default_factory=list)
    #: mailboxes of which something has changed; empty between steps
    touched: dict[str, None] = field(default_factory=dict)

    # --- what happened

    def fold(self, event: MailboxEvent) -> None:
        """An event."""
        if isinstance(event, MessagesPut):
            self._put(event)
        elif isinstance(event, TakeAsked):
            self._asked(event)
        elif isinstance(event, TakesEnded):
            self.left(event.tickets, handled=event.handled)
        elif event.box in self.by_key:
            box = self.by_key[event.box]
            for message in box.dead.values():
                message.deliveries = 0
            box.ready.update(box.dead)
            box.dead.clear()
            self.touched[event.box] = None

    def left(self, tickets: Iterable[str], *, handled: bool = False) -> None:
        """These takes are over; what they had goes, or goes back to the front."""
        for ticket in tickets:
            take = self.takes.pop(ticket, None)
            if take is None:
                continue
            for name in take.said.boxes:
                if name in self.by_key:
                    self.by_key[name].waiting.pop(ticket, None)
                    self._forget_empty(name)
            box = self.by_key.get(take.box)
            if box is None:
                continue
            message = box.taken.pop(take.id)
            if handled:
                box.bytes -= len(message.value)
                self.bytes -= len(message.value)
            else:
                box.ready[take.id] = message
                box.ready.move_to_end(take.id, last=False)
                if message.deliveries >= take.said.deliveries:
                    box.spent[take.id] = None
                self.touched[take.box] = None

    def job_over(self, key: JobKey) -> None:
        """Nobody will take signals to this job any more."""
        for name in self.of_job.pop(key, ()):
            box = self.by_key.pop(name)
            self.bytes -= box.bytes

    def _put(self, event: MessagesPut) -> None:
        box = self.box(event.box)
        for id_, value in zip(event.ids, event.values, strict=True):
            box.ready[id_] = Message(value, event.by, event.at_us)
            box.seen[id_] = None
            box.bytes += len(value)
            self.bytes += len(value)
        while len(box.seen) > SEEN_MAX:
            box.seen.popitem(last=False)
        self.touched[event.box] = None

    def _asked(self, event: TakeAsked) -> None:
        if event.ticket in self.takes or event.ticket in self.ended:
            return
        self.takes[event.ticket] = Take(event)
        for name in event.boxes:
            self.box(name).waiting[event.ticket] = None
            self.touched[name] = None
        if event.until_us:
            heappush(self.due, (event.until_us, event.ticket))

    def box(self, name: str) -> Box:
        """A mailbox, made where there is none."""
        if name not in self.by_key:
            self.by_key[name] = Box()
            if (job := _job_of(name)) is not None:
                self.of_job.setdefault(job, []).append(name)
        return self.by_key[name]

    def _forget_empty(self, name: str) -> None:
        box = self.by_key[name]
        if not (box.size or box.seen or box.waiting):
            del self.by_key[name]
            job = _job_of(name)
            if job is not None:
                self.of_job[job].remove(name)
                if not self.of_job[job]:
                    del self.of_job[job]

    # --- what was decided

    def apply(self, decision: MailboxDecision) -> None:
        """A decision."""
        if isinstance(decision, DeliverMessages):
            for ticket, name, id_ in zip(decision.tickets, decision.boxes, decision.ids, strict=True):
                take, box = self.takes[ticket], self.by_key[name]
                message = box.taken[id_] = box.ready.pop(id_)
                message.deliveries += 1
                take.box, take.id = name, id_
                for other in take.said.boxes:
                    self.by_key[other].waiting.pop(ticket, None)
        elif isinstance(decision, BuryMessages):
            box = self.by_key[decision.box]
            for id_ in decision.ids:
                box.dead[id_] = box.ready.pop(id_)
            box.spent.clear()
        else:
            self.left(decision.tickets)
            for ticket in decision.tickets:
                self.ended[ticket] = None
            while len(self.ended) > _ENDED_MAX:
                self.ended.popitem(last=False)

    # --- what is to be decided

    def is_due(self, now_us: int) -> bool:
        """Whether something is to be decided."""
        return bool(self.touched or (self.due and self.due[0][0] <= now_us))

    def decide(self, now_us: int) -> Iterator[MailboxDecision]:
        """Decisions one after another; each is to be folded before the next one is asked for."""
        while self.touched:
            name = next(iter(self.touched))
            del self.touched[name]
            box = self.by_key.get(name)
            if box is None:
                continue
            if box.spent:
                yield BuryMessages(box=name, ids=tuple(box.spent))
            pairs = list(zip(box.waiting, box.ready, strict=False))
            if pairs:
                tickets, ids = zip(*pairs, strict=True)
                yield DeliverMessages(tickets=tickets, boxes=(name,) * len(ids), ids=ids)
        late: list[str] = []
        while self.due and self.due[0][0] <= now_us:
            _, ticket = heappop(self.due)
            if ticket in self.takes and not self.takes[ticket].id:
                late.append(ticket)
        if late:
            yield EndTakes(tickets=tuple(late))

    def next_due_us(self) -> int | None:
        """When a wait is over, None: never."""
        while self.due and (self.due[0][1] not in self.takes or self.takes[self.due[0][1]].id):
            heappop(self.due)
        return self.due[0][0] if self.due else None


def _job_of(name: str) -> JobKey | None:
    """The job for whose signals a mailbox is."""
    _, is_job, rest = name.partition(_JOB)
    return JobKey(int(rest.partition("\0")[0])) if is_job else None


# --- snapshots


def to_snapshot(boxes: Mailboxes) -> Any:
    """Plain data; what is derived is left out."""
    return (
        [
            (key, *map(_messages, (box.ready, box.taken, box.dead)), list(box.seen), list(box.waiting))
            for key, box in boxes.by_key.items()
        ],
        [(to_plain(take.said), take.box, take.id) for take in boxes.takes.values()],
        list(boxes.ended),
    )


def from_snapshot(plain: Any) -> Mailboxes:
    """The inverse."""
    found = Mailboxes()
    by_key, takes, ended = plain
    for key, ready, taken, dead, seen, waiting in by_key:
        box = found.box(key)
        box.ready, box.taken, box.dead = OrderedDict(_read(ready)), dict(_read(taken)), dict(_read(dead))
        box.seen, box.waiting = OrderedDict.fromkeys(seen), dict.fromkeys(waiting)
        box.bytes = sum(len(one.value) for part in (box.ready, box.taken, box.dead) for one in part.values())
        found.bytes += box.bytes
    for said, name, id_ in takes:
        take = Take(from_plain(TakeAsked, said), name, id_)
        found.takes[take.said.ticket] = take
        if take.said.until_us and not id_:
            heappush(found.due, (take.said.until_us, take.said.ticket))
    found.ended = OrderedDict.fromkeys(ended)
    return found


def _messages(found: dict[str, Message]) -> Any:
    return [(id_, one.value, one.by, one.at_us, one.deliveries) for id_, one in found.items()]


def _read(plain: Any) -> Iterator[tuple[str, Message]]:
    return ((id_, Message(*fields)) for id_, *fields in plain)


def shown_box(key: str) -> str:
    """A mailbox's name as people write it; a signal's with whom it is for."""
    name = key.partition("\0")[2]
    return "signal " + " ".join(filter(None, name.split("\0"))) if name.startswith("\0") else name
