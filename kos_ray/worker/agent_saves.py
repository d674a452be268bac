"""How an agent's state is saved in its process: when, with what, and while no message runs."""

import contextlib
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from kos_ray.model.agent_snapshots import ASKED, SCHEDULE, STEP, SUSPEND
from kos_ray.model.errors import KosError
from kos_ray.model.job import AttemptEnd, Carries
from kos_ray.model.payload import BlobRef, open_payload
from kos_ray.worker.context import Context
from kos_ray.worker.results import Error

#: results that go with a snapshot: of messages whose outcome may not have been reported when it was taken
_REMEMBERED = 100
#: seconds for which a save that can wait lets messages pass, and for which it then holds up those behind
_OPEN_S = 10.0
_SHUT_S = 0.3

Outcome = tuple[int, bytes, Error | None]


class _Leaves(KosError):
    """The agent goes, and saves its state then."""


class Gate:
    """Calls go through side by side, a snapshot alone. Nobody comes out behind the last one: nothing keeps its effect.

    Such a call has no outcome, so it is handled again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = self._waiting = 0
        self._saving = False
        self._leaves = False
        self._shut = False

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """A message is handled."""
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not (self._saving or self._shut))
            self._waiting -= 1
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._shut)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nothing is handled meanwhile: what is handled now has ended.

        Raises:
            _Leaves: the last save has begun, or is waited for.

        """
        with self._changed:
            self._changed.wait_for(lambda: not self._saving or self._leaves)
            if self._leaves:
                raise _Leaves("the agent goes")
            self._saving = True
            self._changed.wait_for(lambda: not self._inside or self._leaves)
            if self._leaves:
                self._open()
                raise _Leaves("the agent goes")
        try:
            yield
        finally:
            with self._changed:
                self._open()

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """The same for who can wait: no message is held up while another one runs, or for a moment now and then.

        Raises:
            _Leaves: the last save has begun, or is waited for.

        """
        with self._changed:
            insists_s = time.monotonic() + _OPEN_S
            while not self._has_it(insists=time.monotonic() >= insists_s):
                left_s = insists_s - time.monotonic()
                if left_s <= 0:
                    insists_s = time.monotonic() + _OPEN_S
                self._changed.wait_for(lambda: self._leaves or not self._inside, max(0.0, left_s))
        try:
            yield
        finally:
            with self._changed:
                self._open()

    def _has_it(self, *, insists: bool) -> bool:
        """Shut the gate until nobody is inside, or somebody waits who would be held up; who insists waits longer."""
        self._changed.wait_for(lambda: not self._saving or self._leaves)
        if not self._leaves:
            self._saving = True
            self._changed.wait_for(
                lambda: not self._inside or self._leaves or (self._waiting > 0 and not insists),
                timeout=_SHUT_S if insists else None,
            )
            if not self._inside and not self._leaves:
                return True
            self._open()
        if self._leaves:
            raise _Leaves("the agent goes")
        return False

    @contextlib.contextmanager
    def last(self) -> Iterator[None]:
        """The same for the last save, which waits for nobody but for a save that is being made.

        What ends from now on has no outcome: the save may lack its effect.
        """
        with self._changed:
            self._leaves = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._saving)
            self._saving = self._shut = True
        try:
            yield
        finally:
            with self._changed:
                self._open()

    def leaves(self) -> None:
        """Nobody gets a save any more, not even who waits for one."""
        with self._changed:
            self._leaves = True
            self._changed.notify_all()

    def _open(self) -> None:
        self._saving = False
        self._changed.notify_all()


class Saves:
    """The saves of one life: of what `state` gives, with the results of the last messages."""

    def __init__(
        self, carries: Carries, context: Context, state: Callable[[], Any], wrong: Callable[[str], None]
    ) -> None:
        self._carries = carries
        self._context = context
        self._state = state
        self._wrong = wrong
        self._gate = Gate()
        self._counting = threading.Lock()
        #: messages that were handled, and how many of them are in the last save
        self._count = self._in_save = 0
        #: results of the last messages, by public id: one that comes again though its effect is saved has it already
        self._handled: OrderedDict[str, bytes] = OrderedDict()
        self._due_s = time.monotonic() + carries.interval_ms / 1_000
        #: why saves are on their way that can wait
        self._begun: set[str] = set()

    def restore(self, handled: dict[str, bytes]) -> None:
        """Take over what came with the state that the agent begins with."""
        self._handled.update(handled)

    def handle(self, message: str, call: Callable[[], Outcome]) -> Outcome:
        """Handle a message, unless that is done already, and save the state where it is time for that."""
        known = self._handled.get(message)
        if known is not None:
            return int(AttemptEnd.SUCCEEDED), known, None
        with self._gate.call():
            outcome = call()
            with self._counting:  # a save has the effect of a message along with its result, or neither
                if outcome[0] == AttemptEnd.SUCCEEDED and not isinstance(open_payload(outcome[1]), BlobRef):
                    self._handled[message] = outcome[1]
                    while len(self._handled) > _REMEMBERED:
                        self._handled.popitem(last=False)
                self._count += 1
                due = self._carries.snapshot_every and self._count % self._carries.snapshot_every == 0
        if due:
            self._between(STEP)
        return outcome

    def last(self) -> None:
        """Save the state for whatever comes after this life.

        Raises:
            KosError: it could not be saved.

        """
        with self._gate.last():
            self._save(SUSPEND)

    def no_more(self) -> None:
        """The life is over for good, and its state with it: nothing is saved from now on."""
        self._gate.leaves()

    def asked(self) -> None:
        """Somebody wants a save: it is made as soon as no message runs. Returns at once."""
        self._begin(ASKED)

    def wait_ms(self) -> int | None:
        """Milliseconds until `look` is to be called, None where nothing is saved by the clock."""
        if not self._carries.interval_ms:
            return None
        return max(0, round((self._due_s - time.monotonic()) * 1_000))

    def look(self) -> None:
        """Save by the clock, if it is time for that and something was handled. Returns at once."""
        if not self._carries.interval_ms or time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + self._carries.interval_ms / 1_000
        if self._count != self._in_save:
            self._begin(SCHEDULE)

    def _begin(self, why: str) -> None:
        with self._counting:
            if why in self._begun:
                return
            self._begun.add(why)
        threading.Thread(target=self._between, args=(why,), name="kos-save", daemon=True).start()

    def _between(self, why: str) -> None:
        """Save between two messages; what goes wrong is told, and the agent lives on with its last save."""
        try:
            with self._gate.alone() if why == STEP else self._gate.quiet():
                # whoever asks from now on wants another one
                self._begun.discard(why)
                self._save(why)
        except _Leaves:
            return
        except Exception as error:  # noqa: BLE001 - the state is the user's, and so is what goes wrong when it is pickled
            text = str(error) if isinstance(error, KosError) else f"{type(error).__name__}: {error}"
            print(f"agent {self._carries.name}: {text}", file=sys.stderr)
            if why == ASKED:
                self._wrong(text)

    def _save(self, why: str) -> None:
        while True:
            with self._counting:
                count, handled = self._count, dict(self._handled)
            payload = self._context.packed({"state": self._state(), "handled": handled})
            # a message that ended meanwhile, when the agent goes, has left its effect but no result
            if count == self._count:
                break
        self._context.snapshot(payload, why)
        self._in_save = count
