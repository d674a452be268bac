"""What one GPU does now, as its driver says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU; None where the driver does not say it."""

    index: int
    name: str
    #: of the last second or less, the share of time in which it computed, in thousandths
    used: int | None = None
    #: bytes
    memory_used: int | None = None
    memory_total: int | None = None
    #: degrees Celsius
    temperature: int | None = None
    #: what it draws, and may draw, in watts
    power: float | None = None
    power_limit: float | None = None
    #: processes that compute on it: `(pid, bytes of its memory)`; bytes are None where the driver does not say
    processes: tuple[tuple[int, int | None], ...] | None = None
