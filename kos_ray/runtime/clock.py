"""Where time comes from."""

import time


class SystemClock:
    """The wall clock when it was made, plus the monotonic clock since: it never jumps."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_us(self) -> int:
        """See `engine.ports.Clock`."""
        return (self._offset_ns + time.monotonic_ns()) // 1_000
