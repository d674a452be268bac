"""Any workload by its file's name, and policies as `kos scheduler` takes them."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from kos_ray.model.errors import InvalidSpec, Refused
from kos_ray.model.policy import Policy, changed
from kos_ray.plugins.load import load
from kos_ray.rehearsal.journal import is_journal, read_jobs, read_last_policy
from kos_ray.rehearsal.openb import is_openb, read_pods
from kos_ray.rehearsal.psplib import read_project
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
        return read_pods(Path(path)) if is_openb(Path(path)) else read_gangs(Path(path))
    file, _, project = path.partition("#")
    if file.removesuffix(".gz").endswith(".jsonl"):
        return read_project(file, project).jobs
    if path.endswith(".json"):
        return read_workflow(Path(path))
    raise InvalidSpec(
        f"{path}: expected a workload: .yaml (synthetic), .json (WfFormat), .jsonl#PROJECT (PSPLIB), .swf or .csv "
        "(also .jsonl.gz, .swf.gz, .csv.gz), or the directory of a journal; found another name"
    )


def read_policy(text: str) -> tuple[Policy, Sequence[str]]:
    """A policy, and the keys of its file that nothing acts on: a settings file, words, `default`, or a journal.

    Raises:
        InvalidSpec: it is none of them, or names a plug-in that cannot be loaded.

    """
    policy, not_yet = _policy(text)
    for plugin in {policy.plugin, *(one.plugin for one in policy.namespaces)} - {""}:
        try:
            load(plugin)
        except Refused as refused:
            raise InvalidSpec(f"--policy: {text}: {refused}") from None
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
