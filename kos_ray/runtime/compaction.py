"""Compaction: what retention removes is worked out beside the scheduler, and what stands for it is written.

The removal itself is the journal's one writer's: `Journal.removal`, after the frame that says so is on disk.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from kos_ray.journal import base, chain, pruning, rows, schema
from kos_ray.journal.blobs import FileBlobStore
from kos_ray.journal.reader import JournalReader, connect_read_only
from kos_ray.journal.references import of_schedule, referenced
from kos_ray.journal.snapshots import BASE, FileSnapshots, decode_snapshot
from kos_ray.journal.store import Journal
from kos_ray.model.agents import Agent
from kos_ray.model.errors import JournalDamaged, Refused
from kos_ray.model.events import JournalCompacted
from kos_ray.model.job import JobState
from kos_ray.model.schedule import Schedule
from kos_ray.scheduler.machine import recover
from kos_ray.scheduler.snapshot import resumed, state_to_plain
from kos_ray.scheduler.state import State

FINALS = tuple(state for state in JobState if state.final)
#: an instant before all others: nothing goes
NEVER = -1
#: a blob is stored before a frame refers to it: so many seconds later it has one, or its sender is dead
GRACE_S = 2 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """What a compaction removes, or would remove: jobs, frames and their bytes; and up to which event."""

    jobs: int
    frames: int
    frame_bytes: int
    anchor: str
    cutoff_us: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A compaction whose files are written; it is done when the event is in a frame and `removal` has ended."""

    event: JournalCompacted
    base: base.Base
    found: Compacted | None = None


def prepare(state_dir: Path, cutoffs: dict[JobState, int], *, bytes_max: int = 0, dry: bool = False) -> Prepared | None:
    """Work out what goes: jobs of each final state that ended before its cutoff (`NEVER`: none), and their frames.

    Where the frames have more than `bytes_max` bytes (0: no limit), younger ones go as well, the oldest first, until
    half of that is left. None where nothing is to be done. With `dry` nothing is written.

    Raises:
        JournalDamaged: the journal contradicts itself, or an older compaction is not read by this version.

    """
    with closing(connect_read_only(state_dir)) as live, closing(sqlite3.connect("", isolation_level=None)) as folded:
        begin = base.anchored(live)
        if begin is not None and not begin.done:
            return None  # one is under way
        cutoffs = _for_size(live, cutoffs, bytes_max)
        upto = _newest_before(live, max(cutoffs.values()), begin.seq if begin else 0)
        if upto is None:
            return None
        seq, frame_hash, epoch, now_us = upto
        state = _fold(state_dir, live, folded, begin, seq)
        before = folded.execute("SELECT count(*) FROM jobs").fetchone()[0]
        stay = pruning.staying(folded, live, cutoffs, state.schedules.wanted())
        found = base.Base(next_key=state.next_key, stay=stay, kept=())
        found = replace(found, kept=pruning.frames_kept(live, seq, found))
        pruning.remove_all(folded, found)
        jobs = before - folded.execute("SELECT count(*) FROM jobs").fetchone()[0]
        rows_hash = state_hash = ""
        if not dry:
            whole = replace(found, tables=base.rows_of(folded))
            rows_hash, state_hash = base.save(state_dir, seq, frame_hash, whole, state_to_plain(state))
        event = JournalCompacted(
            anchor_seq=seq,
            anchor_hash=frame_hash.hex(),
            anchor_epoch=epoch,
            anchor_us=now_us,
            rows=rows_hash,
            state=state_hash,
            cutoff_us=max(cutoffs.values()),
            jobs=jobs,
        )
        return Prepared(event, found, _counted(live, event, found))


def _fold(
    state_dir: Path,
    live: sqlite3.Connection,
    folded: sqlite3.Connection,
    begin: base.Anchored | None,
    upto: int,
) -> State:
    """Rows, into `folded`, and the state as of the frame that ends with `upto`."""
    schema.create_rows(folded)
    state, after = State(), 0
    if begin is not None:
        base.fill(folded, base.load(state_dir, begin))
        data = (state_dir / BASE / f"{begin.seq}.snap").read_bytes()
        after, state = resumed(decode_snapshot(data, _At(begin)))
        if after != begin.seq:
            raise JournalDamaged(f"what stands for the events up to {begin.seq} was written by another version")
    for frame in chain.frames(live, after):
        if frame.last_seq > upto:
            break
        folded.execute("BEGIN")
        rows.apply(folded, frame)
        folded.execute("COMMIT")
        recover(state, frame.events, frame.decisions, frame.now_us)
    return state


