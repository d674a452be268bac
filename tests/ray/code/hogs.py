"""Jobs of the tests that take a lot of memory."""

import time
from pathlib import Path


def fill(mib: int, folder: str) -> int:
    """Take memory, say when that was done, and keep it until a file is there."""
    held = [b"x" * (1 << 20) for _ in range(mib)]
    (Path(folder) / "full.tmp").write_text(str(time.time()))
    (Path(folder) / "full.tmp").rename(Path(folder) / "full")
    while not (Path(folder) / "release").exists():
        time.sleep(0.05)
    return len(held)
