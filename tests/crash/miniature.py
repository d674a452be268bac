"""As much of Ray as the runtime room uses, with processes that are forked in milliseconds: `install` puts it in place.

Actors are processes that answer calls over Unix sockets, tasks are processes that end, and `tests.crash.raylet` is the
one that starts them, sees them die, and starts detached actors anew. What runs on it is the production code of the
scheduler actor, the reader, the node agents, the slots and the client, unchanged.
"""

import asyncio
import inspect
import json
import os
import socket
import struct
import sys
import threading
import types
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle

_HEAD = struct.Struct(">I")
#: set by `install`
_folder = [Path()]


class RayError(Exception):
    pass


class RayActorError(RayError):
    pass


class ActorUnavailableError(RayActorError):
    pass


class GetTimeoutError(RayError, TimeoutError):
    pass


class WorkerCrashedError(RayError):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


def framed(message: object) -> bytes:
    data = cloudpickle.dumps(message)
    return _HEAD.pack(len(data)) + bytes(data)


async def read_message(reader: asyncio.StreamReader) -> Any:
    size = _HEAD.unpack(await reader.readexactly(_HEAD.size))[0]
    return cloudpickle.loads(await reader.readexactly(size))


# ---- calls


class _Transport:
    """A thread with a loop of its own that carries the calls of this process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._links: dict[str, asyncio.Task[_Link]] = {}
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def call(self, path: str, message: object) -> "Ref":
        return Ref(asyncio.run_coroutine_threadsafe(self._call(path, message), self.loop))

    async def _call(self, path: str, message: object) -> Any:
        try:
            opening = self._links.get(path)
            if opening is None or (opening.done() and (opening.exception() or opening.result().broken)):
                opening = self._links[path] = asyncio.ensure_future(_Link.open(path))
            link = await asyncio.shield(opening)
            return await link.ask(message)
        except (OSError, EOFError) as error:
            # one that is started anew keeps its socket's name
            kind = ActorUnavailableError if os.access(path, os.F_OK) else RayActorError
            raise kind(f"{path}: {error!r}") from None


class _Link:
    """One connection; answers come in any order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.broken = False
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._listening = asyncio.ensure_future(self._listen(reader))

    @classmethod
    async def open(cls, path: str) -> "_Link":
        return cls(*await asyncio.open_unix_connection(path))

    async def ask(self, message: object) -> Any:
        if self.broken:
            raise EOFError("the process has died")
        self._number += 1
        answer = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        self._writer.write(framed((self._number, message)))
        good, value = await answer
        if not good:
            raise value if isinstance(value, RayError) else RayTaskError(value)
        return value

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                number, good, value = await read_message(reader)
                waiting = self._waiting.pop(number)
                if not waiting.done():  # whoever asked may have given up
                    waiting.set_result((good, value))
        except (OSError, EOFError):
            self.broken = True
            self._writer.close()
            for answer in [one for one in self._waiting.values() if not one.done()]:
                answer.set_exception(EOFError("the process has died"))


_transport: list[_Transport] = []
_one_at_a_time = threading.Lock()


def transport() -> _Transport:
    """The transport of this process; one that was made before a fork belongs to the parent."""
    with _one_at_a_time:
        if not _transport or _transport[0].pid != os.getpid():
            _transport[:] = [_Transport()]
        return _transport[0]


class Ref:
    """The answer to a call."""

    def __init__(self, future: "Future[Any]") -> None:
        self.future = future
        self.task = 0

    def __await__(self) -> Any:
        return asyncio.wrap_future(self.future).__await__()


class _Method:
    def __init__(self, path: str, name: str) -> None:
        self._path, self._name = path, name

    def remote(self, *args: Any, **kwargs: Any) -> Ref:
        return transport().call(self._path, (self._name, args, kwargs))


