"""Any workload by its file's name, and policies as `kos scheduler` takes them."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.policy import Discipline, Policy, changed
from kos_ray.rehearsal.journal import is_journal, read_jobs, read_last_policy
from kos_ray.rehearsal.recorded import read_gangs, read_workflow
from kos_ray.rehearsal.swf import read_swf
from kos_ray.rehearsal.synthetic import read_synthetic
from kos_ray.rehearsal.workload import VirtualJob
from kos_ray.spec.policies import parse_words
from kos_ray.spec.settings import load_settings

#: the policy with all settings as they were built in
BUILT_IN = "default"


def read_workload(
    path: str,
    *,
    seed: int = 0,
    arrival_scale: float = 1.0,
    declared: bool = True,
    remark: Callable[[str], None] = lambda _: None,
) -> tuple[VirtualJob, ...]:
    """The jobs of a file, as they arrive, by the end of its name; or of a cluster's journal.

    `arrival_scale` multiplies the instants of arrival; without `declared`, no run times are declared. `remark` is told
    what is left out.

    Raises:
        InvalidSpec: nobody reads such files, or the place where one is wrong.

    """
    jobs = _read(path, seed, remark)
    if arrival_scale != 1.0:
        jobs = tuple(replace(job, at_us=round(job.at_us * arrival_scale)) for job in jobs)
    if not declared:
        jobs = tuple(replace(job, spec=replace(job.spec, run_ms=0)) for job in jobs)
    return jobs


def seeded(path: str) -> bool:
    """Whether a seed makes a difference to a workload."""
    return Path(path).suffix in (".yaml", ".yml")


def _read(path: str, seed: int, remark: Callable[[str], None]) -> tuple[VirtualJob, ...]:
    if is_journal(path):
        found = read_jobs(Path(path))
        if found.never_ran or found.not_ended:
            remark(f"{path}: left out are {found.never_ran} jobs that never ran, and {found.not_ended} not over yet")
        return found.jobs
    if seeded(path):
        return read_synthetic(path, seed)
    name = Path(path).name.removesuffix(".gz")
    if name.endswith(".swf"):
        return read_swf(Path(path))
    if name.endswith(".csv"):
        return read_gangs(Path(path))
    if path.endswith(".json"):
        return read_workflow(Path(path))
    raise InvalidSpec(
        f"{path}: expected a workload: .yaml (synthetic), .json (WfFormat), .swf or .csv (also .swf.gz, .csv.gz), or "
        "the directory of a journal; found another name"
    )


def read_policy(text: str) -> tuple[Policy, Sequence[str]]:
    """A policy, and the keys of its file that nothing acts on: a settings file, words, `default`, or a journal.

    Raises:
        InvalidSpec: it is none of them, or asks for what no rehearsal has.

    """
    policy, not_yet = _policy(text)
    disciplines = [policy.discipline, *(one.discipline for one in policy.namespaces)]
    if Discipline.PLUGIN in disciplines:
        raise InvalidSpec(
            f"--policy: {text}: expected a built-in scheduler_mode, found a plug-in's: no plug-in runs in a rehearsal"
        )
    return policy, not_yet


def _policy(text: str) -> tuple[Policy, Sequence[str]]:
    if text == BUILT_IN:
        return Policy(), ()
    if is_journal(text):
        return read_last_policy(Path(text)), ()
    if Path(text).suffix in (".yaml", ".yml", ".json"):
        settings = load_settings(text)
        return changed(Policy(), settings.scheduling), settings.not_yet
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidSpec(f"--policy: {text!r}: {error}") from None
    return changed(Policy(), parse_words(words)), ()
