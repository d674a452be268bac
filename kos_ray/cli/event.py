"""`kos event`: what happens somewhere, told to the cluster and looked at; and the programs that hear of it."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from kos_ray.cli.events import endless
from kos_ray.cli.output import emit as emit_json
from kos_ray.cli.output import say
from kos_ray.cli.shell import Address, Exit, Json, Namespace, example, fail, new_app, open_client
from kos_ray.model.views import EventView
from kos_ray.observe.tables import format_instant

app = new_app("What happens somewhere and jobs start for (docs/events.md).")

Secret = Annotated[
    Path | None, typer.Option("--secret-file", help="A file with the secret (whsec_...) that senders sign with.")
]
Source = Annotated[str, typer.Option("--source", help="The name of this source: it stands in the ids of its events.")]


@app.callback()
def _group() -> None:
    """What happens somewhere and jobs start for (docs/events.md)."""


@app.command(
    epilog=example(
        "kos event emit order.paid --data '{\"total\": 120}' --key customer-7",
        'kos event emit voice.transcript --data \'{"text": "turn on the lights"}\'',
        "kos event emit nightly.done --id 2026-03-01",
    )
)
def emit(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as order.paid.")],
    data: Annotated[str, typer.Option("--data", metavar="JSON", help="What happened, as JSON.")] = "",
    key: Annotated[str, typer.Option("--key", help="What it is about.")] = "",
    id_: Annotated[str, typer.Option("--id", metavar="ID", help="Heard again, it is the same event: no job.")] = "",
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Say that something happened; reactions start their jobs for it."""
    try:
        found = json.loads(data) if data else None
    except (ValueError, RecursionError) as error:
        raise fail(f"--data: expected JSON, found {data!r}: {error}", Exit.USAGE) from None
    with open_client(address, namespace) as client:
        fresh = client.emit(name, found, key=key, id=id_, source="cli")
    if as_json:
        emit_json({"name": name, "id": id_, "new": fresh})
    elif not fresh:
        say(f"{id_} was heard before: nothing happens")


@app.command(epilog=example("kos event watch", "kos event watch --since 0 --json | jq .name"))
def watch(
    since: Annotated[int | None, typer.Option("--since", min=0, metavar="SEQ", help="0: from the beginning.")] = None,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Show events of a namespace as they come, until ctrl-C; with --json one on each line."""
    with open_client(address, namespace) as client:
        start = client.status().seq if since is None else since
        for records in endless(client, start):
            for one in [one for record in records for one in told(record, namespace)]:
                typer.echo(json.dumps(one, ensure_ascii=False) if as_json else _line(one))


def told(record: EventView, namespace: str) -> list[dict[str, Any]]:
    """The events of a namespace in a record of the journal."""
    if record.kind != "OccasionsNoted":
        return []
    occasions: Any = record.detail["occasions"]
    found = [one for one in occasions if one.get("namespace", "default") == namespace]
    return [{**one, "data": json.loads(one["data"]) if one.get("data") else None} for one in found]


def _line(one: dict[str, Any]) -> str:
    data = json.dumps(one["data"], ensure_ascii=False) if one["data"] is not None else ""
    parts = (format_instant(one.get("at_us", 0)), one["name"], one.get("key", ""), one["id"], data)
    return "  ".join(part for part in parts if part)


@app.command(epilog=example("kos event serve --port 8090 --secret-file hooks.secret"))
def serve(
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="0: any that is free.")] = 8090,
    host: Annotated[str, typer.Option("--host", help="Where it listens.")] = "127.0.0.1",
    secret: Secret = None,
    source: Source = "webhook",
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Take webhooks, signed as Standard Webhooks: POST /EVENT.NAME with JSON. Answered when the event is durable."""
    from kos_ray.intake.webhook import serve_webhooks

    if secret is None:
        raise fail("expected --secret-file: what nobody has signed is not taken (openssl rand -base64 32)", Exit.USAGE)
    with open_client(address, namespace) as client:
        serve_webhooks(
            client.emit,
            host=host,
            port=port,
            secret=secret.read_text(encoding="utf-8").strip(),
            source=source,
            ready=lambda bound: _ready(f"http://{host}:{bound}/", as_json=as_json),
        )


@app.command(epilog=example("kos event files /data/in --pattern '*.csv' --state /var/lib/kos/in.db"))
def files(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Files in it, and below it, are looked at.")],
    state: Annotated[Path, typer.Option("--state", metavar="FILE", help="Where it keeps what it has told.")],
    pattern: Annotated[str, typer.Option("--pattern", help="Names of files, such as *.csv.")] = "*",
    existing: Annotated[bool, typer.Option("--existing", help="Tell those that are there at its first start.")] = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Tell of files that appear (file.created) or change (file.changed), each once, also after it was killed."""
    from kos_ray.intake.files import watch_files

    if not folder.is_dir():
        raise fail(f"expected a folder, found {folder}", Exit.USAGE)
    with open_client(address, namespace) as client:
        ready = lambda: _ready(str(folder), as_json=as_json)  # noqa: E731
        watch_files(client.emit, folder, pattern=pattern, state=state, existing=existing, ready=ready)


@app.command(epilog=example("kos event queue /data/orders.db --name order.placed"))
def queue(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A queue in SQLite; see kos_ray.intake.queue.")],
    name: Annotated[str, typer.Option("--name", help="The name of the events that its messages are.")],
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Tell of each message of a queue; it is taken off the queue when the event is durable."""
    from kos_ray.intake.queue import SqliteQueue, pump

    with open_client(address, namespace) as client, SqliteQueue(path) as found:
        _ready(str(path), as_json=as_json)
        pump(client.emit, found, name)


@app.command(epilog=example("kos event stream redis://localhost:6379/0 orders --name order.placed"))
def stream(
    url: Annotated[str, typer.Argument(metavar="URL", help="A Redis server, redis://HOST:PORT/DATABASE.")],
    path: Annotated[str, typer.Argument(metavar="STREAM", help="The name of a stream there.")],
    name: Annotated[str, typer.Option("--name", help="The name of the events that its entries are.")],
    group: Annotated[str, typer.Option("--group", help="The consumer group that it reads for.")] = "kos_ray",
    consumer: Annotated[str, typer.Option("--consumer", help="Who it is in that group.")] = "kos",
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Tell of each entry of a Redis stream; it is acknowledged there when the event is durable."""
    from kos_ray.intake.stream import RedisStream, pump_stream

    found = RedisStream(url, path, group=group, consumer=consumer)
    found.begin()
    with open_client(address, namespace) as client:
        _ready(path, as_json=as_json)
        pump_stream(client.emit, found, name, lambda problem: typer.echo(problem, err=True))


@app.command(epilog=example("kos event plugin lines /var/log/orders.log order.logged"))
def plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An entry point of kos_ray.event_sources.")],
    words: Annotated[list[str] | None, typer.Argument(metavar="[WORD...]", help="What its class is made with.")] = None,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Run an event source of somebody else's until it has no more to tell."""
    from kos_ray.intake.plugins import load_source

    run = load_source(name, words or [])
    with open_client(address, namespace) as client:
        _ready(name, as_json=as_json)
        run(client.emit)


def _ready(where: str, *, as_json: bool) -> None:
    typer.echo(json.dumps({"listening": where}) if as_json else f"listening: {where}")
