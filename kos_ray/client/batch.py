"""Calls of one request: columns as long as they say nothing but what to run, else an array each."""

from dataclasses import replace
from typing import Any, NamedTuple

from kos_ray.client.calls import Call, conditions
from kos_ray.client.idempotency import identity_of, payload_hash
from kos_ray.model.job import Spec
from kos_ray.model.protocol import Array, Singles
from kos_ray.model.wire import to_plain


class Template(NamedTuple):
    """What calls of the same function with the same options share."""

    hash: str
    spec: Spec
    #: the first of them
    call: Call


class Batch:
    """Jobs of one request, in their order."""

    def __init__(self) -> None:
        self._templates: dict[str, Template] = {}
        self._hashes: list[str] = []
        self.args: list[bytes] = []
        #: those that say more than what to run, by their place; without ids
        self.arrays: dict[int, Array] = {}
        #: bytes of their arguments
        self.size = 0

    def add(self, template: Template, call: Call, args: bytes, inputs: tuple[str, ...]) -> None:
        """One more. `inputs` are the public ids of jobs whose results stand among its arguments."""
        if inputs or call.name or call.idempotency_key or not call.waits_for_nothing:
            self.arrays[len(self.args)] = _array(template, call, args, inputs)
        self._templates[template.hash] = template
        self._hashes.append(template.hash)
        self.args.append(args)
        self.size += len(args)

    def specs(self) -> dict[str, Spec]:
        """Their specs, by hash."""
        return {hash_: template.spec for hash_, template in self._templates.items()}

    def as_arrays(self) -> list[Array]:
        """All of them as arrays, without ids."""
        return [
            self.arrays.get(place) or Array(id="", count=-1, spec=hash_, args=(args,))
            for place, (hash_, args) in enumerate(zip(self._hashes, self.args, strict=True))
        ]

    def columns(self, ids: list[str]) -> Any:
        """All of them as `Singles`, plain; for a batch without `arrays`."""
        number = {hash_: index for index, hash_ in enumerate(self._templates)}
        singles = Singles(
            ids=tuple(ids),
            hashes=tuple(number),
            specs=tuple([number[hash_] for hash_ in self._hashes]),
            args=tuple(self.args),
        )
        return to_plain(singles)


def _array(template: Template, call: Call, args: bytes, inputs: tuple[str, ...]) -> Array:
    waits_for = conditions(call.after, template.spec.type)
    array = Array(
        id="",
        count=-1,
        spec=template.hash,
        args=(args,),
        name=call.name,
        after=tuple([(ref, int(kind)) for ref, kind in waits_for.parents]),
        inputs=inputs,
        rule=waits_for.rule,
        singleton=waits_for.singleton,
    )
    key = call.idempotency_key
    return with_payload(array, template.spec, key, identity_of(call.function)) if key else array


def with_payload(array: Array, spec: Spec, key: str, identity: str) -> Array:
    """The array with its idempotency key, and what it is compared by."""
    return replace(array, idempotency_key=key, payload=payload_hash(array, spec, identity))
