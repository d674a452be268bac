"""Three ordinary functions as one durable pipeline: each is a job, and results are passed along by the cluster.

Run it with `python configs/examples/pipeline.py`, beside a cluster that `kos up` started.
"""

import kos_ray


def load(count: int) -> list[int]:
    """The numbers below `count`."""
    return list(range(count))


def square_all(numbers: list[int]) -> list[int]:
    """Each number times itself."""
    return [number * number for number in numbers]


def total(numbers: list[int]) -> int:
    """Their sum."""
    return sum(numbers)


if __name__ == "__main__":
    with kos_ray.connect() as client:
        loaded = client.submit(load, 10)
        squared = client.submit(square_all, loaded)
        summed = client.submit(total, squared)
        print(summed.result())
