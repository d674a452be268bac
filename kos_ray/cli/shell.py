"""What all commands share: options, exit codes, the client, and errors as one or two lines."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

from kos_ray.model.errors import (
    ClusterUnreachable,
    InvalidSpec,
    JobFailed,
    KosError,
    NotFound,
    Refused,
)

if TYPE_CHECKING:
    from kos_ray.client import Client


class Exit(IntEnum):
    """What a script can tell from the exit code."""

    OK = 0
    NEGATIVE = 1  #: the job failed, or the answer is no
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    INTERRUPTED = 130


Address = Annotated[
    str | None,
    typer.Option("--address", envvar="KOS_ADDRESS", help="The cluster: HOST:PORT; found by itself where not given."),
]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", envvar="KOS_NAMESPACE", help="Where names of jobs are looked up.")
]
IdempotencyKey = Annotated[
    str,
    typer.Option(
        "--idempotency-key",
        metavar="KEY",
        help="Submitted again with the same key, it is the same job; of several jobs, each gets KEY/NAME.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
State = Annotated[
    Path | None,
    typer.Option("--state", envvar="KOS_STATE_DIR", help="The directory that holds the journal.", show_default=False),
]
Code = Annotated[
    Path | None,
    typer.Option(
        "--code",
        exists=True,
        file_okay=False,
        metavar="FOLDER",
        help="Where the modules of its functions lie; without it, this folder and that of FILE.",
    ),
]
JobRef = Annotated[str, typer.Argument(metavar="JOB", help="A job's id or name.")]


def new_app(help_text: str = "") -> typer.Typer:
    """A group of commands in the house's style: plain help, no decorated tracebacks."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def example(*lines: str) -> str:
    """The end of a command's help: its examples, one a line, not to be wrapped."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


@contextmanager
def open_client(address: str | None, namespace: str) -> Iterator["Client"]:
    """A client of the running cluster."""
    from kos_ray.client import connect

    with connect(address, namespace=namespace, start=False) as client:
        yield client


def fail(message: str, code: Exit = Exit.NEGATIVE) -> typer.Exit:
    """Says what is wrong on standard error; to be raised."""
    typer.echo(f"kos: {message}", err=True)
    return typer.Exit(code)


class _Own:
    """Standard output for what a command says; what threads of libraries print, as Ray's do, goes to standard error."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._thread = threading.current_thread()

    def write(self, text: str) -> int:
        return (self._output if threading.current_thread() is self._thread else sys.stderr).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._output, name)


def run_guarded(command: Callable[[], object]) -> int:
    """Runs the command line and turns what kos_ray raises on purpose into a text and an exit code."""
    try:
        with redirect_stdout(cast("TextIO", _Own(sys.stdout))):
            command()
    except KosError as error:
        typer.echo(f"kos: {_text(error)}", err=True)
        return exit_code(error)
    except TimeoutError as error:
        typer.echo(f"kos: {str(error) or 'it did not end in time'}", err=True)
        return Exit.NEGATIVE
    except KeyboardInterrupt:
        typer.echo("kos: interrupted", err=True)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # the reader has gone, as `head` does; nothing more may be written, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Exit.OK
    return Exit.OK


def exit_code(error: KosError) -> Exit:
    """The exit code of an error's family."""
    if isinstance(error, ClusterUnreachable):
        return Exit.UNREACHABLE
    if isinstance(error, NotFound):
        return Exit.NOT_FOUND
    if isinstance(error, InvalidSpec | Refused):
        return Exit.USAGE
    return Exit.NEGATIVE


def _text(error: KosError) -> str:
    if isinstance(error, ClusterUnreachable) and "`kos up" not in str(error):
        return f"{error}\n     start a cluster with `kos up`, or name one with --address or KOS_ADDRESS"
    if isinstance(error, JobFailed):
        where = f"\n     more: `kos get {error.job_id}`, `kos logs {error.job_id}`" if error.job_id else ""
        return f"{error}{where}"
    return str(error) or type(error).__name__
