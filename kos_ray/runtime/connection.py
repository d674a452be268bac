"""The calls of a driver: to the scheduler by a channel where one opens, else by Ray, and to the reader by Ray."""

import contextlib
import sys
import threading
from typing import Any

from kos_ray.model.errors import ClusterUnreachable
from kos_ray.runtime.channel import ChannelBroken, Channels, DoorAt
from kos_ray.runtime.names import RAY_NAMESPACE, READER, SCHEDULER, agent_name

#: what each job's way consists of; everything else is rare, and goes by Ray
_DIRECT = frozenset({"submit", "watch", "poll", "want", "coordinate", "renew_leases"})
#: seconds for the scheduler to say where its door is; Ray may wait for ever for one that was replaced meanwhile
_GREET_S = 5.0


class Away(ClusterUnreachable):
    """The actor restarts, or was ended; a call may or may not have been carried out."""


class Connection:
    """The scheduler and the reader of a cluster that this process is a driver of. Threads may share it."""

    def __init__(self, scheduler: Any, reader: Any, address: str) -> None:
        self.scheduler = scheduler
        self.reader = reader
        self.address = address
        self._looking = threading.Lock()
        #: whether it is known where the scheduler's door is, or that there is none for us
        self._looked = False
        self._channels: Channels | None = None

    def ask_scheduler(self, method: str, *args: Any) -> Any:
        """Call the scheduler and wait for its answer.

        Raises:
            Away: it restarts.
            Exception: what it raised, as it was there.

        """
        channels = self._direct() if method in _DIRECT else None
        if channels is None:
            return self._by_ray(method, *args)
        try:
            return channels.call(method, *args)
        except ChannelBroken as error:
            self._look_again()
            raise Away(f"the scheduler is away: {error}") from None

    def ask_reader(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call the reader and wait for its answer; it raises as `ask_scheduler` does."""
        try:
            return _get(getattr(self.reader, method).remote(*args, **kwargs))
        except Away:
            self.reader = _named(READER) or self.reader  # another one may have its place
            raise

    def tell_scheduler(self, method: str, *args: Any) -> None:
        """Call the scheduler without waiting; nothing happens when this process has left the cluster."""
        if "ray" in sys.modules and sys.modules["ray"].is_initialized():
            getattr(self.scheduler, method).remote(*args)

    def read_log(self, node_id: str, file: str, start: int, end: int) -> bytes:
        """A part of a slot's log file that still lies on its node.

        Raises:
            ClusterUnreachable: the node is gone.

        """
        return bytes(_get(_agent(node_id).read_log.remote(file, start, end)))

    def tail(self, node_id: str, key: int, attempt: int, start: int, size: int) -> bytes | None:
        """At most `size` bytes of what a running attempt has printed, from byte `start` on; None when it has ended.

        Raises:
            ClusterUnreachable: the node is gone.

        """
        found: bytes | None = _get(_agent(node_id).tail.remote(key, attempt, start, size))
        return found

    def _by_ray(self, method: str, *args: Any) -> Any:
        try:
            return _get(getattr(self.scheduler, method).remote(*args))
        except Away:
            self._look_again()  # whoever comes back has another door
            raise

    def _direct(self) -> Channels | None:
        """Channels to the scheduler that runs now; None where its door does not open for us."""
        if not self._looked:
            with self._looking:
                if not self._looked:
                    self._channels = self._open()
                    self._looked = True
        return self._channels

    def _open(self) -> Channels | None:
        try:
            at = _get(self.scheduler.greet.remote(), _GREET_S).get("door")
        except Away:
            self.scheduler = _named(SCHEDULER) or self.scheduler
            raise
        if at is None:
            return None
        channels = Channels(DoorAt(*at))
        try:
            channels.offer(channels.connect())
        except ChannelBroken:
            return None
        return channels

    def _look_again(self) -> None:
        with self._looking:
            channels, self._channels, self._looked = self._channels, None, False
        self.scheduler = _named(SCHEDULER) or self.scheduler
        if channels is not None:
            channels.close()


def _named(name: str) -> Any:
    """The actor that has the name now, None where nobody has."""
    import ray  # noqa: PLC0415

    with contextlib.suppress(ValueError):
        return ray.get_actor(name, namespace=RAY_NAMESPACE)
    return None


def _agent(node_id: str) -> Any:
    """The agent of a node.

    Raises:
        ClusterUnreachable: the node is gone.

    """
    import ray  # noqa: PLC0415

    try:
        return ray.get_actor(agent_name(node_id), namespace=RAY_NAMESPACE)
    except ValueError:
        raise ClusterUnreachable(f"node {node_id} is gone, and this log had not been stored yet") from None


def _get(ref: Any, timeout_s: float | None = None) -> Any:
    """The answer to a call.

    Raises:
        Away: the actor restarts, or does not answer in time.
        Exception: what the actor raised, as it was there.

    """
    import ray  # noqa: PLC0415

    try:
        return ray.get(ref, timeout=timeout_s)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
        raise Away(f"the scheduler is away: {error}") from None
