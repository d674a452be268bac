"""The process of an agent in a virtual world: what it has done, how it saves that, and when it stands still.

As `worker.agent_host` and `worker.agent_saves` have it, without threads. An agent's state is what it has done: the ids
of its messages, in their order. A save holds that and the results of the last messages; messages go through side by
side, a save alone, and what ends after the last save has begun has no outcome.
"""

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from kos_ray.model.agent_snapshots import ASKED, SCHEDULE, STEP, SUSPEND
from kos_ray.model.job import AttemptEnd, Carries
from kos_ray.model.payload import inline, open_payload
from kos_ray.sim.code import Lives, saved_state
from kos_ray.sim.slots import Attempt
from kos_ray.sim.uplink import Uplink
from kos_ray.sim.world import MS_US, World

#: results that go with a save
_REMEMBERED = 100
#: of the time to stop in, what is left to the messages that run when it begins
_CALLS_SHARE = 0.3


class Life:
    """One attempt of a carrier, from its entry to the end of its process."""

    def __init__(self, world: World, uplink: Uplink, lives: Lives, attempt: Attempt, machine: str) -> None:
        assert attempt.carries is not None
        self.attempt = attempt
        self.carries: Carries = attempt.carries
        self.dead = False
        #: the last save has begun, or is waited for: nothing has an outcome any more
        self.leaving = False
        #: until when its process stands still
        self.frozen_us = 0
        self._world, self._uplink, self._lives = world, uplink, lives
        done, self._handled = saved_state(attempt.restored)
        self.done = list(done)
        self._inside: dict[Attempt, bool] = {}
        self._outside: list[tuple[Attempt, Callable[[], None]]] = []
        #: saves that are to be made: why, and what follows
        self._wanted: deque[tuple[str, Callable[[], None]]] = deque()
        self._saving = False
        self._number = self._count = self._in_save = 0
        lives.began(attempt.job, attempt.number, machine, attempt.restored)
        if self.carries.interval_ms:
            world.after(self.carries.interval_ms * MS_US, self._by_the_clock)

    def die(self) -> None:
        """Its process is no more."""
        if not self.dead:
            self.dead = True
            self._lives.gone(self.attempt.job, self.attempt.number)

    def stands_still(self, call: Callable[..., None], *args: Any) -> bool:
        """Whether its process is frozen: what was to happen in it happens when that is over."""
        left_us = self.frozen_us - self._world.now_us
        if left_us > 0:
            self._world.after(left_us, call, *args)
        return left_us > 0

    # --- messages

    def known(self, attempt: Attempt) -> bytes:
        """The result of a message that is saved already, b"" for any other."""
        result = self._handled.get(attempt.job)
        if result is None:
            return b""
        self._lives.knew(self.attempt.job, attempt.job, attempt.number)
        return inline(result.encode())

    def enter(self, attempt: Attempt, begin: Callable[[], None]) -> None:
        """Handle a message, as soon as no save is being made."""
        if self._shut:
            self._outside.append((attempt, begin))
        else:
            self._inside[attempt] = True
            begin()

    def ended(self, attempt: Attempt, end: AttemptEnd, result: bytes, told: Callable[[], None]) -> None:
        """A message has ended. `told` is called when its outcome may be told: where a save is due, behind that."""
        if not self._inside.pop(attempt, False) or (self.leaving and self._saving):
            return  # it has ended, or the last save may lack its effect: it has no outcome
        if end is AttemptEnd.SUCCEEDED:
            self.done.append(attempt.job)
            data = open_payload(result)
            assert isinstance(data, bytes)
            self._handled[attempt.job] = data.decode()
            while len(self._handled) > _REMEMBERED:
                del self._handled[next(iter(self._handled))]
            self._lives.did(self.attempt.job, self.attempt.number, attempt.job, attempt.number)
        self._count += 1
        every = self.carries.snapshot_every
        if every and not self._count % every:
            self._wanted.append((STEP, told))
        else:
            told()
        self._look()

    # --- saves

    def asked(self) -> None:
        """Somebody wants a save."""
        if not self.leaving:
            self._wanted.append((ASKED, lambda: None))
            self._look()

    def leave(self, grace_us: int, over: Callable[[], None]) -> None:
        """Let messages end that run, save for whatever comes after this life unless there is nothing; then `over`."""
        if self.leaving:
            return
        share_us = int(grace_us * _CALLS_SHARE) if self._inside else 0
        self._world.after(share_us, self._leaves, over)

    def _leaves(self, over: Callable[[], None]) -> None:
        if self.dead or self.leaving or self.stands_still(self._leaves, over):
            return
        self.leaving = True
        if self.attempt.for_good:
            over()
            return
        waiting = [told for why, told in self._wanted if why == STEP]
        self._wanted.clear()

        def stored() -> None:
            for told in waiting:
                told()
            over()

        self._wanted.append((SUSPEND, stored))
        self._look()

    @property
    def _shut(self) -> bool:
        return self._saving or self.leaving or any(why == STEP for why, _ in self._wanted)

    def _look(self) -> None:
        """Begin the save that is due, or let those in who wait."""
        if self.dead or self._saving:
            return
        if self._wanted and (self.leaving or not self._inside):
            self._save(*self._wanted.popleft())
            return
        while self._outside and not self._shut:
            attempt, begin = self._outside.pop(0)
            self._inside[attempt] = True
            begin()

    def _save(self, why: str, over: Callable[[], None]) -> None:
        self._saving = True
        self._number += 1
        number, count = self._number, self._count
        payload = inline(json.dumps([self.done, self._handled]).encode())
        self._lives.saves(self.attempt.job, self.attempt.number, number, payload)

        def told(stored: bool) -> None:
            if self.dead or self.stands_still(told, stored):
                return
            self._lives.kept(self.attempt.job, self.attempt.number, number, stored=stored)
            self._saving = False
            self._in_save = count
            if stored or why != SUSPEND:
                over()
            self._look()

        self._uplink.add_save(self.attempt.key, self.attempt.number, number, payload, why, told)

    def _by_the_clock(self) -> None:
        if self.dead or self.leaving or self.stands_still(self._by_the_clock):
            return
        if self._count != self._in_save and not any(why == SCHEDULE for why, _ in self._wanted):
            self._wanted.append((SCHEDULE, lambda: None))
            self._look()
        self._world.after(self.carries.interval_ms * MS_US, self._by_the_clock)
