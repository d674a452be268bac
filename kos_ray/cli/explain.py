"""`kos explain JOB`: why it waits, and what would wake it."""

from typing import Annotated

import typer

from kos_ray.cli.output import emit, now_us, plain, say, show_panel, show_table
from kos_ray.cli.shell import Address, JobRef, Json, Namespace, example, open_client
from kos_ray.observe.explained import agents_table, explained_panel, nodes_table, suggested_panel

EXAMPLE = example("kos explain train-3", "kos explain train-3 --json | jq .reason")


def explain(
    job: JobRef,
    address: Address = None,
    namespace: Namespace = "default",
    suggest: Annotated[bool, typer.Option("--suggest/--no-suggest", help="Whether to look for changes.")] = True,
    as_json: Json = False,
) -> None:
    """Say why a job waits: its reason, what each node lacks, who goes before it, and what would start it now.

    Of each kind of change the smallest that does is shown, the least intrusive first: each was tried by the scheduler
    itself, on a copy.
    """
    with open_client(address, namespace) as client:
        found = client.explain(job, suggest=suggest)
        view = client.get(job)
    if as_json:
        emit({"job": view.id, "state": view.state, **(plain(found) if found else {"reason": view.reason})})
        return
    if found is None:
        say(f"{view.name or view.id} has ended: {view.state}")
        return
    show_panel(explained_panel(found, view, now_us()))
    if found.suggestions:
        show_panel(suggested_panel(found))
    if found.passed:
        show_table(agents_table(found))
    elif found.nodes:
        show_table(nodes_table(found))
