"""The words of every scale of priorities, on the six bands."""

from kos_ray.model.job import BANDS

PRIORITIES: dict[str, int] = {name: band for band, name in enumerate(BANDS)} | {
    "high": 1,
    "normal": 3,
    "medium": 3,
    "low": 4,
}
