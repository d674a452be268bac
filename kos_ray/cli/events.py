"""`kos events`: what happened, from the journal."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from kos_ray.cli.output import emit, plain, say, show_table
from kos_ray.cli.shell import Address, Json, Namespace, example, open_client
from kos_ray.model.ids import JobKey
from kos_ray.model.views import EventView
from kos_ray.observe.lifecycle import Lifecycle, LifecycleEvent
from kos_ray.observe.tables import Table, first_line, format_instant, label, short_node

if TYPE_CHECKING:
    from kos_ray.client import Client

EXAMPLE = example("kos events --limit 20", "kos events -f --since 0 --json | jq .name", "kos events --since 120 --raw")
#: records that one question brings
_PAGE = 1_000
_PAUSE_S = 0.5
#: keys between two jobs that are asked for together
_GAP = 1_000


def events(
    since: Annotated[
        int | None, typer.Option("--since", min=0, metavar="SEQ", help="What came after this record; 0 is everything.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Records at most; without --since the newest ones, with -f no limit.")
    ] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until ctrl-C.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The journal's records instead of lifecycle events.")] = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Show what happened: job_submitted, job_started, job_completed, job_failed, job_retried, node_lost, ...

    With -f and --json each event is a document on a line of its own.
    """
    with open_client(address, namespace) as client:
        start = max(client.status().seq - limit, 0) if since is None else since
        life = None if raw else Lifecycle(start)
        if follow:
            for records in endless(client, start):
                for one in _told(client, life, records):
                    typer.echo(json.dumps(plain(one), ensure_ascii=False) if as_json else _line(one))
            return
        records = _upto(client, start, limit)
        told = _told(client, life, records)
    if as_json:
        emit({"events": told, "seq": records[-1].seq if records else start})
        return
    show_table(Table(columns=("seq", "at", "event", "job", "attempt", "node", "detail"), rows=tuple(map(_cells, told))))
    if len(records) == limit and since is not None:
        say(f"the first {limit} records; the next ones with --since {records[-1].seq}")


def _upto(client: "Client", since: int, limit: int) -> list[EventView]:
    found: list[EventView] = []
    while len(found) < limit:
        page = client.events(found[-1].seq if found else since, min(limit - len(found), _PAGE))
        if not page:
            break
        found += page
    return found


def endless(client: "Client", since: int) -> Iterator[list[EventView]]:
    """Records as they come, without an end."""
    while True:
        page = client.events(since, _PAGE)
        if page:
            since = page[-1].seq
            yield page
        else:
            time.sleep(_PAUSE_S)


def _told(
    client: "Client", life: Lifecycle | None, records: Sequence[EventView]
) -> Sequence[EventView | LifecycleEvent]:
    """The records as they are, or the lifecycle events that they make, with the names of their jobs."""
    if life is None:
        return records
    found = life.read(records)
    life.learn(_names(client, sorted(life.unnamed(found))))
    return [life.named(event) for event in found]


def _names(client: "Client", keys: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Public ids and labels of jobs that were submitted before the reading began; near keys are asked for together."""
    found: dict[int, tuple[str, str]] = {}
    start = 0
    for end in range(1, len(keys) + 1):
        if end == len(keys) or keys[end] - keys[end - 1] > _GAP:
            low, high = keys[start], keys[end - 1]
            page = client.jobs(before_key=JobKey(high + 1), limit=high - low + 1)
            found |= {int(view.key): (view.id, label(view)) for view in page if view.key >= low}
            start = end
    return found


def _cells(one: EventView | LifecycleEvent) -> tuple[str, ...]:
    at = format_instant(one.at_us).removesuffix(" UTC")
    if isinstance(one, EventView):
        detail = json.dumps(plain(one.detail), ensure_ascii=False)
        return (str(one.seq), at, one.kind, "", "", "", first_line(detail, 200))
    attempt = str(one.attempt or "")
    return (str(one.seq), at, one.name, one.label, attempt, short_node(one.node), first_line(one.detail))


def _line(one: EventView | LifecycleEvent) -> str:
    seq, at, name, *more = _cells(one)
    return "  ".join([seq.rjust(6), at, name.ljust(13), *(cell for cell in more if cell)])