class Handle:
    """An actor, by the path of its socket."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> _Method:
        return _Method(self._path, name)


def _raylet(*request: object) -> Ref:
    return transport().call(str(_folder[0] / "raylet.sock"), request)


# ---- what the runtime room calls


class _Remote:
    def __init__(self, what: Any, options: dict[str, Any]) -> None:
        self._what, self._options = what, options

    def options(self, **options: Any) -> "_Remote":
        return _Remote(self._what, {**self._options, **options})

    def remote(self, *args: Any) -> Any:
        strategy = self._options.get("scheduling_strategy")
        node = strategy.node_id if strategy else ""
        if not isinstance(self._what, type):
            number = int.from_bytes(os.urandom(6), "big")
            ref = _raylet("task", number, cloudpickle.dumps((self._what, args)), node)
            ref.task = number
            return ref
        restarts = self._options.get("max_restarts", 0)
        made = _raylet("actor", self._options["name"], cloudpickle.dumps((self._what, args)), restarts, node)
        return Handle(get(made))


def remote(what: Any = None, **options: Any) -> Any:
    return _Remote(what, options) if what is not None else lambda real: _Remote(real, options)


def method(**_options: Any) -> Any:
    return lambda function: function


def get(ref: Ref, timeout: float | None = None) -> Any:
    try:
        return ref.future.result(timeout)
    except TimeoutError:
        raise GetTimeoutError from None


def get_actor(name: str, namespace: str = "") -> Handle:
    try:
        return Handle((_folder[0] / f"{name}.actor").read_text())
    except FileNotFoundError:
        raise ValueError(f"no actor {name}") from None


def list_named_actors(all_namespaces: bool = False) -> list[dict[str, str]]:
    return [{"name": path.stem, "namespace": "kos_ray"} for path in _folder[0].glob("*.actor")]


def cancel(ref: Ref, force: bool = False) -> None:
    _raylet("cancel", ref.task)


def nodes() -> list[dict[str, Any]]:
    return json.loads((_folder[0] / "nodes.json").read_text())  # type: ignore[no-any-return]


class NodeAffinitySchedulingStrategy:
    def __init__(self, node_id: str, soft: bool) -> None:
        self.node_id = node_id


def install(folder: Path) -> None:
    """Be Ray in this process and those that are forked from it; sockets stand in `folder`."""
    _folder[0] = folder
    me = sys.modules[__name__]
    ray = types.ModuleType("ray")
    for name in ("remote", "method", "get", "get_actor", "cancel", "nodes"):
        setattr(ray, name, getattr(me, name))
    context = types.SimpleNamespace(gcs_address="miniature")
    vars(ray).update(
        __version__="miniature",
        is_initialized=lambda: True,
        get_runtime_context=lambda: context,
        exceptions=me,
    )
    strategies = types.ModuleType("ray.util.scheduling_strategies")
    vars(strategies)["NodeAffinitySchedulingStrategy"] = NodeAffinitySchedulingStrategy
    sys.modules["ray"] = ray
    util = sys.modules["ray.util"] = types.ModuleType("ray.util")
    vars(util).update(get_node_ip_address=lambda: "127.0.0.1", list_named_actors=list_named_actors)
    vars(ray)["util"] = util
    sys.modules["ray.util.scheduling_strategies"] = strategies


# ---- an actor's own process


def be_actor(packed: bytes, listening: socket.socket) -> None:
    """Make the actor and answer its calls, for ever."""
    asyncio.run(_serve(packed, listening))


async def _serve(packed: bytes, listening: socket.socket) -> None:
    cls, args = cloudpickle.loads(packed)
    actor = cls(*args)
    pool = ThreadPoolExecutor(8)
    running: set[asyncio.Task[None]] = set()

    async def answer(writer: asyncio.StreamWriter, number: int, message: Any) -> None:
        name, args, kwargs = message
        try:
            called = getattr(actor, name)
            if inspect.iscoroutinefunction(called):
                found = (number, True, await called(*args, **kwargs))
            else:
                loop = asyncio.get_running_loop()
                found = (number, True, await loop.run_in_executor(pool, lambda: called(*args, **kwargs)))
        except Exception as error:  # noqa: BLE001 - whatever it raised is its answer
            found = (number, False, error)
        writer.write(framed(found))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                task = asyncio.ensure_future(answer(writer, *await read_message(reader)))
                running.add(task)
                task.add_done_callback(running.discard)
        except (OSError, EOFError):
            writer.close()

    server = await asyncio.start_unix_server(connected, sock=listening)
    await server.serve_forever()
