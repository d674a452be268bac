"""A plan: what would become of a submission, looked up without doing it; and when it still stands."""

from dataclasses import dataclass
from hashlib import sha256

from kos_ray.model.policy import Amounts

#: characters of a plan's hash
_HASH_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """One job's part. Instants are microseconds since the Unix epoch, 0 where nobody knows."""

    #: its name, or its type, with the index of an item
    job: str
    namespace: str
    #: where it would start, by name and id; "" where it would not, as far as was looked
    node: str = ""
    node_id: str = ""
    #: what holds it at first, "none" where it starts at once, and what would help
    reason: str = ""
    remedy: str = ""
    #: its start: what is expected, the earliest and the latest
    start_us: int = 0
    earliest_us: int = 0
    latest_us: int = 0
    #: its end: what is expected, the earliest and the latest
    end_us: int = 0
    earliest_end_us: int = 0
    latest_end_us: int = 0
    #: jobs that would be asked to make room for it, by name or id
    preempts: tuple[str, ...] = ()
    #: what the settings would let its namespace use on top, when it has started: amounts of what they bound
    quota_left: Amounts = ()
    deadline_us: int = 0
    #: meets, at_risk, missed, unknown; "" without a deadline
    deadline: str = ""

    @property
    def sure(self) -> str:
        """How sure the start is: exact, likely (between the earliest and the latest), unknown."""
        if not self.latest_us:
            return "unknown"
        return "exact" if self.earliest_us == self.latest_us else "likely"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would become of each job of a submission, in its order, made at an instant on a journal up to `seq`."""

    now_us: int
    seq: int
    jobs: tuple[PlannedJob, ...]

    @property
    def hash(self) -> str:
        """The same for plans that come to the same: as long as that does, a plan stands.

        Instants are left out, since time goes on: what counts is where each job starts, whether at once, in which
        order, who makes room for it, what quota is left, and whether it ends in time.
        """
        return sha256(repr([said for _, said in _said(self)]).encode()).hexdigest()[:_HASH_LENGTH]

    def changes(self, other: "Plan") -> list[str]:
        """What another plan of the same jobs says otherwise, a line for each."""
        return [
            f"{job}: {what}: {_shown(was)} before, {_shown(now)} now"
            for (job, before), (_, after) in zip(_said(self), _said(other), strict=True)
            for what, was, now in ((what, before[what], after[what]) for what in before)
            if was != now
        ]


def _said(plan: Plan) -> list[tuple[str, dict[str, object]]]:
    """What a plan says of each job, but for instants."""
    order = sorted({job.start_us for job in plan.jobs if job.start_us})
    return [
        (
            job.job,
            {
                "node": job.node_id,
                "starts at once": job.start_us == plan.now_us,
                "place among the starts": order.index(job.start_us) + 1 if job.start_us else 0,
                "preempts": job.preempts,
                "quota left": job.quota_left,
                "ends in time": bool(job.end_us) and job.end_us <= job.deadline_us if job.deadline_us else None,
            },
        )
        for job in plan.jobs
    ]


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(item if isinstance(item, str) else f"{item[0]} {item[1] / 10_000:g}" for item in value) or "-"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value) or "-"
