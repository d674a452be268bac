"""Plans and counterfactuals beside the scheduler: from the journal alone, with what admits and decides live."""

import platform
from collections.abc import Iterable, Mapping

from kos_ray.engine.admission import Admission
from kos_ray.journal.reader import JournalReader
from kos_ray.model.errors import Refused
from kos_ray.model.ids import JobKey
from kos_ray.model.plan import Plan
from kos_ray.model.protocol import Submit
from kos_ray.rehearsal.plan import plan_jobs
from kos_ray.runtime.fold import Folded
from kos_ray.scheduler.snapshot import state_from_plain


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
        next_spec=journal.next_spec_key,
        spec_keys={},
    )
    accepted, event = admission.admit(submit)
    if event is None:
        raise Refused(f"a plan needs a request with all its specs; found none of {', '.join(accepted.unknown_specs)}")

    def names_of(keys: Iterable[JobKey]) -> Mapping[JobKey, str]:
        return {view.key: view.name or view.id for view in journal.views(keys)}

    jobs = plan_jobs(folded.plain, event, now_us, _labels(submit, event.first), names_of, spread=spread)
    return Plan(now_us=now_us, seq=folded.seq, jobs=jobs)


def _labels(submit: Submit, first: JobKey) -> dict[JobKey, str]:
    """What the new jobs are called: by their names, or by their place in the request."""
    found: dict[JobKey, str] = {}
    for number, array in enumerate(submit.arrays, start=1):
        name = array.name or f"job {number}"
        for index in range(abs(array.count)):
            found[JobKey(first + len(found))] = name if array.count < 0 else f"{name}.{index}"
    return found
