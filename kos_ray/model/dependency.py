"""What a job waits for, beyond the kind of each dependency (`job.After`): the rule over all of them."""

from dataclasses import dataclass
from enum import IntEnum

from kos_ray.model.job import After, JobState
from kos_ray.model.reasons import Reason


class Rule(IntEnum):
    """Which of its dependencies a job needs. Stored in journals: never renumber.

    The first two count dependencies that are met, each by its kind: Slurm's `,` and `?`. The others are Airflow's
    trigger rules: they count how the parents ended, and kinds mean nothing to them, except that in
    `ALL_DONE_SETUP_SUCCESS` the parents of kind OK are the setups.
    """

    ALL_MET = 0
    ONE_MET = 1
    ALL_SUCCESS = 2
    ALL_FAILED = 3
    ALL_DONE = 4
    ALL_SKIPPED = 5
    ALL_DONE_MIN_ONE_SUCCESS = 6
    ALL_DONE_SETUP_SUCCESS = 7
    ONE_SUCCESS = 8
    ONE_FAILED = 9
    ONE_DONE = 10
    NONE_FAILED = 11
    NONE_FAILED_MIN_ONE_SUCCESS = 12
    NONE_SKIPPED = 13
    ALWAYS = 14

    @property
    def by_kind(self) -> bool:
        """Whether it asks whether each dependency is met, by its kind."""
        return self <= Rule.ONE_MET


class Ended(IntEnum):
    """How a parent ended, as rules count it. Stored in journals: never renumber."""

    SUCCEEDED = 0
    FAILED = 1  #: also lost, or cancelled after it had been sent to a node
    SKIPPED = 2  #: its own rule did not let it run
    UPSTREAM_FAILED = 3  #: a dependency of its own could never be met
    REMOVED = 4  #: cancelled before it was ever sent to a node: it is no part of the work any more


def ended_as(state: JobState, reason: int, attempt: int) -> Ended:
    """How rules count a job that is over; `attempt` says how often it was sent to a node."""
    if state is JobState.SUCCEEDED:
        return Ended.SUCCEEDED
    if state is JobState.SKIPPED:
        return Ended.SKIPPED if reason == Reason.SKIPPED_BY_RULE else Ended.UPSTREAM_FAILED
    if state is JobState.CANCELLED and not attempt:
        return Ended.REMOVED
    return Ended.FAILED


def plainly(state: JobState) -> Ended:
    """How rules count a job of which only the state is known."""
    return ended_as(state, Reason.NONE, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What is written of a job's dependencies: parents by name or id with the kind of each, a rule, a singleton's key.

    Of the jobs of one key, namespace and user, one at a time runs, in the order in which they came.
    """

    parents: tuple[tuple[str, After], ...] = ()
    rule: Rule = Rule.ALL_MET
    singleton: str = ""
    #: a singleton whose key is the job's type
    by_type: bool = False

    @property
    def given(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.parents or self.rule or self.singleton or self.by_type)


def kind_name(stored: int) -> str:
    """What people read on a dependency: its kind, with `?` where one of several is enough, or the rule that counts it.

    `stored` is the kind as the journal's rows have it; see `stored_kind`.
    """
    rule, kind = Rule(stored // _RULE), After(stored % _RULE)
    if not rule.by_kind:
        return rule.name.lower()
    return kind.name.lower() + ("?" if rule is Rule.ONE_MET else "")


def stored_kind(rule: int, kind: int) -> int:
    """Kind and rule in one number, which is the kind alone where all dependencies are needed."""
    return rule * _RULE + kind


def parted(stored: int) -> tuple[Rule, After]:
    """The inverse of `stored_kind`."""
    return Rule(stored // _RULE), After(stored % _RULE)


_RULE = 100
