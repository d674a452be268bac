"""`kos schedule add|apply|ls|get|pause|resume|trigger|backfill|rm`: the schedules of a running cluster."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kos_ray.cli import schedule
from kos_ray.cli.output import emit, now_us, say, show_panel, show_table
from kos_ray.cli.schedule import Dst
from kos_ray.cli.shell import Address, Code, Exit, Json, Namespace, example, fail, open_client
from kos_ray.model.schedule import FOREIGN
from kos_ray.observe.tables import Table

if TYPE_CHECKING:
    from kos_ray.client.every import RecurringFunction
    from kos_ray.spec.lower import Draft

#: the group that has what needs no cluster already
app = schedule.app

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
Without = Annotated[
    list[str] | None, typer.Option("--without", help="A date, words for days (weekends), or cron; again for more.")
]
OverlapWord = Annotated[
    str,
    typer.Option(
        "--overlap",
        help="While a job of it is live: skip (default), buffer_one, buffer_all, cancel_other, terminate_other or "
        "allow_all (default of events).",
    ),
]
Events = Annotated[
    list[str] | None, typer.Option("--on", metavar="EVENT", help="Instead: for each event; again for more.")
]
Where = Annotated[
    list[str] | None, typer.Option("--where", help="Only events with e.g. 'size > 10', 'path ~ *.csv'; all hold.")
]
Given = Annotated[
    list[str] | None, typer.Option("--given", help="E.g. 'count 3 within 1m', 'debounce 5s'; docs/events.md.")
]
Entry = Annotated[str, typer.Option("--entry", metavar="MODULE:FUNCTION", help="A function without arguments.")]
Jitter = Annotated[str, typer.Option("--jitter", help="Up to so much later, the same for one instant always.")]
CatchUpWord = Annotated[
    str, typer.Option("--catch-up", help="Of fires that were missed: latest, none, earliest or all.")
]


@app.command(
    epilog=example(
        "kos schedule add nightly 'every day at 2:30' --tz Europe/Berlin --run 'python train.py'",
        "kos schedule add report 'weekdays at 9' --file report.yaml --overlap buffer_one",
        "kos schedule add poll 'every 30 seconds' --entry polling:once --jitter 5s --catch-up none",
        "kos schedule add load --on file.created --where 'path ~ *.csv' --entry loading:load",
    )
)
def add(
    name: Name,
    rules: Annotated[
        list[str] | None, typer.Argument(metavar="[EXPR...]", help="When it fires: any of these rules.")
    ] = None,
    on: Events = None,
    where: Where = None,
    given: Given = None,
    run: Annotated[str, typer.Option("--run", help="A command line.")] = "",
    entry: Entry = "",
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="A document with one job.")] = None,
    timezone: Annotated[str, typer.Option("--tz", metavar="ZONE", help="An IANA time zone, or +HH:MM.")] = "",
    dst: Dst = "vixie",
    without: Without = None,
    start: Annotated[datetime | None, typer.Option("--start", help="It fires from here on (UTC).")] = None,
    end: Annotated[datetime | None, typer.Option("--end", help="And up to here.")] = None,
    max_fires: Annotated[int, typer.Option("--max-fires", min=0, help="So often in all; 0: no limit.")] = 0,
    jitter: Jitter = "0s",
    overlap: OverlapWord = "",
    catch_up: CatchUpWord = "latest",
    window: Annotated[str, typer.Option("--window", help="What was missed longer ago never starts.")] = "1h",
    pause_on_failure: Annotated[bool, typer.Option("--pause-on-failure", help="Pause when a job of it fails.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of the one of that name.")] = False,
    code: Code = None,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Have a job start by itself: one for each instant that a rule names, under the name NAME@INSTANT."""
    draft = _draft(run, entry, file, namespace)
    with open_client(address, namespace) as client:
        folders = [code] if code else [Path.cwd(), *([file.parent] if file else [])]
        found = client.schedule_draft(
            draft,
            rules or (),
            name=name,
            code=folders,
            replace=replace,
            on=on or (),
            where=where or (),
            given=given or (),
            tz=timezone,
            dst=dst,
            without=without or (),
            start=start,
            end=end,
            max_fires=max_fires,
            jitter=jitter,
            window=window,
            overlap=overlap,
            catch_up=catch_up,
            pause_on_failure=pause_on_failure,
        )
    if as_json:
        emit({"name": name, **found})
    else:
        say_next({"name": name, "rules": rules, **found})


