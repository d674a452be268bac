"""Blobs that the journal refers to: arguments, results, checkpoints, code, and output of attempts."""

import sqlite3
from collections.abc import Iterable, Iterator

from kos_ray.journal import chain
from kos_ray.journal.codec import decode_spec
from kos_ray.model.agents import Agent, AgentSet
from kos_ray.model.events import AttemptsEnded, CheckpointsStored, JobsSubmitted
from kos_ray.model.payload import BlobRef, open_payload
from kos_ray.model.schedule import Schedule, ScheduleSet

_LOGS = """
SELECT DISTINCT b.blob FROM log_blobs b WHERE EXISTS (SELECT 1 FROM logs l WHERE l.file = b.file)"""


_SAVED = "SELECT frame, place FROM checkpoints UNION SELECT frame, place FROM snapshots"


def referenced(connection: sqlite3.Connection) -> Iterator[str]:
    """Hashes of all blobs that some frame or row refers to; some may come more than once.

    Raises:
        JournalDamaged: a frame is not what its hash says.

    """
    saved = set(connection.execute(_SAVED).fetchall())
    for frame in chain.remaining(connection):
        place = 0
        for event in frame.events:
            if isinstance(event, JobsSubmitted):
                yield from _in(event.args)
            elif isinstance(event, AttemptsEnded):
                yield from _in(event.results)
            elif isinstance(event, CheckpointsStored):
                # only what some attempt may still begin with: the others are as good as gone
                numbered = enumerate(event.payloads, place)
                yield from _in(payload for at, payload in numbered if (frame.first_seq, at) in saved)
                place += len(event.payloads)
            elif isinstance(event, ScheduleSet):
                yield from of_schedule(event.schedule)
            elif isinstance(event, AgentSet):
                yield from of_schedule(event.agent)
    for (body,) in connection.execute("SELECT body FROM specs").fetchall():
        spec = decode_spec(body)
        yield from (spec.code, spec.environment)
    for (blob,) in connection.execute(_LOGS).fetchall():
        yield blob


def of_schedule(one: Schedule | Agent) -> Iterator[str]:
    """What the jobs that a schedule, or an agent, will make need."""
    yield from (one.spec.code, one.spec.environment)
    yield from _in((one.args,))


def _in(payloads: Iterable[bytes]) -> Iterator[str]:
    for payload in payloads:
        if len(payload) == 41:  # a reference has this length, and few others
            carried = open_payload(payload)
            if isinstance(carried, BlobRef):
                yield carried.hash
