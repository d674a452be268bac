"""UUIDv7 (RFC 9562): ids that sort by the time they were made."""

import os
import time


def uuid7() -> str:
    """48 bits of milliseconds, 74 random bits, as text."""
    return uuid7s(1)[0]


def uuid7s(count: int) -> list[str]:
    """So many of them, of one millisecond: a microsecond each."""
    clock = f"{time.time_ns() // 1_000_000 & (1 << 48) - 1:012x}"
    start = f"{clock[:8]}-{clock[8:]}-7"
    r = os.urandom(10 * count).hex()
    return [
        # 12 random bits; the variant's two bits and 2 random ones; 60 random bits
        f"{start}{r[i : i + 3]}-{'89ab'[int(r[i + 3], 16) & 3]}{r[i + 4 : i + 7]}-{r[i + 7 : i + 19]}"
        for i in range(0, 20 * count, 20)
    ]
