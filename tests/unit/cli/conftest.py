"""`kos` and `kaictl` over a cluster in memory."""

import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import typer
from fake_cluster import FakeClient, Kos, Report, World

from kos_ray.cli import kaictl, main
from kos_ray.cli.shell import run_guarded
from kos_ray.model.errors import ClusterUnreachable


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    world = World()

    def connect(address: str | None = None, *, namespace: str = "default", start: bool = False) -> FakeClient:
        if isinstance(world.error, ClusterUnreachable | KeyboardInterrupt):
            raise world.error
        world.calls.append(("connect", address, namespace))
        return FakeClient(world)

    def up(**options: Any) -> Report:
        world.calls.append(("up", options))
        return Report(already_running=world.running)

    def down(**options: Any) -> Report:
        world.calls.append(("down", options))
        return Report()

    client = types.ModuleType("kos_ray.client")
    client.connect = connect  # type: ignore[attr-defined]
    runtime = types.ModuleType("kos_ray.runtime.connect")
    runtime.up, runtime.down = up, down  # type: ignore[attr-defined]
    runtime.here = lambda: (  # type: ignore[attr-defined]
        (Path(os.environ["KOS_STATE_DIR"]), "KOS_STATE_DIR")
        if "KOS_STATE_DIR" in os.environ
        else (tmp_path / "default", "default")
    )
    runtime.DATABASE = "journal.db"  # type: ignore[attr-defined]
    runtime.verify = lambda **_: Report(problems=world.problems)  # type: ignore[attr-defined]
    runtime.leaks = world.leaked  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kos_ray.client", client)
    monkeypatch.setitem(sys.modules, "kos_ray.runtime.connect", runtime)
    monkeypatch.setattr("kos_ray.runtime.connect", runtime, raising=False)
    for name in ("KOS_ADDRESS", "KOS_NAMESPACE", "KOS_STATE_DIR", "KOS_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    return world


@pytest.fixture
def kos(world: World, capsys: pytest.CaptureFixture[str]) -> Kos:
    """Runs the command line as `run` does; exit code, standard output, standard error."""
    return _caller(main.app, "kos", capsys)


@pytest.fixture
def kai(world: World, capsys: pytest.CaptureFixture[str]) -> Kos:
    """The same for `kaictl`."""
    return _caller(kaictl.app, "kaictl", capsys)


def _caller(app: typer.Typer, name: str, capsys: pytest.CaptureFixture[str]) -> Kos:
    def call(*words: str) -> tuple[int, str, str]:
        code = run_guarded(lambda: app(list(words), prog_name=name))
        written = capsys.readouterr()
        assert "Traceback" not in written.out + written.err
        assert "\x1b[" not in written.out
        return int(code), written.out, written.err

    return call
