"""The auditor's last words, when everything is quiet: every promise, job by job."""

from kos_ray.journal.store import Journal
from kos_ray.model.dependency import Rule
from kos_ray.model.gang import OnFailure
from kos_ray.model.ids import JobKey
from kos_ray.model.job import After, AttemptEnd, Guarantee, JobState
from kos_ray.model.reasons import Reason
from kos_ray.sim.auditor import Auditor, Outcome, Story
from kos_ray.sim.memory import at_limit
from kos_ray.sim.rules import Parent, dependencies, readings
from kos_ray.sim.workload import ArrayPlan, Plan
from kos_ray.sim.world import Violation


def judge(auditor: Auditor) -> None:
    """Check every job that was acknowledged.

    Raises:
        Violation: a promise was broken.

    """
    for story in auditor.stories.values():
        if story.key is None:
            continue
        auditor.expect(story.outcome is not None, "an acknowledged job has no outcome", story.plan.id)
        assert story.outcome is not None
        _judge_parents(auditor, story, story.outcome)
        _judge_inputs(auditor, story)
        _judge_retries(auditor, story, story.outcome)


def tell(auditor: Auditor, journal: Journal) -> None:
    """Have the auditor know keys and outcomes of all that no client asked for, as if a client had been told.

    Raises:
        Violation: nobody at all has asked for one of them.

    """
    rows = journal.connection.execute("SELECT key FROM jobs ORDER BY key").fetchall()
    strange = [JobKey(key) for (key,) in rows if key not in auditor.by_key]
    ids = journal.public_ids(strange)
    for key in strange:
        story = auditor.story(ids[key], key)
        if story is None:
            raise Violation(f"a job that nobody asked for: {ids[key]}")
        auditor.accepted([story.plan], [key])
    found = journal.outcomes(strange)
    errors = {index: message for index, _, message, _ in found.errors}
    for i, key in enumerate(found.keys):
        state, reason = JobState(found.states[i]), Reason(found.reasons[i])
        auditor.delivered(key, (state, reason, found.results[i], errors.get(i, "")))


def _judge_parents(auditor: Auditor, story: Story, outcome: Outcome) -> None:
    """A job runs only when its rule lets it after how its parents ended, and is skipped only when that does not."""
    rule = story.plan.array.rule
    parents: list[Parent] = []
    for parent, kind in dependencies(story.plan):
        other = auditor.stories[parent.id]
        assert other.outcome is not None
        parents.append((kind, other.outcome[0], other.outcome[1], bool(other.ordered)))
        if rule is Rule.ALL_MET and story.ordered and other.ordered:
            seen = min if kind is After.STARTED else max
            in_order = seen(other.ordered.values()) <= min(story.ordered.values())
            auditor.expect(in_order, "launched before its parent allowed it", (story.plan.id, parent.id, kind))
    # where one dependency is enough, its turn in the line is one, and comes for everybody
    in_turn = rule is Rule.ONE_MET and bool(story.plan.array.singleton)
    found = {Reason.NONE} if in_turn else readings(rule, parents)
    about = (story.plan.id, rule, parents, outcome)
    if story.ordered:
        auditor.expect(Reason.NONE in found, "launched though a parent ended otherwise", about)
    if outcome[0] is JobState.SKIPPED:
        auditor.expect(found != {Reason.NONE}, "skipped though its parents ended as asked", about)
    elif Reason.NONE not in found:
        auditor.expect(outcome[0] is JobState.CANCELLED, "a dependency was not met", about)


def _judge_inputs(auditor: Auditor, story: Story) -> None:
    """Every entry was handed what its parents' clients were told."""
    if not story.entries:
        return

    def told(plan: Plan) -> bytes:
        outcome = auditor.stories[plan.id].outcome
        return outcome[2] if outcome else b""

    expected = tuple(
        told(parent) if isinstance(parent, Plan) else _array_input(parent, told(parent.jobs[0]), parent, auditor)
        for parent in story.plan.array.inputs
    )
    for entry in story.entries:
        auditor.expect(entry.inputs == expected, "wrong inputs", (story.plan.id, entry.inputs, expected))


def _array_input(parent: ArrayPlan, first: bytes, whole: ArrayPlan, auditor: Auditor) -> bytes | tuple[bytes, ...]:
    """One bare payload for a single job, a tuple of them for an array."""
    if parent.count < 0:
        return first
    outcomes = [auditor.stories[plan.id].outcome for plan in whole.jobs]
    return tuple(outcome[2] if outcome else b"" for outcome in outcomes)


def _judge_retries(auditor: Auditor, story: Story, outcome: Outcome) -> None:
    """As many tries as were asked for: no more, and no fewer before it is given up."""
    state, reason, _, _ = outcome
    spec = story.plan.array.spec
    tries = 1 if spec.guarantee is Guarantee.AT_MOST_ONCE else spec.retries + 1
    certain = sum(_at_its_charge(auditor, story, *ended) for ended in story.charged.values())
    about = (story.plan.id, outcome, story.charged)
    if spec.carries is not None:
        return  # an agent is begun again as often as it dies
    auditor.expect(certain <= tries, "tried more often than asked for", about)
    if reason is Reason.ALL_DECLINED:
        ends = [entry.end for entry in story.entries]
        auditor.expect(AttemptEnd.DECLINED in ends, "all are said to have declined, and nobody has", about)
    own_fault = (Reason.USER_ERROR, Reason.TIMEOUT, Reason.CRASHED, Reason.UNPREPARED)
    # a failure that comes when the array was given up is the job's last; and some gangs try nothing again
    gang = story.plan.array.gang
    last = story.plan.array.max_failures or (gang is not None and gang.on_failure is not OnFailure.REPLACE)
    if state is JobState.FAILED and reason in own_fault and not last:
        auditor.expect(len(story.charged) >= tries, "given up too early", about)
    if state is JobState.FAILED and reason is Reason.OUT_OF_MEMORY and not last:
        auditor.expect(
            at_limit(story) or len(story.charged) >= tries, "given up with less memory than it may have", about
        )
    if state is JobState.SUCCEEDED:
        auditor.expect(bool(story.entries), "succeeded without being entered", about)


def _at_its_charge(auditor: Auditor, story: Story, machine: str, ended_us: int) -> bool:
    """Whether a failure counts for certain: it was heard of, and no end of another member was about to stop the job.

    Where too few members of a gang are left, all of them start again, and nothing is charged to those who fail then.
    """
    if machine in auditor.tainted:
        return False
    for other in auditor.gang_of(story):
        sent = [number for number, at_us in other.ordered.items() if at_us <= ended_us]
        if other is story or not sent:
            continue
        entry = next((entry for entry in other.entries if entry.number == max(sent)), None)
        if entry is None or entry.machine in auditor.tainted or entry.at_us > ended_us:
            return False
        if entry.end not in (None, AttemptEnd.SUCCEEDED) and entry.ended_us <= ended_us:
            return False
    return True
