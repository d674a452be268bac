"""`kaictl`: the same commands under dotted names, as `agent.task.add`; each is one call of what `kos` has.

With `--agent NAME` they are about that agent's own queue, timers and state.
"""

import sys
from typing import Annotated

import typer

from kos_ray.cli import act, agents, jobs, listing
from kos_ray.cli.graph import Format
from kos_ray.cli.graph import graph as draw
from kos_ray.cli.output import emit, now_us, say, show_table, width
from kos_ray.cli.schedules import schedules_table
from kos_ray.cli.shell import Address, Exit, Json, Namespace, example, fail, new_app, open_client, run_guarded
from kos_ray.observe.tables import job_table

app = new_app("kaictl: the tasks of agents, as jobs of kos_ray. Everything else is in kos.")

Id = Annotated[str, typer.Option("--id", help="The task's id or name.")]
OrId = Annotated[str | None, typer.Option("--id", help="The task's id or name.")]
OfAgent = Annotated[str, typer.Option("--agent", metavar="NAME", help="The agent.")]
OrAgent = Annotated[str, typer.Option("--agent", metavar="NAME", help="Of this agent: the messages to it.")]
#: tasks of one agent that one command touches
_TOUCHED_MAX = 10_000


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


@app.command(
    "agent.task.list", epilog=example("kaictl agent.task.list --state running", "kaictl agent.task.list --agent writer")
)
def list_tasks(
    state: Annotated[str | None, typer.Option("--state", help="Only tasks in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="As many at most, newest first.")] = 50,
    agent: OrAgent = "",
    address: Address = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", envvar="KOS_NAMESPACE", help="Only this namespace.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List tasks, the newest first, as `kos ls` does.

    With --agent its queue, in the order in which it is handled: what it has, then what waits, by band.
    """
    if agent:
        if state:
            raise fail("expected either --agent, whose queue has no other states, or --state", Exit.USAGE)
        _list_queue(agent, limit, address, namespace or "default", as_json)
        return
    listing.list_jobs(address=address, state=state, namespace=namespace, limit=limit, as_json=as_json)


def _list_queue(agent: str, limit: int, address: str | None, namespace: str, as_json: bool) -> None:
    with open_client(address, namespace) as client:
        queue = client.agent_queue(agent, most=limit)
        views = client.views_of([*queue["handling"], *queue["waiting"]])
    if as_json:
        emit({"queue": queue, "jobs": views})
        return
    show_table(job_table(views, now_us(), width()))
    bands = ", ".join(f"{count} {name}" for name, count in queue["bands"].items())
    say(f"{agent}: {len(queue['handling'])} handled, {bands or 'none'} waiting, {queue['later']} for something else")


def _touch(verb: str, told: str, *, held: bool) -> None:
    """Add a command for one task, or for those of an agent that wait or are paused (`held`)."""

    def command(
        id_: OrId = None,
        agent: OrAgent = "",
        address: Address = None,
        namespace: Namespace = "default",
        as_json: Json = False,
    ) -> None:
        ids = _meant(id_, agent, address, namespace, held=held)
        getattr(act, verb)(ids, yes=True, address=address, namespace=namespace, as_json=as_json)

    name = f"agent.task.{verb}"
    shown = example(f"kaictl {name} --id task-f3e1", f"kaictl {name} --agent writer")
    app.command(name, help=told, epilog=shown)(command)


_touch(
    "pause",
    "Pause a task, as `kos pause` does; or all that wait for an agent, which goes on with what it has.",
    held=False,
)
_touch(
    "resume",
    "Let a paused task start again, as `kos resume` does; or all of an agent's that were paused.",
    held=True,
)


def _meant(id_: str | None, agent: str, address: str | None, namespace: str, *, held: bool) -> list[str]:
    """The tasks that are meant: one, or those of an agent that wait or are paused."""
    if bool(id_) == bool(agent):
        raise fail("expected either --id or --agent", Exit.USAGE)
    if id_:
        return [id_]
    with open_client(address, namespace) as client:
        queue = client.agent_queue(agent, most=_TOUCHED_MAX)
        if held:
            views = client.jobs(state="held", namespace=namespace, limit=_TOUCHED_MAX)
        else:
            views = client.views_of(queue["waiting"])
        # what is for a role may go to somebody else
        found = [view.id for view in views if view.receiver == agent]
    if not found:
        raise fail(f"agent {agent} has no tasks that {'are paused' if held else 'wait'}", Exit.NEGATIVE)
    return found


@app.command("agent.timer.list", epilog=example("kaictl agent.timer.list --agent reminder"))
def list_timers(
    agent: OfAgent, address: Address = None, namespace: Namespace = "default", as_json: Json = False
) -> None:
    """List the schedules that send an agent messages, as `kos schedule ls` does."""
    with open_client(address, namespace) as client:
        found = client.agent_timers(agent)
    if as_json:
        emit({"schedules": found})
    elif found:
        show_table(schedules_table(found))
    else:
        say(f"nothing is scheduled for agent {agent}")


@app.command("agent.state", epilog=example("kaictl agent.state --agent reminder"))
def show_state(
    agent: OfAgent, address: Address = None, namespace: Namespace = "default", as_json: Json = False
) -> None:
    """Show everything about an agent, as `kos agent get` does."""
    agents.get_agent(agent, address=address, namespace=namespace, as_json=as_json)


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
