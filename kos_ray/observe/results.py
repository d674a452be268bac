"""Where results go: from the end of a job to one entry of the outbox for each place that its `results_to` names.

An agent gets its result as a job, which refers to it and is made once; whatever else is for `runtime/results.py`.
"""

import hashlib
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kos_ray.model.hashing import spec_hash
from kos_ray.model.job import After, Sink, Spec
from kos_ray.model.protocol import Array, Submit
from kos_ray.model.views import JobView
from kos_ray.observe.outbox import Entry

KIND = "result"
#: the type of the event that a webhook is told
TYPE = "job_result"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What is kept of one delivery: the place, the event without the result, and the result's payload."""

    sink: Sink
    namespace: str
    event: dict[str, Any]
    payload: bytes


def entries(
    spec: Spec, view: JobView, payload: bytes, event: dict[str, Any], *, cluster_id: str, seq: int
) -> Iterator[Entry]:
    """What there is to do because a job has succeeded, under ids made of the place in the journal."""
    for place, sink in enumerate(spec.results_to):
        entry_id = f"res_{cluster_id[:8]}_{seq}_{view.key}_{place}"
        if sink.spec is not None:
            request = hashlib.sha256(f"result\0{cluster_id}\0{entry_id}".encode()).hexdigest()[:32]
            packed = pickle.dumps(_message(sink, sink.spec, view, request), protocol=5)
            yield Entry(id=request, kind="hook", target=f"result: {sink.name}", body=packed)
        else:
            parcel = Parcel(sink=sink, namespace=view.namespace, event={**event, "type": TYPE}, payload=payload)
            yield Entry(id=entry_id, kind=KIND, target=sink.name, body=pickle.dumps(parcel, protocol=5))


def _message(sink: Sink, spec: Spec, view: JobView, request: str) -> Submit:
    array = Array(
        id=follower_id(view.id, request),
        count=-1,
        spec=spec_hash(spec),
        args=(sink.args,),
        after=((view.id, After.OK),),
        inputs=(view.id,),
    )
    return Submit(request_id=request, arrays=(array,), specs=((array.spec, spec),), sender=f"result of {view.id}")


def follower_id(job_id: str, digest: str) -> str:
    """A UUIDv7 with the clock of the job that it follows: the same for the same digest."""
    clock = job_id[:13] if len(job_id) >= 36 else "00000000-0000"
    variant = "89ab"[int(digest[3], 16) & 3]
    return f"{clock}-7{digest[:3]}-{variant}{digest[4:7]}-{digest[7:19]}"
