"""Actors of ours in a Ray cluster for which nobody answers: found, told, and ended.

What is ours is decided by all of: Ray's namespace `kos_ray`, the name, the class of whatever has it, and what the actor
itself says of its cluster. Nobody else's is ever asked, let alone ended. Placement groups are never ours: gangs are
made of slots. What dead agents left running on their nodes is ended there (`agent/left_behind.py`).
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import ray

from kos_ray.model.protocol import PROTOCOL, Hello, Holding
from kos_ray.model.views import Leak
from kos_ray.runtime.messages import pack, unpack
from kos_ray.runtime.names import AGENT_PREFIX, RAY_NAMESPACE, READER

_log = logging.getLogger("kos_ray.leaks")

#: seconds for an actor to say whose it is
_ASK_S = 10.0
#: of those that were ended, how many are told
_KEPT = 100
#: where the classes are that our names belong to
_READER = ("kos_ray.runtime.reader", "ReaderActor")
_AGENT = ("kos_ray.runtime.agent_actor", "AgentActor")


async def find(served: Callable[[str], bool], cluster_id: str, state_dir: str) -> list[tuple[Leak, Any]]:
    """Those of our actors that nobody answers for, each with its handle.

    `served` says of an agent's name whether the one who asks has to do with it. A leak is `certain` where it has said
    that it belongs to somebody else than the cluster `cluster_id` with the directory `state_dir`. One that does not
    answer may be asleep: it is told, and not `certain`.
    """
    named = await asyncio.to_thread(ray.util.list_named_actors, all_namespaces=True)
    names = sorted(one["name"] for one in named if one["namespace"] == RAY_NAMESPACE)
    found = []
    for name in names:
        if name == READER:
            found.append(await _reader(state_dir))
        elif name.startswith(AGENT_PREFIX) and not served(name):
            found.append(await _agent(name, cluster_id))
    return [one for one in found if one is not None]


def end(leak: Leak, handle: Any) -> Leak:
    """End one; what is to be told of it then."""
    _log.warning("%s %s is ended: %s", leak.kind, leak.name, leak.why)
    with contextlib.suppress(ValueError):  # it has ended by itself
        ray.kill(handle)
    return replace(leak, ended=True)


async def _agent(name: str, cluster_id: str) -> tuple[Leak, Any] | None:
    handle = _ours(name, _AGENT)
    if handle is None:
        return None
    # every agent refuses this greeting, and says whose it is when it does
    hello = Hello(cluster_id="", epoch=0, protocol=PROTOCOL, version="")
    leak = Leak(kind="node agent", name=name)
    try:
        holding = unpack(Holding, await asyncio.wait_for(handle.hello.remote(pack(hello)), _ASK_S))
    except TimeoutError:
        return replace(leak, why="it does not answer, and its node is not there"), handle
    except Exception:  # noqa: BLE001 - it dies, which is all that is wanted
        return None
    leak = replace(leak, belongs=holding.cluster_id)
    if holding.cluster_id == cluster_id:  # whoever answers is alive: what Ray says of its node may be of a moment
        return replace(leak, why="no living node is its own"), handle
    why = f"it belongs to cluster {holding.cluster_id or 'unknown'}, whose scheduler is not here"
    return replace(leak, why=why, certain=bool(holding.cluster_id)), handle


async def _reader(state_dir: str) -> tuple[Leak, Any] | None:
    """The reader, where it reads the journal of somebody else, or is of a version that does not say which."""
    handle = _ours(READER, _READER)
    if handle is None:
        return None
    leak = Leak(kind="reader", name=READER)
    try:
        whose = await asyncio.wait_for(handle.whose.remote(), _ASK_S)
    except TimeoutError:
        return None  # it is busy: our scheduler sees to it that there is one
    except AttributeError:
        return replace(leak, why="it is of an older version", certain=True), handle
    except Exception:  # noqa: BLE001 - it dies, and Ray starts it again
        return None
    belongs = whose["state_dir"]
    if belongs == state_dir:
        return None
    return replace(leak, belongs=belongs, why=f"it reads the journal in {belongs}", certain=True), handle


def _ours(name: str, wanted: tuple[str, str]) -> Any:
    """The actor of that name in our namespace, None where it is not one of ours by its class."""
    try:
        handle = ray.get_actor(name, namespace=RAY_NAMESPACE)
    except ValueError:
        return None
    made_of = getattr(handle, "_ray_actor_creation_function_descriptor", None)
    found = (getattr(made_of, "module_name", ""), getattr(made_of, "class_name", ""))
    return handle if found == wanted else None


async def without_scheduler(belong: Collection[str], *, also_end: bool) -> list[Leak]:
    """What is there where no scheduler is: nobody answers for any of it. Those that `belong` may be ended."""
    found = []
    for leak, handle in await find(lambda _name: False, "", ""):
        told = replace(leak, why="no scheduler is here", certain=False)
        found.append(end(told, handle) if also_end and leak.belongs in belong else told)
    return found


class Leaks:
    """What the scheduler knows of leaks: those that are there, and those that were ended since it was started."""

    def __init__(self, served: Callable[[str], bool], cluster_id: str, state_dir: str) -> None:
        self._served, self._cluster_id, self._state_dir = served, cluster_id, state_dir
        self._there: tuple[Leak, ...] = ()
        self._ended: deque[Leak] = deque(maxlen=_KEPT)
        #: agents that do not speak our protocol, by name
        self._refusing: dict[str, tuple[Leak, Any]] = {}
        self._one = asyncio.Lock()

    def refuses(self, name: str, node: str, handle: Any, why: str) -> None:
        """An agent of ours cannot serve this scheduler, for that reason; "" where it does."""
        if why:
            leak = Leak(kind="node agent", name=name, node=node, belongs=self._cluster_id, why=why)
            self._refusing[name] = (leak, handle)
        else:
            self._refusing.pop(name, None)

    @property
    def known(self) -> tuple[Leak, ...]:
        """Those that are there, then those that were ended, oldest first."""
        return (*self._there, *self._ended)

    def ended(self, leak: Leak) -> None:
        """Somebody else has ended one."""
        self._ended.append(leak)

    async def sweep(self, *, all_of_them: bool = False) -> tuple[Leak, ...]:
        """Look, end those that are certain, or `all_of_them`; what is known then."""
        async with self._one:
            there = []
            found = await find(self._served, self._cluster_id, self._state_dir)
            self._refusing = {name: one for name, one in self._refusing.items() if self._served(name)}
            for leak, handle in (*found, *self._refusing.values()):
                if leak.certain or all_of_them:
                    self._ended.append(end(leak, handle))
                else:
                    there.append(leak)
            self._there = tuple(there)
            if all_of_them:
                self._refusing.clear()
        return self.known
