"""Questions to a journal in a state directory, whether its scheduler runs or not: the command line's way to them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from kos_ray.journal import export
from kos_ray.journal.anchor import newest_anchor
from kos_ray.journal.backup import Copied, copy_state
from kos_ray.journal.history import story
from kos_ray.journal.reader import JournalReader, connect_read_only
from kos_ray.model.views import JobHistory

__all__ = ["Copied", "anchor", "copy_state", "decisions", "history"]


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


def anchor(state_dir: Path) -> str:
    """The anchor of the newest frame, as `HASH@SEQ`."""
    with closing(connect_read_only(state_dir)) as connection:
        return str(newest_anchor(connection))
