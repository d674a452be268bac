"""What a node measures of itself: real processes, and a machine that is made up."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from kos_ray.model.ids import NodeId
from kos_ray.model.sample import Sample, Use
from kos_ray.model.views import NodeStanding
from kos_ray.runtime.agent import samples as module
from kos_ray.runtime.agent.samples import Running, Samples, Sampling, of_slots
from kos_ray.runtime.loads import Loads
from kos_ray.scheduler.state import State

MIB = 2**20


class Machine:
    """Counters and a clock that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.received, self.read, self.busy_ms, self.cpu = 10.0, 0, 0, 0, 25.0
        self.memory = SimpleNamespace(total=1_000, available=700)
        self.battery: Any = None
        said = {
            "cpu_percent": lambda: self.cpu,
            "virtual_memory": lambda: self.memory,
            "net_io_counters": lambda **_: {"lo": _card(10**9), "eth0": _card(self.received)},
            "disk_io_counters": lambda perdisk=False: {"sda": self.disk()} if perdisk else self.disk(),
            "net_if_stats": lambda: {"eth0": SimpleNamespace(isup=True, speed=80)},
            "sensors_battery": lambda: self.battery,
        }
        for name, found in said.items():
            monkeypatch.setattr(psutil, name, found, raising=False)
        monkeypatch.setattr(module, "_CGROUP", module.Path("/nowhere"))

    def disk(self) -> Any:
        return SimpleNamespace(read_bytes=self.read, write_bytes=0, busy_time=self.busy_ms)


def _card(received: int) -> Any:
    return SimpleNamespace(bytes_recv=received, bytes_sent=0)


def test_rates_are_differences_over_the_time_between(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    samples = Samples({"CPU": 2, "memory": 1_000}, clock=lambda: machine.now)
    first = samples.take(())
    assert (dict(first.loads), dict(first.rates)) == ({"memory": 300}, {})
    machine.now, machine.received, machine.read, machine.busy_ms = 12.0, 10_000_000, 4_000, 500
    second = samples.take(())
    assert second.rates == {"received": 5_000_000, "sent": 0, "read": 2_000, "written": 0}
    # of 80 Mbit/s; half a second in two
    assert second.loads == {"cpu": 250, "memory": 300, "network": 500, "disk": 250}
    machine.now, machine.received = 13.0, 0  # the card began anew
    assert samples.take(()).rates["received"] == 0


def test_a_battery_counts_by_what_is_gone_and_only_while_it_runs_down(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    samples = Samples({}, clock=lambda: machine.now)
    machine.battery = SimpleNamespace(percent=12.4, power_plugged=False)
    assert samples.take(()).loads["battery"] == 876
    machine.battery = SimpleNamespace(percent=12.4, power_plugged=True)
    assert "battery" not in samples.take(()).loads


@pytest.fixture
def eater() -> Iterator[subprocess.Popen[bytes]]:
    """A process whose child holds 100 MiB and a processor."""
    child = f"held = b'x' * {100 * MIB}; print('there', flush=True)\nwhile True: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    for found in [*psutil.Process(process.pid).children(recursive=True), process]:
        found.kill()
    process.communicate()


def test_an_attempt_has_what_its_whole_tree_uses(eater: subprocess.Popen[bytes]) -> None:
    samples = Samples({"CPU": 4, "memory": 400 * MIB})
    slots = (Running(7, 2, eater.pid), Running(0, 0, 2**22 + 1))
    samples.take(slots)
    spent, until = 0, 20
    while not spent and until:
        threading.Event().wait(0.1)  # a processor's share needs time to pass
        sample = samples.take(slots)
        (use,) = sample.uses
        spent, until = use.cpu, until - 1
    assert (use.key, use.attempt) == (7, 2)
    assert 100 * MIB < use.memory < 150 * MIB
    assert 0 < use.cpu <= 1_300
    assert use.loads["cpu"] == pytest.approx(use.cpu / 4, abs=1)
    # of the 400 MiB that this node declares, whatever the machine has
    assert 250 <= use.loads["memory"] < 375
    assert sample.loads["memory"] >= use.loads["memory"]


def test_a_heartbeat_never_waits_long_for_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT_S", 0.05)
    let, taken = threading.Event(), []

    def take(running: Any) -> Sample:
        taken.append(running)
        let.wait(20)
        return Sample(loads={"memory": len(taken)})

    async def beats() -> None:
        sampling = Sampling(SimpleNamespace(take=take))  # type: ignore[arg-type]
        assert await sampling.fresh(()) == await sampling.fresh(()) == Sample()
        assert len(taken) == 1, "one measurement at a time"
        let.set()
        while not (await sampling.fresh(())).loads:
            pass
        assert (await sampling.fresh(())).loads["memory"] > 1

    asyncio.run(asyncio.wait_for(beats(), 20))


def test_what_fails_to_be_measured_costs_no_heartbeat() -> None:
    def take(_running: Any) -> Sample:
        raise OSError("no /proc")

    async def beat() -> Sample:
        return await Sampling(SimpleNamespace(take=take)).fresh(())  # type: ignore[arg-type]

    assert asyncio.run(beat()) == Sample()


def test_lanes_into_agents_are_no_processes() -> None:
    attempt = SimpleNamespace(key=3, number=1)
    slots = [
        SimpleNamespace(connected=True, lane=False, handed=[attempt], pid=11),
        SimpleNamespace(connected=True, lane=False, handed=[], pid=12),
        SimpleNamespace(connected=True, lane=True, handed=[attempt], pid=11),
        SimpleNamespace(connected=False, lane=False, handed=[], pid=0),
    ]
    assert of_slots(slots) == [Running(3, 1, 11), Running(0, 0, 12)]


def test_the_newest_sample_of_each_node_is_kept() -> None:
    engine: Any = SimpleNamespace(state=State())
    loads = Loads(engine, lambda event: pytest.fail(f"nobody asked for {event}"))
    sample = Sample(loads={"memory": 620, "cpu": 40}, rates={"read": 5}, uses=(Use(7, 2, {"memory": 100}, 900, MIB),))
    standing = NodeStanding(id="n", name="node")
    assert loads.told(standing) == standing
    loads.heard(NodeId("n"), sample.to_wire())
    assert loads.of(NodeId("n")) == sample
    told = loads.told(standing)
    assert told.loads == (("cpu", 40), ("memory", 620))
    assert (told.rates, told.uses) == ((("read", 5),), ((7, 2, 900, MIB),))
    loads.gone(NodeId("n"))
    assert loads.told(standing) == standing
