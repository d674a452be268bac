"""What plug-ins said of the order: ranks by job, kept beside the jobs, and who has none yet.

The engine asks plug-ins and makes events of their answers (`RanksAdvised`, `PluginDisabled`). A job of which its
plug-in has said nothing has no turn yet. That is bounded: a plug-in that does not answer is disabled.
"""

from kos_ray.model.ids import JobKey
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.state import State

#: the plug-in had nothing to say of the job: it stands behind those that have a rank, as they came
UNRANKED = 1 << 60
#: the plug-in was not asked, or has not answered: the job has no turn yet
UNADVISED = 1 << 61


def rank_by_advice(state: State, job: Job) -> int:
    """Where a job's plug-in puts it."""
    return state.advice.get(job.job_class.plugin, {}).get(job.key, UNADVISED)


def note_unadvised(state: State, job: Job) -> None:
    """A job waits in a class that a plug-in ranks: have it asked, unless it has said."""
    plugin = job.job_class.plugin
    if job.key not in state.advice.get(plugin, ()):
        state.unadvised.setdefault(plugin, {})[job.key] = None


def awaits_advice(state: State, job: Job) -> bool:
    """Whether a READY job has no turn because its plug-in has not said where it stands."""
    return bool(job.job_class.plugin) and rank_by_advice(state, job) == UNADVISED


def keep_advice(state: State, plugin: str, key: JobKey, rank: int) -> bool:
    """Take in what a plug-in says of a job; False where it has no say, or has said."""
    job = state.jobs.get(key)
    if job is None or job.job_class.plugin != plugin or key in state.advice.get(plugin, ()):
        return False
    state.advice.setdefault(plugin, {})[key] = min(max(-UNRANKED, rank), UNRANKED)
    state.unadvised.get(plugin, {}).pop(key, None)
    return True


def forget_advice(state: State, key: JobKey) -> None:
    """A job is over."""
    for ranks in state.advice.values():
        ranks.pop(key, None)
    for waiting in state.unadvised.values():
        waiting.pop(key, None)


def keep_only(state: State, plugins: set[str]) -> None:
    """Other plug-ins have no say any more; who waits for those that have is found out anew."""
    state.advice = {plugin: found for plugin, found in state.advice.items() if plugin in plugins}
    state.unadvised.clear()


def plugins_in_force(state: State) -> set[str]:
    """The plug-ins that the policy names, but for those that are disabled."""
    named = {state.policy.plugin, *(one.plugin for one in state.policy.namespaces)}
    return named - state.plugins_off.keys() - {""}
