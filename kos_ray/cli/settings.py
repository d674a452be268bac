"""Where the command line looks, and who said so: `kos config show`."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import json
import os
from dataclasses import dataclass
from pathlib import Path

from kos_ray.cli.output import emit, show_panel
from kos_ray.cli.shell import Address, Json, State, example, new_app

app = new_app("Show what the command line goes by.")

#: what is read from the environment, and what for
VARIABLES = {
    "KOS_ADDRESS": "the cluster, as --address",
    "KOS_NAMESPACE": "the namespace, as --namespace",
    "KOS_STATE_DIR": "the state directory, as --state",
    "RAY_AUTH_MODE": "how Ray lets people in: token, or nothing",
    "RAY_AUTH_TOKEN_PATH": "where Ray's token lies",
    "NO_COLOR": "no colours",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """A value, and where it comes from."""

    name: str
    value: str
    origin: str


@app.callback()
def _group() -> None:
    """Show what the command line goes by."""


@app.command(epilog=example("kos config show", "KOS_ADDRESS=10.0.0.5:6379 kos config show --json"))
def show(address: Address = None, state: State = None, as_json: Json = False) -> None:
    """Show the settings, the value of each, and where it comes from."""
    found = settings(address, state)
    if as_json:
        emit(found)
        return
    show_panel([(one.name, f"{one.value or '-'}  ({one.origin})") for one in found])


def settings(address: str | None, state: Path | None) -> list[Setting]:
    """Everything that the command line goes by."""
    directory = state_directory(state)
    return [
        directory,
        cluster_address(address, Path(directory.value)),
        _setting("namespace", None, ("KOS_NAMESPACE",), "default"),
        *(
            Setting(name, os.environ[name], f"environment: {text}")
            for name, text in VARIABLES.items()
            if name in os.environ
        ),
        *documents_settings(),
    ]


def documents_settings() -> list[Setting]:
    """What documents are read with: the file of `KOS_SETTINGS`, what each key comes to, and what does not act yet.

    Raises:
        InvalidSpec: the file cannot be read or accepted.

    """
    from kos_ray.spec import settings

    path = os.environ.get(settings.VARIABLE, "")
    found = settings.load_settings(path) if path else settings.Settings()
    return [
        Setting("settings file", path, settings.VARIABLE if path else f"none: {settings.VARIABLE} names one"),
        *(
            Setting(key, value, "settings file" if key in found.written else "built in")
            for key, value in found.in_effect().items()
        ),
        *(
            Setting(key, value, "settings file: kos up and kos scheduler load hand it to the scheduler")
            for key, value in found.handed.items()
        ),
        *(Setting(key, "", "settings file: accepted, and nothing acts on it yet") for key in found.not_yet),
    ]


def state_directory(given: Path | None) -> Setting:
    """The directory that holds the journal; `given` is what --state or KOS_STATE_DIR says."""
    from kos_ray.runtime import connect

    if given and str(given) != os.environ.get("KOS_STATE_DIR"):
        return Setting("state directory", str(given), "the option")
    directory, origin = connect.here()
    return Setting("state directory", str(directory), origin)


def cluster_address(given: str | None, directory: Path) -> Setting:
    """The cluster that commands would ask."""
    if given:
        return _setting("address", given, ("KOS_ADDRESS",), "")
    recorded = recorded_address(directory)
    if recorded:
        return Setting("address", recorded, f"the cluster that kos up started, in {directory}")
    return Setting("address", "", "none: kos up starts a cluster")


def recorded_address(directory: Path) -> str:
    """The address that `kos up` wrote beside the journal, "" where it did not or has been stopped."""
    try:
        return str(json.loads((directory / "cluster.json").read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _setting(name: str, given: str | None, variables: tuple[str, ...], default: str) -> Setting:
    for variable in variables:
        value = os.environ.get(variable)
        if value and given in (None, value):
            return Setting(name, value, variable)
    return Setting(name, given, "the option") if given else Setting(name, default, "default")
