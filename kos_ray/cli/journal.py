"""`kos journal`: the durable memory, looked at directly."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kos_ray.cli.output import emit, now_us, show_panel
from kos_ray.cli.shell import Exit, Json, State, example, new_app
from kos_ray.model.errors import Refused
from kos_ray.observe.tables import format_bytes, format_instant

if TYPE_CHECKING:
    from kos_ray.rehearsal.again import Rehearsed
    from kos_ray.runtime.audit import Copied

app = new_app("Look after the journal.")


@app.callback()
def _group() -> None:
    """Look after the journal."""


@app.command(epilog=example("kos journal verify --state /var/lib/kos"))
def verify(state: State = None, as_json: Json = False) -> None:
    """Fold every frame again and compare: hash chain, order, current rows. Exit code 1 where something is wrong."""
    show_verified(state, "", as_json=as_json)


def show_verified(state: Path | None, anchor: str, *, as_json: bool) -> None:
    """Verify a journal, and say what was found; see `runtime.connect.verify`."""
    from kos_ray.runtime import connect

    report = connect.verify(state_dir=state, anchor=anchor)
    if as_json:
        emit(report)
    else:
        show_panel(
            [
                ("journal", str(report.path)),
                ("frames", f"{report.frames}, up to event {report.last_seq}"),
                *([("anchor", anchor)] if anchor else []),
                ("verdict", "\n".join(report.problems) or "every frame and every row is as it should be"),
            ]
        )
    if report.problems:
        raise typer.Exit(Exit.NEGATIVE)


@app.command(epilog=example("kos journal backup /backup/kos-monday", "kos journal backup /mnt/b --state /var/lib/kos"))
def backup(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A directory that is empty, or not there yet.")],
    state: State = None,
    as_json: Json = False,
) -> None:
    """Copy the journal with its blobs and snapshots, as it is at one instant, and prove the copy.

    The scheduler may be running: it is not held up.
    """
    from kos_ray.runtime import audit, connect

    _show_copied(audit.copy_state(state or connect.here()[0], target), as_json=as_json)


@app.command(epilog=example("kos journal restore /backup/kos-monday --state /var/lib/kos"))
def restore(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="What `kos journal backup` made.")],
    state: State = None,
    as_json: Json = False,
) -> None:
    """Make a state directory of a backup; it must be empty, or not there yet.

    `kos up --state DIR` then goes on from it. What was accepted after the backup is not in it. Jobs that ran then are
    found lost, and tried again as they allow.
    """
    from kos_ray.runtime import audit, connect

    _show_copied(audit.copy_state(source, state or connect.default_state_dir(), in_its_place=True), as_json=as_json)


def _show_copied(copied: "Copied", *, as_json: bool) -> None:
    if as_json:
        emit(copied)
        return
    show_panel(
        [
            ("copied to", copied.path),
            ("frames", str(copied.frames)),
            ("blobs, snapshots", f"{copied.blobs}, {copied.snapshots}"),
            ("anchor", copied.anchor),
            ("verdict", "every frame and every row is as it should be"),
        ]
    )


@app.command(epilog=example("kos journal compact --older-than 30d", "kos journal compact --older-than 7d --dry-run"))
def compact(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="Jobs that are over for longer than this go.")
    ] = "30d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Remove jobs that are over for long, and the events up to then; the chain of hashes goes on behind an anchor.

    What is not over stays, and all that it needs. A scheduler that runs does it itself, a little at a time.
    """
    from kos_ray.runtime import audit, connect
    from kos_ray.spec.units import parse_milliseconds

    try:
        before_us = now_us() - parse_milliseconds(older_than) * 1_000
    except ValueError as error:
        raise Refused(f"--older-than: {error}") from None
    found = audit.compact(state or connect.here()[0], before_us, dry=dry_run)
    if as_json:
        emit({"compacted": found, "dry_run": dry_run})
        return
    if found is None:
        show_panel([("removed", "nothing: no job is over for so long")])
        return
    word = "would be removed" if dry_run else "removed"
    show_panel(
        [
            (word, f"{found.jobs} jobs that ended before {format_instant(found.cutoff_us)}"),
            ("events", f"{found.frames} frames, {format_bytes(found.frame_bytes)}"),
            ("anchor", found.anchor),
        ]
    )


@app.command(
    epilog=example("kos journal rehearse --state /var/lib/kos", "kos journal rehearse --json | jq .difference")
)
def rehearse(state: State = None, as_json: Json = False) -> None:
    """Decide every frame again with this version's scheduler, and compare. Exit code 1 where a decision is another one.

    Nothing is changed and nothing is started. The first difference is shown: behind it, it is another history.
    """
    from importlib.metadata import version

    from kos_ray.rehearsal.again import rehearse_frames
    from kos_ray.rehearsal.journal import read_after, read_beginning
    from kos_ray.runtime import connect

    directory = state or connect.here()[0]
    begin, seq = read_beginning(directory)
    found = rehearse_frames(read_after(directory, seq), begin)
    if as_json:
        emit(found)
    else:
        show_panel(
            [
                ("journal", str(directory / connect.DATABASE)),
                ("decided again", f"{found.frames} frames, {found.decisions} decisions"),
                ("recorded by", f"kos_ray {', '.join(found.versions)}; this is {version('kos_ray')}"),
                *_difference(found),
            ]
        )
    if found.difference:
        raise typer.Exit(Exit.NEGATIVE)


def _difference(found: "Rehearsed") -> list[tuple[str, str]]:
    other = found.difference
    if other is None:
        return [("verdict", "every decision is the same")]
    when = format_instant(other.now_us)
    return [
        ("verdict", f"decided otherwise in frame {other.first_seq}..{other.last_seq} of {when}"),
        ("its events", ", ".join(other.events) or "none"),
        ("recorded", other.recorded or f"{other.number} decisions, and no more"),
        ("decided now", other.decided or f"{other.number} decisions, and no more"),
    ]
