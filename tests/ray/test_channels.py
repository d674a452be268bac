"""The direct way is taken where it opens and found again after a death; where it does not open, Ray is there."""

import os
import signal
from typing import Any

import psutil
import pytest

from kos_ray.client import connect
from kos_ray.runtime.channel import ChannelBroken, Channels
from tests.ray.conftest import KosCluster
from tests.ray.test_deaths import scheduler_pid

pytestmark = pytest.mark.ray


def double(number: int) -> int:
    return 2 * number


def peers(pid: int) -> set[int]:
    """The ports of this machine to which a process listens that others have come to."""
    connections = psutil.Process(pid).net_connections("tcp")
    listening = {found.laddr.port for found in connections if found.status == psutil.CONN_LISTEN}
    return {found.laddr.port for found in connections if found.status == psutil.CONN_ESTABLISHED} & listening


def test_the_way_is_direct_also_after_the_scheduler_has_died(kos: KosCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    real = Channels.call

    def call(self: Channels, method: str, *args: Any) -> Any:
        called.append(method)
        return real(self, method, *args)

    monkeypatch.setattr(Channels, "call", call)
    assert kos.client.submit(double, 1, resources={"cpu": 0}).result(60) == 2
    pid, epoch = scheduler_pid()
    assert "submit" in called
    assert peers(pid), "nobody has come through the door"
    os.kill(pid, signal.SIGKILL)
    called.clear()
    assert kos.client.submit(double, 2, resources={"cpu": 0}).result(120) == 4
    assert scheduler_pid()[1] > epoch
    assert "submit" in called


def test_where_no_door_opens_everything_goes_by_ray(kos: KosCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Channels) -> Any:
        raise ChannelBroken(f"a firewall before port {self.at.port}")

    monkeypatch.setattr(Channels, "connect", refuse)
    with connect(kos.client.address, start=False) as client:
        assert client.map(double, range(20), resources={"cpu": 0}).results(60) == [double(i) for i in range(20)]
