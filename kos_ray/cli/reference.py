"""The command reference as Markdown, made of the commands' own help: `python -m kos_ray.cli.reference`."""

import sys
from collections.abc import Iterator

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from kos_ray.cli import kaictl, main

_INTRODUCTION = """\
# Commands

Made by `python -m kos_ray.cli.reference > docs/commands.md` from the commands' own help; a test compares the two.

Every command with `--json` writes one JSON document to standard output; what goes on beside it goes to standard error.
Completion in the shell: `kos --install-completion`.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the job failed, or the answer is no |
| 2 | wrong usage or bad input |
| 3 | no cluster answers |
| 4 | no such job |
| 130 | interrupted |

`kos run` ends with the exit code of the command that it ran.
"""


def reference() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for name, app in (("kos", main.app), ("kaictl", kaictl.app)):
        for words, command in _commands(name, get_command(app)):
            parts.append(_section(words, command))
    return "\n".join(parts)


def _commands(words: str, command: object) -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(command, TyperGroup):
        for name, one in command.commands.items():
            yield from _commands(f"{words} {name}", one)
    elif isinstance(command, TyperCommand):
        yield words, command


def _section(words: str, command: TyperCommand) -> str:
    context = typer.Context(command, info_name=words, terminal_width=100)
    usage = " ".join(command.collect_usage_pieces(context))
    examples = [line for line in (command.epilog or "").splitlines() if line.startswith("  ")]
    lines = [f"## {words}", "", (command.help or "").strip(), "", "```", f"{words} {usage}", "```", ""]
    rows = [
        _row(record)
        for one in command.params
        if isinstance(one, TyperArgument | TyperOption) and (record := one.get_help_record(context))
    ]
    if rows:
        lines += ["| | |", "|---|---|", *rows, ""]
    lines += ["```sh", *(line.strip() for line in examples), "```", ""]
    return "\n".join(lines)


def _row(record: tuple[str, str]) -> str:
    name, text = record
    return f"| `{_cell(name)}` | {_cell(text)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
