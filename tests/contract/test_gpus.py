"""What is read of GPUs: of ones that are made up, and of those of this machine where there are some."""

# ruff: noqa: N802 - the names are those of NVML

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kos_ray.model.gpu import GpuReading
from kos_ray.model.sample import Sample
from kos_ray.runtime.agent.gpus import Gpus, shares
from kos_ray.runtime.agent.samples import Samples

GIB = 2**30


class FakeNvml:
    """NVML with two GPUs; `refused` are questions that this driver does not answer, `lost` GPUs that answer nothing."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, refused: tuple[str, ...] = (), *, absent: bool = False) -> None:
        self._refused = refused
        self._absent = absent
        self.lost: set[int] = set()

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name in object.__getattribute__(self, "_refused"):

            def refuse(*_: Any) -> None:
                raise FakeNvml.NVMLError(name)

            return refuse
        found = object.__getattribute__(self, name)
        if not name.startswith("nvmlDeviceGet") or name == "nvmlDeviceGetCount":
            return found

        def ask(handle: int, *more: Any) -> Any:
            if handle in self.lost:
                raise FakeNvml.NVMLError("GPU is lost")
            return found(handle, *more)

        return ask

    def nvmlInit(self) -> None:
        if self._absent:
            raise FakeNvml.NVMLError("no driver")

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> bytes | str:
        return b"NVIDIA H100" if handle else "NVIDIA H100"

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return SimpleNamespace(gpu=(90, 30)[handle], memory=5)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        used = (60, 20)[handle] * GIB
        return SimpleNamespace(total=80 * GIB, used=used, free=80 * GIB - used)

    def nvmlDeviceGetTemperature(self, handle: int, _sensor: int) -> int:
        return 50 + handle

    def nvmlDeviceGetPowerUsage(self, _handle: int) -> int:
        return 350_500

    def nvmlDeviceGetEnforcedPowerLimit(self, _handle: int) -> int:
        return 700_000

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        return [] if handle else [SimpleNamespace(pid=7, usedGpuMemory=None), SimpleNamespace(pid=4, usedGpuMemory=GIB)]


def real() -> Any:
    import pynvml

    if not Gpus(pynvml).handles:
        pytest.skip("this machine has no GPU that NVML sees")
    return pynvml


@pytest.mark.parametrize("make", [FakeNvml, real], ids=["fake", "real"])
def test_each_gpu_says_what_it_does(make: Callable[[], Any]) -> None:
    readings = Gpus(make()).read()
    assert [one.index for one in readings] == list(range(len(readings)))
    for one in readings:
        assert one.name
        assert one.used is not None
        assert 0 <= one.used <= 1_000
        assert one.memory_used is not None
        assert one.memory_total is not None
        assert 0 <= one.memory_used <= one.memory_total
        assert one.memory_total >= GIB
        assert one.temperature is None or 0 < one.temperature < 120
        assert one.power is None or 0 < one.power < 2_000
        assert one.power is None or one.power_limit is None or one.power_limit > 10
        assert all(pid > 0 for pid, _ in one.processes or ())
    assert all(0 <= share <= 1_000 for share in shares(readings).values())
    assert set(shares(readings)) == {"gpu", "gpu_memory"}


def test_what_is_made_up_is_read_as_it_is() -> None:
    first, second = Gpus(FakeNvml()).read()
    assert first == GpuReading(
        index=0,
        name="NVIDIA H100",
        used=900,
        memory_used=60 * GIB,
        memory_total=80 * GIB,
        temperature=50,
        power=350.5,
        power_limit=700.0,
        processes=((4, GIB), (7, None)),
    )
    assert second.name == "NVIDIA H100"
    assert shares((first, second)) == {"gpu": 600, "gpu_memory": 500}


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ("nvmlDeviceGetUtilizationRates", "used"),
        ("nvmlDeviceGetMemoryInfo", "memory_used"),
        ("nvmlDeviceGetTemperature", "temperature"),
        ("nvmlDeviceGetPowerUsage", "power"),
        ("nvmlDeviceGetEnforcedPowerLimit", "power_limit"),
        ("nvmlDeviceGetComputeRunningProcesses", "processes"),
    ],
)
def test_what_a_gpu_does_not_say_is_left_open(question: str, field: str) -> None:
    one, whole = Gpus(FakeNvml((question,))).read()[0], Gpus(FakeNvml()).read()[0]
    assert getattr(one, field) is None
    left = {"memory_total"} if field == "memory_used" else set[str]()
    assert replace(whole, **dict.fromkeys({field, *left})) == one, "everything else is read"


def test_one_that_is_lost_while_it_is_watched_leaves_the_others_as_they_are() -> None:
    nvml = FakeNvml()
    gpus = Gpus(nvml)
    first, second = gpus.read()
    nvml.lost = {0}
    assert gpus.read() == (GpuReading(index=0, name="NVIDIA H100"), second), "its name is known from before"
    assert shares(gpus.read()) == {"gpu": 300, "gpu_memory": 250}
    assert [one.total for one in gpus.memory()] == [80 * GIB]
    nvml.lost = set()
    assert gpus.read() == (first, second)


def test_one_that_cannot_be_opened_is_left_out_and_the_others_keep_their_index() -> None:
    nvml = FakeNvml()
    nvml.lost = {0}
    (second,) = Gpus(nvml).read()
    assert (second.index, second.used) == (1, 300)


def test_what_is_not_known_is_not_known_after_its_way_either() -> None:
    for refused in ((), ("nvmlDeviceGetComputeRunningProcesses",)):
        sample = Samples({"GPU": 2}, gpus=Gpus(FakeNvml(refused)).read).take(())
        assert Sample.from_wire(sample.to_wire()).gpus == sample.gpus
    assert sample.gpus[1].processes is None


def test_without_a_driver_there_are_none() -> None:
    assert Gpus(FakeNvml(absent=True)).read() == ()
    assert shares(()) == {}


def test_readings_travel_with_the_sample_of_a_node_that_has_gpus() -> None:
    read = Gpus(FakeNvml()).read
    sample = Samples({"GPU": 2}, gpus=read).take(())
    assert sample.loads["gpu"] == 600
    assert Sample.from_wire(sample.to_wire()) == sample
    assert Sample.from_wire(sample.to_wire()[:3]).gpus == (), "of a version that reads none"
    assert Samples({}, gpus=read).take(()).gpus == (), "another node of this machine has them"
