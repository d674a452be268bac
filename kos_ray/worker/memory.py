"""What the kernel says of processes that it killed because no memory was left."""

from pathlib import Path

_VMSTAT = Path("/proc/vmstat")


def oom_kills() -> int:
    """How many it has killed on this machine since it was started; 0 where it does not say."""
    try:
        lines = _VMSTAT.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
