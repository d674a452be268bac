"""`kos scheduler show|set|load|learnt`: what the scheduler goes by, and other settings while it runs."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kos_ray.cli.output import emit, say, show_panel, show_table
from kos_ray.cli.shell import Address, Json, example, new_app, open_client

if TYPE_CHECKING:
    from kos_ray.model.policy import Policy

app = new_app("Show or change what the scheduler goes by.")
In = Annotated[
    str, typer.Option("--namespace", "-n", metavar="NAME", help="Settings of one namespace; a/b stands below a.")
]


@app.callback()
def _group() -> None:
    """Show or change what the scheduler goes by."""


@app.command(epilog=example("kos scheduler show", "kos scheduler show --namespace team/a --json"))
def show(namespace: In = "", address: Address = None, as_json: Json = False) -> None:
    """Show the settings in force."""
    from kos_ray.observe.tables import scheduling_panel

    with open_client(address, "default") as client:
        _show(client.settings(), namespace, as_json=as_json)
        if not (namespace or as_json):
            show_panel(scheduling_panel(client.status().scheduling))


@app.command(
    "set",
    epilog=example(
        "kos scheduler set scheduler_mode=fair_share half_life=10m",
        'kos scheduler set --namespace team limit="{cpu: 8, gpu: 1}" weight=2',
        'kos scheduler set licences="{matlab: 2}" grace=',
    ),
)
def change(
    words: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE...", help="Values as in YAML; nothing for what was built in.")
    ],
    namespace: In = "",
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Change settings; they are journaled, and stay in force when the scheduler is started again."""
    from kos_ray.spec.policies import parse_words

    wanted = parse_words(words, namespace)
    with open_client(address, "default") as client:
        _show(client.settings(wanted), namespace, as_json=as_json)


@app.command(epilog=example("kos scheduler load configs/scheduler_config.yaml"))
def load(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A settings file, such as scheduler_config.yaml.")],
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Change all settings that a file names."""
    from kos_ray.spec.settings import load_settings

    found = load_settings(file)
    if found.not_yet:
        say(f"{file}: not supported yet: {', '.join(found.not_yet)}")
    wanted = found.scheduling
    with open_client(address, "default") as client:
        _show(client.settings(wanted), "", as_json=as_json)


@app.command(epilog=example("kos scheduler learnt", "kos scheduler learnt --namespace team --json"))
def learnt(
    namespace: Annotated[str, typer.Option("--namespace", "-n", metavar="NAME", help="Only jobs of this one.")] = "",
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Show how long jobs have run, by type, by what they ask for and by the size of their arguments.

    It stands in for jobs that declare no `run_time`, unless `learn_run_times` is off.
    """
    from kos_ray.observe.learnt import learnt_table

    with open_client(address, "default") as client:
        kinds = [kind for kind in client.learnt() if namespace in ("", kind.namespace)]
    if as_json:
        emit(kinds)
    elif kinds:
        show_table(learnt_table(kinds))
    else:
        say("no job has ended well yet: nothing was learnt")


def _show(policy: "Policy", namespace: str, *, as_json: bool) -> None:
    from kos_ray.observe.policies import settings_in_force

    found = settings_in_force(policy, namespace)
    if as_json:
        emit(found)
    else:
        show_panel(list(found.items()))
