"""`kaictl`: the same commands under dotted names, as `agent.task.add`; each is one call of what `kos` has."""

import sys
from typing import Annotated

import typer

from kos_ray.cli import act, jobs, listing
from kos_ray.cli.graph import Format
from kos_ray.cli.graph import graph as draw
from kos_ray.cli.shell import Address, Json, Namespace, example, new_app, run_guarded

app = new_app("kaictl: the tasks of agents, as jobs of kos_ray. Everything else is in kos.")

Id = Annotated[str, typer.Option("--id", help="The task's id or name.")]


@app.callback()
def _group() -> None:
    """The tasks of agents, as jobs of kos_ray. Everything else is in kos."""


@app.command("agent.task.add", epilog=example("kaictl agent.task.add --file ./reminder.json"))
def add(
    file: Annotated[str, typer.Option("--file", metavar="FILE|-", help="A YAML or JSON document.")],
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Submit a task, a list of tasks or a workflow, as `kos submit` does."""
    jobs.submit(file, address=address, namespace=namespace, as_json=as_json)


@app.command("agent.task.list", epilog=example("kaictl agent.task.list --state running"))
def list_tasks(
    state: Annotated[str | None, typer.Option("--state", help="Only tasks in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="As many at most, newest first.")] = 50,
    address: Address = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", envvar="KOS_NAMESPACE", help="Only this namespace.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List tasks, the newest first, as `kos ls` does."""
    listing.list_jobs(address=address, state=state, namespace=namespace, limit=limit, as_json=as_json)


@app.command("agent.task.pause", epilog=example("kaictl agent.task.pause --id task-f3e1"))
def pause(id_: Id, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Pause a task, as `kos pause` does."""
    act.pause([id_], address=address, namespace=namespace, as_json=as_json)


@app.command("agent.task.resume", epilog=example("kaictl agent.task.resume --id task-f3e1"))
def resume(id_: Id, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Let a paused task start again, as `kos resume` does."""
    act.resume([id_], address=address, namespace=namespace, as_json=as_json)


@app.command("agent.task.graph", epilog=example("kaictl agent.task.graph --format mermaid"))
def graph(
    id_: Annotated[str | None, typer.Option("--id", help="A workflow, or a task; without it all that is live.")] = None,
    form: Format = "mermaid",
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Draw tasks and what they depend on, as `kos graph` does."""
    draw(id_, live=id_ is None, form=form, address=address, namespace=namespace, as_json=as_json)


def run() -> None:
    """The entry point of `kaictl`."""
    sys.exit(run_guarded(lambda: app(prog_name="kaictl")))
