"""Idempotency keys: one key in a namespace is one job, however often, and by however many, it is submitted.

Which keys are taken is a row of the journal, written with the job's own, as names and request ids are: it outlives the
scheduler and the job's end, and jobs without a key pay nothing.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from kos_ray.engine.ports import Known
from kos_ray.model.errors import Refused
from kos_ray.model.ids import KEY_MAX, JobKey
from kos_ray.model.job import Spec
from kos_ray.model.protocol import Accepted, Array, Submit
from kos_ray.model.wire import to_plain


class KeyedArray(NamedTuple):
    """Who has a key: its first job, what was submitted with it (`payload_of`), and its public id."""

    first: JobKey
    payload: str
    id: str


#: (namespace, key) -> who has it
Keys = dict[tuple[str, str], KeyedArray]


def has_keys(submit: Submit) -> bool:
    """Whether any of its arrays has a key."""
    return any(array.idempotency_key for array in submit.arrays)


def keys_of(submit: Submit, accepted: Accepted) -> list[range]:
    """The keys of all jobs of a request, those that were there before as well."""
    there = [range(first, first + abs(submit.arrays[index].count)) for index, first, _ in accepted.known]
    return [range(accepted.first, accepted.first + accepted.job_count), *there]


def payload_of(array: Array) -> str:
    """What an array is compared by: the client's hash, or one of all that it says but its id and its key."""
    if array.payload:
        return array.payload
    plain = sorted(to_plain(replace(array, id="", idempotency_key="")).items())
    return hashlib.sha256(repr(plain).encode()).hexdigest()


def known_arrays(
    submit: Submit, specs: Mapping[str, Spec], journal: Known, fresh: Keys, own: range
) -> dict[int, KeyedArray]:
    """Those arrays of a request whose key some job has, by their index.

    `specs` are by hash, `fresh` the keys of this tick's jobs; `own` are the jobs that this request got when it was
    accepted before: those are none.

    Raises:
        Refused: a key stands twice in the request, or for something else.

    """
    found: dict[int, KeyedArray] = {}
    said: set[tuple[str, str]] = set()
    for index, array in enumerate(submit.arrays):
        key = array.idempotency_key
        if not key:
            continue
        place = (specs[array.spec].namespace, key)
        _check(array, place, said)
        said.add(place)
        owner = fresh.get(place) or _kept(journal, place)
        if owner is None or owner.first in own:
            continue
        if owner.payload != payload_of(array):
            raise Refused(
                f"idempotency_key {key!r}: job {owner.id} has it in namespace {place[0]!r}, and was submitted as "
                "something else; expected the same function or command, arguments and options: submit that again, "
                f"or choose another key (`kos get {owner.id}` shows that job)"
            )
        found[index] = owner
    return found


def _kept(journal: Known, place: tuple[str, str]) -> KeyedArray | None:
    found = journal.keyed(*place)
    return KeyedArray(*found) if found else None


def _check(array: Array, place: tuple[str, str], said: set[tuple[str, str]]) -> None:
    if len(array.idempotency_key) > KEY_MAX:
        raise Refused(f"idempotency_key: expected at most {KEY_MAX} characters, found {len(array.idempotency_key)}")
    if place in said:
        raise Refused(
            f"idempotency_key: expected every key once in a submission, found {array.idempotency_key!r} twice"
        )
    if array.gang is not None and array.gang.bundle:
        raise Refused(f"idempotency_key: expected none in a bundle, whose jobs are one, found {place[1]!r}")