class _At:
    """Tells the hash of the frame at an anchor."""

    def __init__(self, begin: base.Anchored) -> None:
        self._begin = begin

    def hash_at(self, seq: int) -> bytes | None:
        """See `FrameHashes`."""
        return bytes.fromhex(self._begin.hash) if seq == self._begin.seq else None


def _newest_before(live: sqlite3.Connection, cutoff_us: int, after: int) -> tuple[int, bytes, int, int] | None:
    text = """
    SELECT last_seq, hash, epoch, now_us FROM frames WHERE now_us < ? AND last_seq > ?
    ORDER BY first_seq DESC LIMIT 1"""
    found: tuple[int, bytes, int, int] | None = live.execute(text, (cutoff_us, after)).fetchone()
    return found


def _for_size(live: sqlite3.Connection, cutoffs: dict[JobState, int], bytes_max: int) -> dict[JobState, int]:
    """The cutoffs, later ones where the frames take more room than they may."""
    if not bytes_max:
        return cutoffs
    if live.execute("SELECT coalesce(sum(length(body)), 0) FROM frames").fetchone()[0] <= bytes_max:
        return cutoffs
    left = 0
    for now_us, size in live.execute("SELECT now_us, length(body) FROM frames ORDER BY first_seq DESC"):
        left += size
        if left > bytes_max // 2:
            return {state: max(cutoff, now_us) for state, cutoff in cutoffs.items()}
    return cutoffs


def _counted(live: sqlite3.Connection, event: JournalCompacted, found: base.Base) -> Compacted:
    text = "SELECT count(*), coalesce(sum(length(body)), 0) FROM frames WHERE last_seq <= ?"
    count, size = live.execute(text, (event.anchor_seq,)).fetchone()
    for seq, _ in found.kept:
        row = live.execute("SELECT length(body) FROM frames WHERE first_seq = ?", (seq,)).fetchone()
        count, size = count - 1, size - row[0]
    return Compacted(
        jobs=event.jobs,
        frames=count,
        frame_bytes=size,
        anchor=f"{event.anchor_hash}@{event.anchor_seq}",
        cutoff_us=event.cutoff_us,
    )


def begin(journal: Journal, prepared: Prepared) -> None:
    """Hide what is to go; the event may be written then.

    Raises:
        Refused: something new refers to it: prepare it again.

    """
    journal.leaving = prepared.base
    if pruning.contradicts(journal.connection, prepared.base):
        journal.leaving = None
        raise Refused("jobs were submitted meanwhile that wait for some that would go: try again")


def compact_file(
    state_dir: Path, cutoffs: dict[JobState, int], *, bytes_max: int = 0, grace_s: float, now_s: float
) -> tuple[Compacted | None, int]:
    """Compact a journal that no scheduler holds; what went, and how many blobs.

    Raises:
        JournalUnusable: a scheduler holds it.

    """
    with closing(Journal.open(state_dir)) as journal:
        for _ in journal.removal():  # one that was broken off
            continue
        prepared = prepare(state_dir, cutoffs, bytes_max=bytes_max)
        if prepared is not None:
            begin(journal, prepared)
            # at the instant of the last frame: nothing can have become due, so a rehearsal decides nothing here either
            journal.append(now_us=journal.last_now_us, epoch=journal.last_epoch, events=[prepared.event], decisions=[])
            for _ in journal.removal():
                continue
            journal.connection.execute("VACUUM")
    return prepared.found if prepared else None, sweep_blobs(state_dir, now_s - grace_s)


def sweep_blobs(state_dir: Path, before_s: float) -> int:
    """Remove blobs that nothing refers to and that were stored before an instant; how many."""
    store = FileBlobStore(state_dir / "blobs", max_bytes=1)
    old = set(store.older(before_s))
    if not old:
        return 0
    with closing(connect_read_only(state_dir)) as live:
        old -= set(referenced(live))
    old -= _of_schedules(state_dir)
    return sum(store.remove_older(hash_, before_s) for hash_ in sorted(old))


def _of_schedules(state_dir: Path) -> set[str]:
    """What schedules and agents need whose frame is gone: they are in the newest snapshot, no older than the base."""
    with closing(JournalReader(state_dir)) as reader:
        loaded = FileSnapshots(state_dir / "snapshots").load_newest(reader)
    _, state = resumed(loaded)
    kept: list[Schedule | Agent] = [one.schedule for one in state.schedules.by_key.values()]
    kept += [one.agent for one in state.agents.by_key.values()]
    return {hash_ for one in kept for hash_ in of_schedule(one)}
