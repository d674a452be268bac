"""`kos nodes` and `kos top`: what the cluster does now."""

from typing import TYPE_CHECKING, Annotated

import typer

from kos_ray.cli.live import refresh
from kos_ray.cli.output import Part, emit, now_us, on_terminal, show_panel, show_table, width
from kos_ray.cli.shell import Address, Json, Namespace, example, open_client
from kos_ray.model.views import JobView
from kos_ray.observe.gpus import gpu_table
from kos_ray.observe.load import HOLDING_STATES, load_table, summary
from kos_ray.observe.measured import with_loads
from kos_ray.observe.tables import Table, job_table

if TYPE_CHECKING:
    from kos_ray.client import Client

NODES_EXAMPLE = example("kos nodes", "kos nodes --json | jq '.[].resources'")
TOP_EXAMPLE = example("kos top", "kos top --once")
#: running jobs that are looked at
_RUNNING = 10_000
_SHOWN = 20


def nodes(address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Show every node that ever joined: state, resources, what running jobs hold of them, and what is used.

    What is used is what each node measured with its last heartbeat: shares of its CPUs, memory, network, disk and
    battery; with --json in thousandths (of a battery what is gone), and bytes a second. Where NVML sees GPUs, each has
    a line: computing, memory, temperature, power, and its processes.
    """
    with open_client(address, namespace) as client:
        found, running = with_loads(client.nodes(), client.node_standings()), _running(client)
    if as_json:
        emit(found)
        return
    show_table(load_table(found, running))
    if (gpus := gpu_table(found)) is not None:
        typer.echo()
        show_table(gpus)


def top(
    once: Annotated[bool, typer.Option("--once", help="One picture; so it is in a pipe, too.")] = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Watch the cluster work: jobs by state, load of the nodes, what runs and what comes next. ctrl-C ends it."""
    with open_client(address, namespace) as client:
        if as_json:
            status = client.status()
            gpus = {one.name or one.id: one.gpus for one in client.node_standings() if one.gpus}
            emit({"status": status, "running": _running(client), "ready": _next(client), "gpus": gpus})
        elif once or not on_terminal():
            for part in _picture(client):
                _show(part)
        else:
            refresh(lambda: _picture(client))


def _running(client: "Client") -> list[JobView]:
    return [view for state in HOLDING_STATES for view in client.jobs(state=state, limit=_RUNNING)]


def _next(client: "Client") -> list[JobView]:
    return client.jobs(state="ready", limit=_SHOWN)


def _picture(client: "Client") -> list[Part]:
    status, running, now = client.status(), _running(client), now_us()
    longest = sorted(running, key=lambda view: view.entered_us)[:_SHOWN]
    alive = with_loads([node for node in status.nodes if node.alive], client.node_standings())
    waiting = _next(client)[: _SHOWN - min(len(longest), _SHOWN // 2)]
    return [
        summary(status),
        load_table(alive, running),
        *([gpus] if (gpus := gpu_table(alive)) else []),
        job_table([*longest, *waiting], now, width()),
    ]


def _show(part: Part) -> None:
    if isinstance(part, Table):
        show_table(part)
    else:
        show_panel(part)
    typer.echo()
