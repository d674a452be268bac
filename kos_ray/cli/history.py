"""`kos history`: one job's whole story, from the journal."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the command: `kos --help` answers at once

from typing import Annotated

import typer

from kos_ray.cli.output import emit, now_us, show_panel, show_table
from kos_ray.cli.shell import JobRef, Json, State, example
from kos_ray.observe.history import story_table
from kos_ray.observe.tables import job_panel

EXAMPLE = example("kos history averages/mean", "kos history train-3 --json | jq '.story[] | select(.attempt == 2)'")


def history(
    job: JobRef,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", envvar="KOS_NAMESPACE", help="Where the name is looked up.")
    ] = "default",
    state: State = None,
    as_json: Json = False,
) -> None:
    """Tell a job's story: who submitted it, each attempt, what it waited for, who took its room, how it ended.

    It is read from the journal on this machine, whether the cluster runs or not.
    """
    from kos_ray.runtime import audit, connect

    found = audit.history(state or connect.here()[0], namespace, job)
    if as_json:
        emit(found)
        return
    show_panel(job_panel(found.job, now_us()))
    typer.echo()
    show_table(story_table(found.story))
