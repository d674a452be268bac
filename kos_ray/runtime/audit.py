"""Questions to a journal in a state directory, whether its scheduler runs or not: the command line's way to them."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from kos_ray.journal import export
from kos_ray.journal.anchor import newest_anchor
from kos_ray.journal.backup import Copied, copy_state
from kos_ray.journal.history import story
from kos_ray.journal.reader import JournalReader, connect_read_only
from kos_ray.journal.schema import JournalUnusable
from kos_ray.journal.store import DATABASE
from kos_ray.model.errors import NotFound
from kos_ray.model.views import JobHistory
from kos_ray.runtime import compaction, connect
from kos_ray.runtime.compaction import Compacted

__all__ = ["Compacted", "Copied", "anchor", "compact", "copy_state", "decisions", "history"]


def history(state_dir: Path, namespace: str, ref: str) -> JobHistory:
    """What happened to a job, by its id or its name in `namespace`.

    Raises:
        NotFound: there is no such journal or job.

    """
    with closing(JournalReader(state_dir)) as reader:
        view = reader.job(namespace, ref)
        return JobHistory(job=view, story=tuple(story(reader, view)))


def decisions(state_dir: Path, from_seq: int = 0) -> Iterator[dict[str, Any]]:
    """All decisions; see `journal.export`."""
    with closing(JournalReader(state_dir)) as reader:
        yield from export.decisions(reader, from_seq)


def compact(state_dir: Path, before_us: int, *, dry: bool) -> Compacted | None:
    """Remove jobs that ended before an instant, through the scheduler where one runs; None where there are none.

    Raises:
        Refused: the journal cannot write now, or something new refers to what would go.

    """
    cutoffs = dict.fromkeys(compaction.FINALS, before_us)
    if dry:
        found = compaction.prepare(state_dir, cutoffs, dry=True)
        return found.found if found else None
    if not (state_dir / DATABASE).exists():
        raise NotFound(f"there is no journal in {state_dir}")
    try:
        return compaction.compact_file(state_dir, cutoffs, grace_s=compaction.GRACE_S, now_s=time.time())[0]
    except JournalUnusable:
        connection = connect.attach()
        held = connection.ask_scheduler("greet")["state_dir"]
        if Path(held).resolve() != state_dir.resolve():
            raise
        said = connection.ask_scheduler("compact", before_us)
        return Compacted(**said) if said else None


def anchor(state_dir: Path) -> str:
    """The anchor of the newest frame, as `HASH@SEQ`."""
    with closing(connect_read_only(state_dir)) as connection:
        return str(newest_anchor(connection))
