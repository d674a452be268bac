"""`kos run`: one job, here and now, as if it ran in this terminal."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from pprint import pformat
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from kos_ray.cli.logs import stream
from kos_ray.cli.output import emit, say, width
from kos_ray.cli.shell import Address, Exit, IdempotencyKey, Json, Namespace, example, fail, open_client
from kos_ray.model.views import JobView
from kos_ray.observe.tables import final, label, why

if TYPE_CHECKING:
    from kos_ray.client import Client, Job

EXAMPLE = example(
    "kos run -- sh -c 'nvidia-smi; hostname'",
    "kos run --cpu 2 --memory 4GiB -- python -m train --epochs 3",
    "kos run statistics:fmean '[1, 2, 6]'",
    "kos run mymodule:main 7 verbose=true",
)
_ENTRY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def run_job(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="-- CMD... | MODULE:FUNCTION [ARG]...",
            help="A command, or a Python function and its arguments (YAML; name=value for named ones).",
            show_default=False,
        ),
    ],
    name: Annotated[str, typer.Option("--name", help="A name for the job.")] = "",
    cpu: Annotated[float | None, typer.Option("--cpu", min=0, help="CPUs that it holds; 1 if not given.")] = None,
    gpu: Annotated[float | None, typer.Option("--gpu", min=0, help="GPUs that it holds.")] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="Memory that it holds, such as 4GiB.")] = None,
    priority: Annotated[str | None, typer.Option("--priority", help="The band: its name, or 0 to 5.")] = None,
    retry: Annotated[int | None, typer.Option("--retry", min=0, help="How often it is tried again.")] = None,
    timeout: Annotated[str | None, typer.Option("--timeout", help="How long it may run, such as 10m.")] = None,
    idempotency_key: IdempotencyKey = "",
    env: Annotated[list[str] | None, typer.Option("--env", "-e", metavar="NAME=TEXT", help="A variable.")] = None,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Submit a command or a function, show its output as it comes, and end with its exit code.

    ctrl-C cancels the job. The exit code is the command's; of a function 1 when it failed. A function's module may lie
    in this folder: its code travels along.
    """
    amounts = {"cpu": cpu, "gpu": gpu, "memory": memory}
    options: dict[str, Any] = {
        "resources": {key: amount for key, amount in amounts.items() if amount is not None},
        "priority": priority,
        "retry": retry,
        "timeout": timeout,
        "env": dict(_pair(word) for word in env or ()),
    }
    given = {key: value for key, value in options.items() if value not in (None, {})}
    with open_client(address, namespace) as client:
        is_call = _ENTRY.fullmatch(words[0]) is not None
        given |= {"idempotency_key": idempotency_key} if idempotency_key else {}
        job = _call(client, words, name, given) if is_call else _command(client, words, name, given)
        view = _attended(client, job, as_json=as_json)
        value = job.result() if is_call and view.state == "succeeded" else None
    if as_json:
        emit({"id": job.id, "state": view.state, "exit_code": exit_status(view), "result": value, "error": view.error})
    elif value is not None:
        typer.echo(value if isinstance(value, str) else pformat(value, width=min(width(), 120)))
    if view.state != "succeeded":
        raise _failed(view)


def _attended(client: "Client", job: "Job", *, as_json: bool) -> JobView:
    """The job's end; on ctrl-C it is cancelled first."""
    try:
        return client.wait([job.id])[0] if as_json else stream(client, job.id)
    except KeyboardInterrupt:
        say(f"kos: cancels {job.id}")
        client.cancel([job.id])
        raise


def _command(client: "Client", words: Sequence[str], name: str, options: Mapping[str, Any]) -> "Job":
    return _submit(client, {"run": list(words), **options}, name)


def _call(client: "Client", words: Sequence[str], name: str, options: Mapping[str, Any]) -> "Job":
    """A function by name where every node has its module; where it lies in this folder, with its code."""
    entry, *texts = words
    args, kwargs = _arguments(texts)
    module, _, path = entry.partition(":")
    top = Path(module.partition(".")[0])
    if not (top.is_dir() or top.with_suffix(".py").is_file()):
        return _submit(client, {"entry": entry, "args": args, "kwargs": kwargs, **options}, name)
    sys.path.insert(0, str(Path.cwd()))
    try:
        function: Any = importlib.import_module(module)
        for step in path.split("."):
            function = getattr(function, step)
    except (ImportError, AttributeError) as error:
        raise fail(f"{entry}: cannot be imported from this folder: {error}", Exit.USAGE) from None
    return client.submit(function, *args, kwargs=kwargs, name=name, code=Path.cwd(), **options)


def _submit(client: "Client", document: dict[str, Any], name: str) -> "Job":
    import json

    from kos_ray.spec.load import load_text
    from kos_ray.spec.lower import lower

    named = {"id": name, **document} if name else document
    draft = lower([load_text(json.dumps(named), "kos run")], namespace=client.namespace)
    return cast("Job", client.submit_drafts(draft)[0])


def _arguments(texts: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    import yaml

    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        named = bool(sign) and key.isidentifier()
        try:
            parsed = yaml.safe_load(value if named else text)
        except yaml.YAMLError:
            parsed = value if named else text  # a text that looks like the beginning of something else
        if named:
            kwargs[key] = parsed
        elif kwargs:
            raise fail(f"expected arguments without a name before those with one, found {text!r}", Exit.USAGE)
        else:
            args.append(parsed)
    return args, kwargs


def _pair(word: str) -> tuple[str, str]:
    key, sign, value = word.partition("=")
    if not sign:
        raise fail(f"--env: expected NAME=TEXT, found {word!r}", Exit.USAGE)
    return key, value


def exit_status(view: JobView) -> int:
    """What a shell would say of it: a command's own exit code, 128 + the signal that killed it, 1 for all else."""
    if view.state == "succeeded":
        return 0
    return (view.exit_code if view.state == "failed" else None) or 1


def _failed(view: JobView) -> typer.Exit:
    """Says how it ended, and ends with its exit code; a command has said itself what is wrong."""
    cause = f"{view.error_type}: {view.error}" if view.error else why(view)
    say(f"kos: {label(view)} {view.state if final(view) else 'has not ended'}: {cause}")
    return typer.Exit(exit_status(view))
