"""The exceptions of kos_ray.

KosError
├── IllegalMove            a programmer's error: the story of the job is in the message
├── InvalidSpec            what a user wrote cannot be accepted (place, expected, found, remedy)
├── Refused                the scheduler does not take the request now or as it is
├── NotGranted             what was asked for is not to be had (`reason` says why)
│   ├── LockTimeout        somebody else had the lock all the time
│   ├── Deadlock           those who wait would wait for one another for ever
│   └── BrokenBarrier      a party was lost, or has waited too long
├── LeaseLost              what was held is not held any more: it was not heard of in time, or was taken away
├── PlanChanged            the plan that a submission rests on does not stand any more; nothing was stored
├── NeedsMissing           an agent's start found that something it needs is not there
├── NotFound               no job, node or blob of that name
├── JobFailed              the job ended, and not with success
│   ├── JobCancelled
│   ├── JobSkipped
│   └── JobLost
├── ClusterUnreachable     no scheduler answers
├── JournalTaken           another scheduler writes the journal now
└── JournalDamaged         the journal's content contradicts itself (place, expected, found)

Decline                    what an agent's method raises so that another agent handles the message
RetryAfter, NonRetryable   what the code of a job raises to say when, or that it is not, to be tried again
"""

#: the longest pause that a job may ask for, in seconds
RETRY_AFTER_MAX_S = 30 * 86_400


class KosError(Exception):
    """Everything that kos_ray raises on purpose."""


class RetryAfter(Exception):
    """Raised by a job's code: the next attempt is to start `seconds` from now, not when its backoff would have it.

    It counts as a failure against `retry`. Pickling keeps the arguments, so classes may derive from it.
    """

    def __init__(self, seconds: float, message: str = "") -> None:
        if not 0 <= seconds <= RETRY_AFTER_MAX_S:
            raise ValueError(f"expected from 0 to {RETRY_AFTER_MAX_S} seconds, found {seconds!r}")
        super().__init__(seconds, message)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.args[1] or 'not yet'}; to be tried again after {self.seconds:g} s"


class NonRetryable(Exception):
    """Raised by a job's code, or a base of what it raises: the job has failed, however many retries are left."""


class Decline(Exception):
    """Raised by an agent's method: another agent is to handle the message, and nothing is charged.

    `word` is "unavailable" (not now: it may be asked again, after `seconds` where that is said) or "underqualified"
    (never this message).
    """

    def __init__(self, word: str, note: str = "", seconds: float = 0) -> None:
        if word not in ("unavailable", "underqualified"):
            raise ValueError(f"expected unavailable or underqualified, found {word!r}")
        if not 0 <= seconds <= RETRY_AFTER_MAX_S:
            raise ValueError(f"expected from 0 to {RETRY_AFTER_MAX_S} seconds, found {seconds!r}")
        super().__init__(word, note, seconds)
        self.word = word
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.word}: {self.args[1]}" if self.args[1] else self.word


class NeedsMissing(KosError):
    """Something that an agent needs is not there: `lacks` names each, such as "setting TOKEN" or "file /data/words"."""

    def __init__(self, message: str, lacks: tuple[str, ...]) -> None:
        super().__init__(message)
        self.lacks = lacks


class IllegalMove(KosError):
    """A job was asked to make a move that the table forbids."""


class InvalidSpec(KosError):
    """What a user wrote cannot be accepted."""


class Refused(KosError):
    """The scheduler does not take the request now, or not as it is; nothing of it was stored."""


class NotGranted(KosError):
    """What was asked for is not to be had; `reason` is the reason's name."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class LockTimeout(NotGranted):
    """Somebody else had the lock for as long as it was waited for."""


class Deadlock(NotGranted):
    """Those who wait would wait for one another for ever; the message names them."""


class BrokenBarrier(NotGranted):
    """A party of a barrier was lost, or has waited too long; the message names it."""


class LeaseLost(KosError):
    """What was held under a lease is not held any more."""


class PlanChanged(KosError):
    """The plan that a submission rests on does not stand any more; nothing of the submission was stored."""


class NotFound(KosError):
    """There is no job, node or blob of that name."""


class JobFailed(KosError):
    """A job ended without success; `remote_traceback` is what its worker printed, "" where there was none."""

    def __init__(self, message: str, *, job_id: str = "", reason: str = "", remote_traceback: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id
        self.reason = reason
        self.remote_traceback = remote_traceback


class JobCancelled(JobFailed):
    """A job was cancelled."""


class JobSkipped(JobFailed):
    """A dependency of the job could never be met."""


class JobLost(JobFailed):
    """An at-most-once job's worker vanished; whether its code ran to the end is unknown."""


class ClusterUnreachable(KosError):
    """No scheduler answers at the address."""


class JournalUnwritable(KosError):
    """The journal cannot be written now (disk full, I/O error, read-only); nothing of the frame is left."""


class JournalTaken(KosError):
    """Another scheduler has gone on from this journal: whoever finds that out writes nothing any more, and ends."""


class JournalDamaged(KosError):
    """The journal's content contradicts itself."""
