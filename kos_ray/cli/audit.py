"""`kos audit`: proof that the journal was not changed, and all decisions for whoever looks into them."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from kos_ray.cli.journal import show_verified
from kos_ray.cli.output import emit, say
from kos_ray.cli.shell import Exit, Json, State, example, fail, new_app

app = new_app("Prove that the journal is whole; read every decision.")


@app.callback()
def _group() -> None:
    """Prove that the journal is whole; read every decision."""


@app.command(epilog=example("kos audit verify --state /var/lib/kos", "kos audit verify --anchor $(cat anchor)"))
def verify(
    anchor: Annotated[
        str, typer.Option("--anchor", metavar="HASH@SEQ", help="What `kos audit anchor` said: it must still be there.")
    ] = "",
    state: State = None,
    as_json: Json = False,
) -> None:
    """Prove the journal: its chain of hashes, its database file, and every row. Exit code 1 where something is wrong.

    What is wrong is named by frame and sequence numbers, by table and key, or by its place in the file. Frames that
    were cut off at the end, or a history that was written anew, are found by an anchor that was kept elsewhere.
    """
    show_verified(state, anchor, as_json=as_json)


@app.command(epilog=example("kos audit anchor > anchor", "kos audit anchor --json"))
def anchor(state: State = None, as_json: Json = False) -> None:
    """Print the newest frame's hash and sequence number, to be kept where nobody can change both."""
    from kos_ray.runtime import audit, connect

    found = audit.anchor(state or connect.here()[0])
    emit({"anchor": found}) if as_json else typer.echo(found)


@app.command(epilog=example("kos audit export --out decisions.jsonl", "kos audit export --from 120 | jq .reason"))
def export(
    from_seq: Annotated[int, typer.Option("--from", min=0, metavar="SEQ", help="Decisions from this number on.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Instead of standard output.")] = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Write every decision with its reason and its outcome, as JSON, a line for each job that one is about.

    The outcome is how the attempt ended; of a decision about a job as a whole, the state in which the job is by now.
    With --json it is one document.
    """
    from kos_ray.runtime import audit, connect

    lines = audit.decisions(state or connect.here()[0], from_seq)
    with _opened(out) as file:
        if as_json:
            json.dump({"decisions": list(lines)}, file, indent=2, ensure_ascii=False)
            file.write("\n")
            return
        count = 0
        for count, line in enumerate(lines, 1):  # noqa: B007 - counted for what is said behind it
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    say(f"{count} lines", quiet=out is None)


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    try:
        file = out.open("w", encoding="utf-8")
    except OSError as error:
        raise fail(f"{out} cannot be written: {error.strerror}", Exit.USAGE) from error
    with file:
        yield file
