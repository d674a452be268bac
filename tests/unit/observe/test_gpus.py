"""GPUs as people see them."""

from kos_ray.model.gpu import GpuReading
from kos_ray.model.views import NodeStanding, NodeView
from kos_ray.observe.gpus import gpu_table
from kos_ray.observe.measured import with_loads

GIB = 2**30
READING = GpuReading(
    index=1,
    name="NVIDIA H100",
    used=905,
    memory_used=60 * GIB,
    memory_total=80 * GIB,
    temperature=51,
    power=350.4,
    power_limit=700.0,
    processes=((4, GIB), (7, None)),
)
#: one whose driver says little, and on which nothing runs
IDLE = GpuReading(index=2, name="odd", used=0, power=75.2, processes=())


def test_each_gpu_has_a_row_with_a_dash_for_what_is_not_known() -> None:
    node = NodeView(id="n1", name="gpu-7", alive=True, head=False, resources=())
    standing = NodeStanding(id="n1", name="gpu-7", gpus=(READING, IDLE, GpuReading(index=3, name="")))
    (shown,) = with_loads([node], [standing])
    table = gpu_table([shown])
    assert table is not None
    assert table.rows == (
        ("gpu-7", "1", "NVIDIA H100", "90 %", "60.0 GiB/80.0 GiB", "51 °C", "350/700 W", "4 1.0 GiB, 7"),
        ("gpu-7", "2", "odd", "0 %", "-", "-", "75 W", ""),
        ("gpu-7", "3", "-", "-", "-", "-", "-", "-"),
    )
    assert gpu_table([node]) is None
