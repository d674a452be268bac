"""`kos validate`, `kos init`, `kos schema`: the documents that people write, without a cluster."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from kos_ray.cli.output import emit, say
from kos_ray.cli.shell import Exit, Json, Namespace, example, fail
from kos_ray.cli.starter import STARTER
from kos_ray.model.errors import InvalidSpec

VALIDATE_EXAMPLE = example("kos validate configs/examples/workflow.yaml", "kos validate jobs/*.yaml --json")
INIT_EXAMPLE = example("kos init", "kos init night.yaml && kos submit night.yaml --wait", "kos init - | less")
SCHEMA_EXAMPLE = example(
    "kos schema > kos.schema.json",
    "echo '# yaml-language-server: $schema=kos.schema.json' | cat - kos.yaml",
)
_PLACE = re.compile(r"(?P<file>.*?):(?P<line>\d+): (?:(?P<path>[\w.\[\]-]+): )?(?P<text>.*)")


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="YAML or JSON documents; - is standard input.")],
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Check documents and say all that is wrong with them; needs no cluster. Exit code 2 if something is."""
    counts: dict[str, int] = {}
    problems: list[str] = []
    for file in files:
        found = _check(file, namespace)
        if isinstance(found, int):
            counts[file] = found
        else:
            problems += found
    if as_json:
        emit({"valid": not problems, "jobs": counts, "problems": [_parts(line) for line in problems]})
    else:
        for file, count in counts.items():
            typer.echo(f"{file}: {count} jobs, nothing wrong")
        for line in problems:
            say(line)
    if problems:
        raise typer.Exit(Exit.USAGE)


def _check(file: str, namespace: str) -> int | list[str]:
    """How many jobs a document holds, or what is wrong with it."""
    from kos_ray.spec.load import load_file
    from kos_ray.spec.lower import lower

    try:
        return sum(abs(draft.count) for draft in lower([load_file(file)], namespace=namespace))
    except InvalidSpec as error:
        return str(error).splitlines()


def _parts(line: str) -> dict[str, Any]:
    """A problem in pieces, for editors and machines."""
    found = _PLACE.fullmatch(line)
    if not found:
        return {"file": None, "line": None, "path": None, "text": line}
    return {**found.groupdict(), "line": int(found["line"])}


def init(
    file: Annotated[str, typer.Argument(metavar="[FILE|-]", help="Where it is written; - is standard output.")] = (
        "kos.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a starter workflow with comments, which can be submitted as it is."""
    if file == "-":
        emit({"text": STARTER}) if as_json else typer.echo(STARTER, nl=False)
        return
    path = Path(file)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as out:
            out.write(STARTER)
    except FileExistsError:
        raise fail(f"{file} is there already; --force writes over it", Exit.USAGE) from None
    except OSError as error:
        raise fail(f"{file}: cannot be written: {error.strerror}", Exit.USAGE) from None
    if as_json:
        emit({"file": file})
        return
    typer.echo(f"{file} is written; check it: kos validate {file}; run it: kos submit {file} --wait")


def schema(
    as_json: Annotated[bool, typer.Option("--json", help="It is JSON in any case.")] = False,  # noqa: ARG001
) -> None:
    """Print the JSON Schema of job documents, for completion and checks in editors."""
    from kos_ray.spec.schema import json_schema

    emit(json_schema())
