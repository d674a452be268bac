"""The lease of exclusive work: where nobody renews it, the kernel ends this process.

The timer is the kernel's (`timer_create` with SIGKILL): it fires whatever Python does, in a call that never returns,
and while the process is stopped. It counts on CLOCK_BOOTTIME, which goes on while the machine sleeps. A thread asks the
node agent for time, and sets the timer anew by what it gets, counted from before it asked.
"""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import lru_cache

from kos_ray.model.errors import KosError

_CLOCK_BOOTTIME = 7
_SIGEV_SIGNAL = 0


class _Sigevent(ctypes.Structure):
    """`struct sigevent` of Linux, 64 bytes."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * 48),
    )


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    """The C library that has timers: in older ones they stand apart."""
    found = ctypes.CDLL(None, use_errno=True)
    return found if hasattr(found, "timer_create") else ctypes.CDLL("librt.so.1", use_errno=True)


class KillTimer:
    """Kills this process when it is not set anew in time."""

    def __init__(self) -> None:
        event = _Sigevent(signo=signal.SIGKILL, notify=_SIGEV_SIGNAL)
        self._timer = ctypes.c_void_p()
        if _library().timer_create(_CLOCK_BOOTTIME, ctypes.byref(event), ctypes.byref(self._timer)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def set(self, seconds: float) -> None:
        """The end comes so many seconds from now; 0 for never."""
        nanoseconds = 0 if seconds == 0 else max(1, round(seconds * 1e9))
        spec = _Itimerspec(value=_Timespec(*divmod(nanoseconds, 1_000_000_000)))
        if _library().timer_settime(self._timer, 0, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def close(self) -> None:
        """There is no end any more."""
        _library().timer_delete(self._timer)


class Lease:
    """What one exclusive attempt runs under, from before its code is entered to behind its end.

    `ask` answers with the milliseconds that are left, as long as there are any, and may take its time.
    """

    def __init__(self, ask: Callable[[], int]) -> None:
        self._ask = ask
        self._timer = KillTimer()
        self._over = threading.Event()
        self._setting = threading.Lock()
        self._left_s = self._renew()
        self._thread = threading.Thread(target=self._run, name="kos-lease", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The attempt is over."""
        self._over.set()
        with self._setting:
            self._timer.close()

    def _renew(self) -> float:
        asked = time.clock_gettime(time.CLOCK_BOOTTIME)
        left_s = self._ask() / 1_000
        # what it took to ask is gone
        left_s = max(0.001, left_s - (time.clock_gettime(time.CLOCK_BOOTTIME) - asked))
        with self._setting:
            if not self._over.is_set():
                self._timer.set(left_s)
        return left_s

    def _run(self) -> None:
        while not self._over.wait(max(0.05, self._left_s / 3)):
            try:
                self._left_s = self._renew()
            except KosError:  # the agent is gone, and the end will come
                return
