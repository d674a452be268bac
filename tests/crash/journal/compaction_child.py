"""Compacts a journal until a failpoint kills it: compaction_child.py STATE_DIR CUTOFF_US FAILPOINT TIMES."""

import os
import signal
import sys
from pathlib import Path

from kos_ray.model import failpoints
from kos_ray.runtime import compaction

if __name__ == "__main__":
    state, cutoff_us, point, nth = sys.argv[1:]
    left = [int(nth)]

    def hook(reached: str) -> None:
        if reached == point:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    failpoints.install(hook)
    cutoffs = dict.fromkeys(compaction.FINALS, int(cutoff_us))
    compaction.compact_file(Path(state), cutoffs, grace_s=0, now_s=0)
