"""What a node says of itself, with GPUs, a battery and a network that are made up."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest

from kos_ray.runtime.agent import gpus
from kos_ray.runtime.agent.facts import Facts

GIB = 2**30


@pytest.fixture(autouse=True)
def _looked_for_anew() -> Iterator[None]:
    gpus.opened.cache_clear()
    yield
    gpus.opened.cache_clear()


def test_a_machine_without_gpus_says_nothing_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None, raising=False)
    monkeypatch.setattr(psutil, "net_if_stats", lambda: {"lo": SimpleNamespace(isup=True, speed=0)})
    facts = Facts(tmp_path)
    labels, amounts = facts.lasting()
    assert labels == {}
    assert amounts == {"disk": pytest.approx(psutil.disk_usage(str(tmp_path)).free, rel=0.05)}
    assert facts.passing() == (-1, ())


@pytest.mark.parametrize(("percent", "plugged", "said"), [(37.2, False, 35), (37.2, True, -1), (4, False, 0)])
def test_a_battery_is_told_of_while_it_runs_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, percent: float, plugged: bool, said: int
) -> None:
    battery = SimpleNamespace(percent=percent, power_plugged=plugged)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    assert Facts(tmp_path).passing()[0] == said


def test_gpus_and_the_fastest_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory: list[Any] = [
        SimpleNamespace(total=80 * GIB, free=10 * GIB + 5),
        SimpleNamespace(total=40 * GIB, free=GIB - 1),
    ]
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda _handle: "NVIDIA H100 80GB")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: memory[handle])
    links = {"a": (True, 1_000), "b": (True, 10_000), "c": (False, 100_000)}
    stats = {name: SimpleNamespace(isup=up, speed=speed) for name, (up, speed) in links.items()}
    monkeypatch.setattr(psutil, "net_if_stats", lambda: stats)
    facts = Facts(tmp_path)
    labels, amounts = facts.lasting()
    assert labels == {"gpu": "NVIDIA-H100-80GB", "gpu-memory": str(40 * GIB)}
    assert amounts["network"] == 10**10
    assert facts.passing()[1] == (10 * GIB, 0)
