"""Whom the rules of new specs name (`where.near`, `apart`, `data`): jobs that are there already, by name."""

from collections.abc import Iterable

from kos_ray.engine.ports import Known
from kos_ray.model.ids import JobKey
from kos_ray.model.job import Spec
from kos_ray.scheduler.state import State

_JOB = "job:"
#: items of one named array that are looked at
_ITEMS_MAX = 10_000


def named_jobs(
    state: State, journal: Known, specs: Iterable[Spec]
) -> tuple[tuple[tuple[str, str, int, int], ...], tuple[tuple[str, str, str], ...]]:
    """Live jobs, and nodes where those ran that are over; for the form see `JobsSubmitted`.

    A name that nobody has yet is nobody's mistake: whoever is submitted under it later is known by it.
    """
    known: dict[tuple[str, str, int, int], None] = {}
    ran_on: dict[tuple[str, str, str], None] = {}
    for spec in specs:
        for word in (word for rule in spec.where.jobs for word in rule.words if word.startswith(_JOB)):
            name = word.removeprefix(_JOB)
            found = journal.resolve(spec.namespace, name)
            if found is None:
                continue
            keys = [JobKey(key) for key in range(found[0], found[0] + min(abs(found[1]), _ITEMS_MAX))]
            known[spec.namespace, name, found[0], len(keys)] = None
            over = [key for key in keys if key not in state.jobs]
            ran_on.update(dict.fromkeys((spec.namespace, name, node) for node in journal.last_nodes(over)))
    return tuple(known), tuple(sorted(ran_on))
