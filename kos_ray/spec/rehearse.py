"""What a replayed workflow must come to: its final digests, computed here, one task after the other, without burning.

A cluster that handed every result to the right child, whole, ends with the same digests.
"""

import io
import pickle
from collections.abc import Sequence
from typing import Any

from kos_ray.model import payload
from kos_ray.model.errors import InvalidSpec
from kos_ray.spec.lower import Draft
from kos_ray.spec.replay import replay_task
from kos_ray.spec.wfformat import ENTRY


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, inputs: Sequence[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._inputs = inputs

    def persistent_load(self, pid: tuple[str, int]) -> Any:
        """An input by its position."""
        return self._inputs[pid[1]]


def final_digests(drafts: Sequence[Draft]) -> dict[str, str]:
    """The digest of every task that nobody waits for, by its name; drafts come parents first.

    Raises:
        InvalidSpec: a draft is no replayed task.

    """
    results: dict[str, dict[str, Any]] = {}
    for draft in drafts:
        data = payload.open_payload(draft.args[0])
        if draft.spec.entry != ENTRY or not isinstance(data, bytes):
            raise InvalidSpec(f"{draft.name}: expected a replayed task ({ENTRY}), found {draft.spec.entry!r}")
        args, _ = _Unpickler(data, [results[parent] for parent in draft.inputs]).load()
        results[draft.name] = replay_task({**args[0], "cpu_seconds": 0.0}, *args[1:])
    parents = {parent for draft in drafts for parent, _ in draft.after}
    return {name: result["digest"] for name, result in results.items() if name not in parents}
