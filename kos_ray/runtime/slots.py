"""Slots as Ray tasks: a reservation of CPU, GPU and memory, and a process that runs attempts in it."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kos_ray.model.job import SlotKind
from kos_ray.runtime.agent.ports import SlotHandle
from kos_ray.runtime.names import RAY_NAMESPACE

#: how long another actor may have an agent's name, and between two looks
_NAME_S = 30.0
_NAME_PAUSE_S = 0.1


def _slot(socket_path: str, slot_id: str) -> None:
    """What the Ray task runs; the import is here so that the worker pays it, not whoever sends the task."""
    from kos_ray.worker.boot import boots  # noqa: PLC0415

    boots(socket_path, slot_id)
    from kos_ray.worker.slot import run_slot  # noqa: PLC0415

    run_slot(socket_path, slot_id, _client)


def _client(namespace: str) -> Any:
    """A client for code that runs in a slot: this process is in the cluster already."""
    import kos_ray  # noqa: PLC0415 - the facade; only jobs that ask about their children pay it

    return kos_ray.connect(namespace=namespace, start=False)


class RaySlot:
    """One slot's Ray task."""

    def __init__(self, ref: Any) -> None:
        self._ref = ref
        self._done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._watch = asyncio.ensure_future(self._wait())

    @property
    def done(self) -> asyncio.Future[str]:
        """See `SlotHandle`."""
        return self._done

    def cancel(self) -> None:
        """Withdraw the task; Ray ends its worker if it has one."""
        ray.cancel(self._ref, force=True)

    def kill(self) -> None:
        """End the worker process."""
        ray.cancel(self._ref, force=True)

    async def _wait(self) -> None:
        try:
            await self._ref
            cause = ""
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - Ray's errors are many; all of them mean that the task is over
            lines = str(error).strip().splitlines()
            cause = f"{type(error).__name__}: {lines[0] if lines else ''}"
        if not self._done.done():
            self._done.set_result(cause)


class _AgentProcess:
    """The actor in which an agent lives; it serves one slot and ends, as the worker of a task does."""

    def run(self, socket_path: str, slot_id: str) -> None:
        """Be the slot until the node agent has no more for it, or is gone."""
        try:
            _slot(socket_path, slot_id)
        finally:
            ray.actor.exit_actor()


class RayAgentSlot:
    """The slot in which an agent lives: an actor under its name, which one process has at a time."""

    def __init__(self, make: Callable[[], Any], name: str, socket_path: str, slot_id: str) -> None:
        self._make = make
        self._name = name
        self._actor: Any = None
        self._withdrawn = False
        self._done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._watch = asyncio.ensure_future(self._live(socket_path, slot_id))

    @property
    def done(self) -> asyncio.Future[str]:
        """See `SlotHandle`."""
        return self._done

    def cancel(self) -> None:
        """Withdraw the actor, wherever it stands."""
        self._withdrawn = True
        self.kill()

    def kill(self) -> None:
        """End its process."""
        if self._actor is not None:
            ray.kill(self._actor)

    async def _live(self, socket_path: str, slot_id: str) -> None:
        cause = ""
        try:
            self._actor = await self._made()
            if self._withdrawn:
                self.kill()
            await self._actor.run.remote(socket_path, slot_id)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - Ray's errors are many; all of them mean that the actor is over
            lines = str(error).strip().splitlines()
            cause = f"{type(error).__name__}: {lines[0] if lines else ''}"
        if not self._done.done():
            self._done.set_result(cause)

    async def _made(self) -> Any:
        """The actor. Ray takes a while to see that one of that name has died; one that outlived its node agent goes."""
        until = time.monotonic() + _NAME_S
        while True:
            try:
                return await asyncio.to_thread(self._make)
            except ValueError:
                if time.monotonic() > until:
                    raise
            with contextlib.suppress(ValueError):
                ray.kill(await asyncio.to_thread(ray.get_actor, self._name, namespace=RAY_NAMESPACE))
            await asyncio.sleep(_NAME_PAUSE_S)


class RaySlotStarter:
    """Starts slots on one node. The options of each kind are made once: that saves Ray 30 to 80 µs a task."""

    def __init__(self, node_id: str, ours: frozenset[str] = frozenset()) -> None:
        self._node_id = node_id
        self._raylet = os.getppid()
        #: what this node has beside what Ray knows of it: only our ledger counts that
        self._ours = ours
        self._starts: dict[SlotKind, Callable[[str, str], Any]] = {}

    def start(self, slot_id: str, kind: SlotKind, socket_path: str) -> SlotHandle:
        """See `SlotStarter`."""
        if kind.agent:
            name = f"agent:{kind.namespace}/{kind.agent}"
            return RayAgentSlot(partial(self._actor, kind, name), name, socket_path, slot_id)
        start = self._starts.get(kind)
        if start is None:
            start = self._starts[kind] = self._task(kind).remote
        return RaySlot(start(socket_path, slot_id))

    def node_alive(self) -> bool:
        """See `SlotStarter`: our parent is the node's raylet; when it is gone, Ray ends every process of the node."""
        return os.getppid() == self._raylet

    def _actor(self, kind: SlotKind, name: str) -> Any:
        actor = ray.remote(max_restarts=0)(_AgentProcess)
        return actor.options(
            name=name, namespace=RAY_NAMESPACE, lifetime="detached", **self._reservation(kind)
        ).remote()

    def _reservation(self, kind: SlotKind) -> dict[str, Any]:
        """What Ray is to hold for a slot, and where."""
        units = {name: amount for name, amount in kind.resources.as_units().items() if name not in self._ours}
        return {
            "num_cpus": units.pop("CPU", 0),
            "num_gpus": units.pop("GPU", 0),
            "memory": units.pop("memory", 0) or None,
            "resources": units or None,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(self._node_id, soft=False),
        }

    def _task(self, kind: SlotKind) -> Any:
        # A worker serves one slot and then ends: the next slot may be another tenant's, or run other code.
        return ray.remote(max_calls=1)(_slot).options(
            name=f"kos-slot:{kind.namespace}", max_retries=0, **self._reservation(kind)
        )
