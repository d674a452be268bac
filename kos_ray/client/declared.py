"""`@kos.agent`: an agent's own process imports this, and for the sake of its memory nothing else of a client's."""

from typing import Any

#: where a class keeps what `@kos.agent` says of it
SAID = "__kos_agent__"


def agent(make: type | None = None, /, **said: Any) -> Any:
    """Say of a class what its agents are: `@kos.agent(name="counter", snapshot_every=10, resources={"cpu": 0.1})`.

    The class stays what it is. `said` is what `Client.register_agent` takes.
    """
    if make is None:
        return lambda found: agent(found, **said)
    if not isinstance(make, type):
        raise TypeError(f"expected a class under @kos.agent, found {make!r}")
    setattr(make, SAID, said)
    return make
