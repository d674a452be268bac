"""Plans and counterfactuals beside the scheduler: from the journal alone, with what admits and decides live."""

import platform
from collections.abc import Iterable, Mapping, Sequence

from kos_ray.engine.admission import Admission
from kos_ray.journal.reader import JournalReader
from kos_ray.model.errors import Refused
from kos_ray.model.ids import JobKey, item_id, split_item_id
from kos_ray.model.plan import Plan
from kos_ray.model.protocol import Array, Submit
from kos_ray.model.views import JobView, Suggestion, Suggestions
from kos_ray.rehearsal.plan import plan_jobs
from kos_ray.runtime.fold import Folded
from kos_ray.scheduler.snapshot import state_from_plain
from kos_ray.scheduler.what_if import what_if


def make_plan(folded: Folded, journal: JournalReader, submit: Submit, now_us: int, *, spread: int) -> Plan:
    """What would become of a request that is admitted now; nothing of it is kept.

    Raises:
        Refused: it would not be accepted; the message says why.

    """
    state = state_from_plain(folded.plain)
    admission = Admission(
        state=state,
        journal=journal,
        python=".".join(platform.python_version_tuple()[:2]),
        next_key=state.next_key,
        spec_keys={},
    )
    accepted, event = admission.admit(submit)
    if event is None and accepted.known:
        there = ", ".join(public_id for _, _, public_id in accepted.known)
        raise Refused(f"there is nothing to plan: the jobs of these idempotency keys are there already: {there}")
    if event is None:
        raise Refused(f"a plan needs a request with all its specs; found none of {', '.join(accepted.unknown_specs)}")

    def names_of(keys: Iterable[JobKey]) -> Mapping[JobKey, str]:
        return {view.key: _called(view) for view in journal.views(keys)}

    running = [key for key, job in state.jobs.items() if job.node is not None]
    entered = {(view.key, view.attempt): view.entered_us for view in journal.views(running) if view.entered_us}
    known = {index for index, _, _ in accepted.known}
    new = [array for index, array in enumerate(submit.arrays) if index not in known]
    labels = _labels(new, event.first)
    jobs = plan_jobs(folded.plain, event, now_us, labels, names_of, entered=entered, spread=spread)
    return Plan(now_us=now_us, seq=folded.seq, jobs=jobs)


def suggestions(folded: Folded, key: JobKey, now_us: int) -> Suggestions:
    """The smallest changes that would start a waiting job; see `what_if`."""
    found = what_if(folded.plain, key, now_us)
    return Suggestions(found=tuple(Suggestion(kind=one.kind, text=one.text, ends=one.ends) for one in found))


def _called(view: JobView) -> str:
    """A job by its name, with the index of an item, or by its id."""
    _, index = split_item_id(view.id)
    return item_id(view.name, index) if view.name else view.id


def _labels(arrays: Sequence[Array], first: JobKey) -> dict[JobKey, str]:
    """What the new jobs are called: by their names, or by their place in the request."""
    found: dict[JobKey, str] = {}
    for number, array in enumerate(arrays, start=1):
        name = array.name or f"job {number}"
        for index in range(abs(array.count)):
            found[JobKey(first + len(found))] = item_id(name, None if array.count < 0 else index)
    return found
