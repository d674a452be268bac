"""What comes with another scheduler, another policy, or from plug-ins: those that wait are ordered anew."""

from dataclasses import replace

from kos_ray.model import events as e
from kos_ray.model.ids import SpecKey
from kos_ray.model.job import JobState
from kos_ray.model.policy import Policy
from kos_ray.scheduler.advice import keep_advice, keep_only, plugins_in_force
from kos_ray.scheduler.fit import reconsider
from kos_ray.scheduler.hearing import begin_anew
from kos_ray.scheduler.jobs import LATER, OVERDUE, ClassKey, Job, JobClass
from kos_ray.scheduler.models import note_deadline, under_model
from kos_ray.scheduler.queues import class_named, order_of, queue_anew, rebuild, start_waiting, withdraw
from kos_ray.scheduler.quota import Tree
from kos_ray.scheduler.retry import lease_over_us, longest_lease_us
from kos_ray.scheduler.state import State


def scheduler_started(state: State, event: e.SchedulerStarted, now_us: int) -> None:
    """Another scheduler has begun."""
    state.epoch = event.epoch
    # whoever folds these frames from a snapshot had nothing derived either
    state.rooms.reset()
    _use(state, event.policy, now_us)
    begin_anew(state, now_us)


def journal_resumed(state: State, _event: e.JournalResumed, now_us: int) -> None:
    """The journal writes again."""
    # the state was folded anew before it: whoever decides these frames again is to have nothing derived either
    state.rooms.reset()
    begin_anew(state, now_us)


def policy_changed(state: State, event: e.PolicyChanged, now_us: int) -> None:
    """Somebody has set something, or lets plug-ins try again."""
    again = [plugin for plugin in event.afresh if state.plugins_off.pop(plugin, None) is not None]
    if not _use(state, event.policy, now_us) and again:
        _order_anew(state, now_us)


def _use(state: State, policy: Policy, now_us: int) -> bool:
    """Go on under this policy; where it is another one, those that wait are ordered anew."""
    before, state.policy = state.policy, policy
    if before == policy:
        return False
    if policy.lease_us < before.lease_us and state.nodes:
        longest_us = longest_lease_us(before.lease_us, state.longer_lease, now_us)
        state.longer_lease = (longest_us, now_us + lease_over_us(longest_us))
    state.tree = Tree(policy.namespaces, state.capacity)
    reconsider(state)
    state.steps.clear()
    state.shares_now.clear()
    state.rooms.reset()
    state.learnt.version += 1
    # room that was made under other settings may be of no use under these
    for key in list(state.nominated):
        withdraw(state, key)
    _order_anew(state, now_us)
    return True


def _order_anew(state: State, now_us: int) -> None:
    """Put all jobs into the classes in which they stand under the present policy."""
    for job_class in state.classes.values():
        job_class.ready.clear()
    keep_only(state, plugins_in_force(state))
    state.classes = {}
    moved: dict[tuple[ClassKey, SpecKey], JobClass] = {}
    for job in state.jobs.values():
        place = (job.job_class.name, job.spec)
        if place not in moved:
            moved[place] = _same_under(state, job, now_us)
    rebuild(state, [(job, moved[job.job_class.name, job.spec]) for job in state.jobs.values()])
    for job in state.jobs.values():
        if job.job_class.order == LATER:
            note_deadline(state, job.entry.spec, (job.key,), later=True)
    start_waiting(state, (job for job in state.jobs.values() if job.state is JobState.READY), now_us)


def _same_under(state: State, job: Job, now_us: int) -> JobClass:
    """The class in which a job stands under the present policy."""
    name = job.job_class.name
    if name.order == OVERDUE:
        return class_named(state, name)
    name = order_of(state.discipline(name.kind.namespace), replace(name, tier=0))
    return class_named(state, under_model(state, name, job.entry.spec, now_us))


def ranks_advised(state: State, event: e.RanksAdvised, _now_us: int) -> None:
    """A plug-in has said who goes first."""
    for key, rank in zip(event.keys, event.ranks, strict=True):
        if keep_advice(state, event.plugin, key, rank):
            queue_anew(state, state.jobs[key])


def plugin_disabled(state: State, event: e.PluginDisabled, now_us: int) -> None:
    """A plug-in is not asked any more."""
    state.plugins_off[event.plugin] = event.why
    _order_anew(state, now_us)