def say_next(one: Mapping[str, Any]) -> None:
    """Tell when a schedule that was set fires next."""
    if one["rules"] and one["rules"][0].startswith(FOREIGN):
        say(f"{one['name']} fires when its rule says so: kos schedule get {one['name']}")
        return
    if not one["rules"]:
        say(f"{one['name']} starts for its events from now on")
        return
    next_us = one["next_us"]
    said = f"{one['name']} fires next at {_told(next_us, one['timezone'])}" if next_us else f"{one['name']} never fires"
    say(said)


def _draft(run: str, entry: str, file: Path | None, namespace: str) -> "Draft":
    from kos_ray.spec.load import load_file, load_text
    from kos_ray.spec.lower import lower

    if sum(map(bool, (run, entry, file))) != 1:
        raise fail("expected one of --run, --entry and --file", Exit.USAGE)
    if file:
        drafts = lower([load_file(file)], namespace=namespace)
        if len(drafts) != 1 or drafts[0].schedule is not None:
            found = f"{len(drafts)}" if len(drafts) != 1 else "one with a schedule: kos schedule apply"
            raise fail(f"{file}: expected one job, found {found}", Exit.USAGE)
        return drafts[0]
    document = {"run": run} if run else {"entry": entry}
    return lower([load_text(json.dumps(document), "kos schedule add")], namespace=namespace)[0]


