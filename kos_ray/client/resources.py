"""What a job holds while it runs, as users write it in Python."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """CPU and GPU in devices (fractions allowed), memory in bytes or as text ("512MiB"), custom ones by Ray's name.

        kos.Resources(cpu=1, gpu=0.5, memory="512MiB", custom={"license": 1})

    Amounts are checked at the submission, like those of a job document.
    """

    cpu: float = 1
    gpu: float = 0
    memory: str | int = 0
    custom: Mapping[str, float] = field(default_factory=dict)

    def as_document(self) -> dict[str, Any]:
        """The `resources` of a job document."""
        return {"cpu": self.cpu, "gpu": self.gpu, "memory": self.memory, "custom": dict(self.custom)}
