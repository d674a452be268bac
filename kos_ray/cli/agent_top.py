"""`kos agent top`: the agents at work."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kos_ray.cli.live import refresh
from kos_ray.cli.output import emit, now_us, on_terminal, say, show_table
from kos_ray.cli.shell import Address, Json, open_client
from kos_ray.observe.agents import Pace, agent_table, with_use

if TYPE_CHECKING:
    from kos_ray.client import Client

#: records that the first picture looks back on, and that one question brings
_BACK = 2_000
_PAGE = 1_000


def top(
    once: Annotated[bool, typer.Option("--once", help="One picture; so it is in a pipe, too.")] = False,
    address: Address = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", envvar="KOS_NAMESPACE", help="Only this namespace.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Watch agents work: phase, node, what their processes use, messages, crashes. ctrl-C ends it.

    CPU is of one core, memory what a process and those below it share with nobody; both are measured by their node
    with each heartbeat, and `measured` says how long ago. `done/min` counts messages that ended in the last minute, as
    far as the newest records of the journal go back.
    """
    with open_client(address, namespace or "default") as client:
        look = _looking(client, namespace)
        if as_json:
            emit({"agents": look()})
        elif once or not on_terminal():
            found = look()
            show_table(agent_table(found, now_us())) if found else say("no agents")
        else:
            refresh(lambda: agent_table(look(), now_us()))


def _looking(client: "Client", namespace: str) -> Callable[[], list[dict[str, Any]]]:
    """Asks for the agents as they are; what it read of the journal it does not read again."""
    pace = Pace(client.views_of)
    place = max(0, client.status().seq - _BACK)

    def look() -> list[dict[str, Any]]:
        nonlocal place
        agents = [one for one in client.agents() if namespace in ("", one["namespace"])]
        while page := client.events(place, _PAGE):
            place = page[-1].seq
            pace.read(page, agents)
        return with_use(agents, client.agent_uses(), pace.per_minute(now_us()))

    return look
