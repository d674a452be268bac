"""Outboxes of waiting clients: outcomes are put there when they are on disk, and fetched by long polling."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from kos_ray.model.ids import JobKey
from kos_ray.model.protocol import Outcomes

#: closed outboxes that are remembered; a poll is on its way for seconds at most
CLOSED_MAX = 10_000


@dataclass(slots=True)
class _Column:
    keys: list[JobKey] = field(default_factory=list)
    states: list[int] = field(default_factory=list)
    reasons: list[int] = field(default_factory=list)
    results: list[bytes] = field(default_factory=list)
    errors: list[tuple[int, str, str, str]] = field(default_factory=list)


class Session:
    """One client's outbox. A portion stays until the client has acknowledged it by asking for the next one."""

    def __init__(self) -> None:
        self._new = _Column()
        self._sent: Outcomes | None = None
        self._number = 0
        #: called once when something new is there, or the session ends
        self.wake: Callable[[], None] | None = None

    def put(self, key: JobKey, state: int, reason: int, result: bytes, error: tuple[str, str, str] | None) -> None:
        """Add one outcome; `error` is (type, message, traceback)."""
        new = self._new
        if error:
            new.errors.append((len(new.keys), *error))
        new.keys.append(key)
        new.states.append(state)
        new.reasons.append(reason)
        new.results.append(result)

    def notify(self) -> None:
        """Wake whoever waits at this outbox."""
        wake, self.wake = self.wake, None
        if wake:
            wake()

    def take(self, acked: int) -> Outcomes | None:
        """The next portion, the same one again until it is acknowledged, or None when there is nothing."""
        if self._sent is not None and self._sent.number > acked:
            return self._sent
        self._sent = None
        if not self._new.keys:
            return None
        new, self._new = self._new, _Column()
        self._number += 1
        self._sent = Outcomes(
            number=self._number,
            keys=tuple(new.keys),
            states=tuple(new.states),
            reasons=tuple(new.reasons),
            results=tuple(new.results),
            errors=tuple(new.errors),
        )
        return self._sent


class Sessions:
    """All outboxes, and which job's outcome goes to which of them."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._watched: dict[JobKey, tuple[Session, ...]] = {}
        #: names of closed outboxes: a poll that was on its way then must not wait at a new one
        self._closed: dict[str, None] = {}

    def get(self, name: str) -> Session:
        """The outbox of that name, made when it is new."""
        session = self._sessions.get(name)
        if session is None:
            session = self._sessions[name] = Session()
        return session

    def is_closed(self, name: str) -> bool:
        """Whether the client of that name has left."""
        return name in self._closed

    def close(self, name: str) -> None:
        """Forget an outbox and what it waits for."""
        self._closed[name] = None
        if len(self._closed) > CLOSED_MAX:
            del self._closed[next(iter(self._closed))]
        session = self._sessions.pop(name, None)
        if session is None:
            return
        for key, watchers in list(self._watched.items()):
            if session in watchers:
                left = tuple(w for w in watchers if w is not session)
                if left:
                    self._watched[key] = left
                else:
                    del self._watched[key]
        session.notify()

    def watch(self, name: str, keys: Iterable[JobKey]) -> None:
        """Send the outcomes of these jobs to an outbox."""
        session = self.get(name)
        watched = self._watched
        for key in keys:
            others = watched.get(key)
            if others is None:
                watched[key] = (session,)
            elif session not in others:
                watched[key] = (*others, session)

    def take_watchers(self, key: JobKey) -> tuple[Session, ...]:
        """Who waits for a job that is over now; nobody does from here on."""
        return self._watched.pop(key, ())

    @property
    def watching(self) -> bool:
        """Whether anybody waits for anything."""
        return bool(self._watched)


def put_outcomes(outcomes: Outcomes, watchers: Mapping[JobKey, Iterable[Session]]) -> None:
    """Put outcomes as the journal has them into outboxes."""
    errors = {index: (kind, message, traceback) for index, kind, message, traceback in outcomes.errors}
    for i, key in enumerate(outcomes.keys):
        for session in watchers[key]:
            session.put(key, outcomes.states[i], outcomes.reasons[i], outcomes.results[i], errors.get(i))