@app.command(
    epilog=example(
        "kos schedule apply night.yaml",
        "kos schedule apply reports",
        "kos schedule apply reports.nightly --namespace team --code .",
    )
)
def apply(
    source: Annotated[
        str, typer.Argument(metavar="FILE|MODULE", help="A document, or a module with functions under @kos.every.")
    ],
    code: Code = None,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Set the schedules of a document, or of a module's functions under @kos.every, as they are written there."""
    if _is_file(source):
        from kos_ray.spec.load import load_file
        from kos_ray.spec.lower import lower

        drafts = lower([load_file(source)], namespace=namespace)
        folders = [code] if code else [Path.cwd(), Path(source).parent]
        with open_client(address, namespace) as client:
            found = client.apply_drafts(drafts, code=folders, replace=True)
    else:
        functions = _recurring(source, code or Path.cwd())
        with open_client(address, namespace) as client:
            found = [
                {"name": one.name, "rules": list(one.rules), "timezone": "UTC", **one.start(client)}
                for one in functions
            ]
    if as_json:
        emit({"schedules": found})
        return
    for one in found:
        say_next(one)


def _is_file(source: str) -> bool:
    return source == "-" or source.endswith((".yaml", ".yml", ".json")) or Path(source).is_file()


def _recurring(module: str, folder: Path) -> "list[RecurringFunction[..., Any]]":
    import importlib
    import sys

    from kos_ray.client.every import RecurringFunction

    sys.path.insert(0, str(folder.resolve()))
    try:
        names = vars(importlib.import_module(module))
    except Exception as error:  # noqa: BLE001 - it is the user's code
        raise fail(f"{module} cannot be imported from {folder}: {error!r}", Exit.USAGE) from None
    found = [one for one in names.values() if isinstance(one, RecurringFunction) and one.__module__ == module]
    if not found:
        raise fail(f"{module}: expected a function under @kos.every, found none", Exit.USAGE)
    return found


@app.command("ls", epilog=example("kos schedule ls", "kos schedule ls --json | jq '.schedules[].next_us'"))
def list_schedules(address: Address = None, namespace: Namespace = "", as_json: Json = False) -> None:
    """List schedules, of all namespaces or of one, with the time of their next fire."""
    with open_client(address, namespace or "default") as client:
        found = [one for one in client.schedules() if namespace in ("", one["namespace"])]
    if as_json:
        emit({"schedules": found})
    elif found:
        show_table(schedules_table(found))
    else:
        say("no schedules")


def schedules_table(found: Iterable[Mapping[str, Any]]) -> Table:
    """One row a schedule."""
    columns = ("name", "namespace", "fires", "zone", "next", "runs", "live", "state")
    return Table(columns=columns, rows=tuple(map(_row, found)))


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    state = (
        f"paused: {one['note']}".removesuffix(": ")
        if one["paused"]
        else "on"
        if one["next_us"] or one.get("on")
        else "over"
    )
    rules = " | ".join([*one.get("rules", ()), *_events(one)])
    told = _told(one["next_us"], one["timezone"])
    return (one["name"], one["namespace"], rules, one["timezone"], told, one["runs"], str(len(one["live"])), state)


def _events(one: Mapping[str, Any]) -> list[str]:
    """What a reaction is for, in a line."""
    trigger = one.get("on")
    if not trigger:
        return []
    where = f" where {' and '.join(trigger['where'])}" if trigger.get("where") else ""
    given = f"; {', '.join(trigger['given'])}" if trigger.get("given") else ""
    return [f"on {' | '.join(trigger['events'])}{where}{given}"]


@app.command("get", epilog=example("kos schedule get nightly"))
def get_schedule(name: Name, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Show everything about one schedule, with its next five fires."""
    from kos_ray.timing.describe import described, local

    with open_client(address, namespace) as client:
        one = client.get_schedule(name)
    if as_json:
        emit(one)
        return
    lines = [("name", f"{one['namespace']}/{one['name']}"), ("runs", f"{one['runs']}, band {one['band']}")]
    for rule in one.get("rules", ()):
        english = "" if rule.startswith(FOREIGN) else f"  ({described(rule, dialect=one['dst'])})"
        lines.append(("fires", rule + english))
    lines += [("starts", text) for text in _events(one)]
    lines += [("without", text) for text in one.get("without", ())]
    lines += [("zone", f"{one['timezone']}, clock changes as {one['dst']}")]
    lines += [("next", _told(one["next_us"], one["timezone"]))]
    lines += [("overlap", one["overlap"]), ("catch up", f"{one['catch_up']}, within {one['window_us'] / 1e6:g} s")]
    lines += [("started", f"{one['fires']}; live {one['live']}")]
    lines += [("waits", local(at, one["timezone"]).isoformat()) for at in one["buffered"]]
    lines += [("paused", one["note"] or "yes")] if one["paused"] else []
    show_panel(lines)


@app.command(epilog=example("kos schedule pause nightly --note 'the disk is full'"))
def pause(
    name: Name,
    note: Annotated[str, typer.Option("--note", help="Why, for whoever looks.")] = "",
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Skip a schedule's fires until it is resumed."""
    with open_client(address, namespace) as client:
        client.pause_schedule(name, note)
    emit({"name": name, "paused": True}) if as_json else say(f"{name} is paused")


@app.command(epilog=example("kos schedule resume nightly"))
def resume(
    name: Name,
    note: Annotated[str, typer.Option("--note", help="Why, for whoever looks.")] = "",
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Let a paused schedule go on. What was skipped stays so: `kos schedule backfill` starts it."""
    with open_client(address, namespace) as client:
        client.resume_schedule(name, note)
    emit({"name": name, "paused": False}) if as_json else say(f"{name} goes on")


@app.command(epilog=example("kos schedule trigger nightly"))
def trigger(name: Name, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Start a schedule's job now, whatever pause and overlap say; prints the job's name."""
    with open_client(address, namespace) as client:
        found = client.trigger_schedule(name)
    emit({"schedule": name, "job": found["name"]}) if as_json else typer.echo(found["name"])


@app.command(epilog=example("kos schedule backfill nightly --from 2026-03-01 --to 2026-03-08 --dry-run"))
def backfill(
    name: Name,
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="ISO 8601, in the schedule's zone.")],
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="Up to before this; now if not given.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be started.")] = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Start what a schedule would have started in a stretch of the past and has not, in the lowest band."""
    from kos_ray.timing.describe import instant

    with open_client(address, namespace) as client:
        zone = client.get_schedule(name)["timezone"]
        to_us = instant(until, zone)[0] if until else now_us()
        found = client.backfill_schedule(name, instant(since, zone)[0], to_us, dry_run=dry_run)
    fires, there = ([_told(at, zone) for at in found[key]] for key in ("fires", "there"))
    if as_json:
        emit({"schedule": name, "dry_run": dry_run, "fires": fires, "there": there})
        return
    for line in fires:
        typer.echo(line)
    say(f"{len(fires)} {'would be' if dry_run else 'are'} started, {len(there)} have a job already")


@app.command("rm", epilog=example("kos schedule rm nightly"))
def remove(name: Name, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Take a schedule away; jobs that it has started go on."""
    with open_client(address, namespace) as client:
        client.remove_schedule(name)
    emit({"name": name, "removed": True}) if as_json else say(f"{name} is gone")


def _told(at_us: int, timezone: str) -> str:
    from kos_ray.timing.describe import local

    return local(at_us, timezone).isoformat() if at_us else "never"
