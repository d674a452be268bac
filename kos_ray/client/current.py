"""The current client: of the innermost `with connect()`, or one connected when it is first asked for."""

import atexit
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kos_ray.client.client import Client

#: innermost last, as this thread or task sees it
_here: "ContextVar[tuple[Client, ...]]" = ContextVar("kos_clients", default=())
#: the same for threads that have entered none themselves
_everywhere: "list[Client]" = []
_lock = threading.Lock()


class _Own:
    """The client that nobody entered."""

    client: "Client | None" = None


def current_client() -> "Client":
    """The client of the innermost `with kos.connect()`, in this thread or else in any.

    Outside of all of them, one that is connected at the first call and stays until the program ends.

    Raises:
        ClusterUnreachable: there is none, and no cluster could be started.

    """
    if here := _here.get():
        return here[-1]
    with _lock:
        if _everywhere:
            return _everywhere[-1]
        if _Own.client is None:
            from kos_ray.client.client import connect  # noqa: PLC0415 - the client imports this module

            _Own.client = connect()
            atexit.register(_Own.client.close)
        return _Own.client


def enter(client: "Client") -> None:
    """Make it the current one."""
    _here.set((*_here.get(), client))
    with _lock:
        _everywhere.append(client)


def leave(client: "Client") -> None:
    """Make it no longer a current one, whichever thread closes it."""
    _here.set(tuple(other for other in _here.get() if other is not client))
    with _lock:
        _everywhere[:] = [other for other in _everywhere if other is not client]
        if _Own.client is client:
            _Own.client = None
