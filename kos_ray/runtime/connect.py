"""Finding, starting and stopping: the only way from client and command line into this room."""

import contextlib
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kos_ray.journal.anchor import parse_anchor
from kos_ray.journal.store import DATABASE
from kos_ray.journal.verify import verify as verify_journal
from kos_ray.model.errors import ClusterUnreachable
from kos_ray.runtime import head as heads
from kos_ray.runtime import running
from kos_ray.runtime.names import RAY_NAMESPACE, READER, SCHEDULER, agent_name, default_state_dir
from kos_ray.runtime.running import here

__all__ = [
    "DATABASE",
    "Away",
    "Connection",
    "DownReport",
    "UpReport",
    "VerifyReport",
    "attach",
    "default_state_dir",
    "down",
    "here",
    "running_address",
    "up",
    "verify",
]

#: seconds for the scheduler to answer after it was started or restarted
_ANSWER_S = 60.0
#: seconds for a connection to a cluster's address
_KNOCK_S = 10.0
#: Ray cannot be joined by two threads at once
_joining = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpReport:
    """What `up` found and did."""

    address: str
    state_dir: str
    cluster_id: str
    started: tuple[str, ...]
    already_running: bool
    dashboard_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownReport:
    """What `down` ended."""

    stopped: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What `verify` found; no problems: every frame and every row is as it should be."""

    path: str
    frames: int
    last_seq: int
    problems: tuple[str, ...]


class Away(ClusterUnreachable):
    """The actor restarts, or was ended; a call may or may not have been carried out."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The scheduler and the reader of a cluster that this process is a driver of. Threads may share it."""

    scheduler: Any
    reader: Any
    address: str

    def ask_scheduler(self, method: str, *args: Any) -> Any:
        """Call the scheduler and wait for its answer; see `_get`."""
        return _get(getattr(self.scheduler, method).remote(*args))

    def ask_reader(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call the reader and wait for its answer; see `_get`."""
        return _get(getattr(self.reader, method).remote(*args, **kwargs))

    def tell_scheduler(self, method: str, *args: Any) -> None:
        """Call the scheduler without waiting; nothing happens when this process has left the cluster."""
        if running_address() is not None:
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


def _get(ref: Any) -> Any:
    """The answer to a call.

    Raises:
        Away: the actor restarts.
        Exception: what the actor raised, as it was there.

    """
    import ray  # noqa: PLC0415

    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except ray.exceptions.RayActorError as error:
        raise Away(f"the scheduler is away: {error}") from None


def running_address() -> str | None:
    """The cluster that this process is a driver of already, if it is."""
    if "ray" not in sys.modules:
        return None
    import ray  # noqa: PLC0415

    return _gcs_address() if ray.is_initialized() else None


def up(*, address: str | None = None, state_dir: Path | None = None, num_cpus: int | None = None) -> UpReport:
    """Have a scheduler run: in the Ray cluster at `address`, else in a local one that is started where none runs.

    Idempotent. With an address, `state_dir` is a path on the head of that cluster.

    Raises:
        ClusterUnreachable: no Ray cluster answers there, or the local one does not start.

    """
    directory = state_dir or default_state_dir()
    started: list[str] = []
    if address is None:
        with heads.alone(directory):
            head = heads.read_record(directory)
            if head is None:
                head = heads.start(directory, num_cpus)
                started.append(f"Ray head (process {head.pid})")
        running.note(directory)
        _join_head(head, directory)
    else:
        _join(address)
    scheduler, fresh = _scheduler(directory)
    if fresh:
        started.append("scheduler")
    answer = _answer(scheduler)
    return UpReport(
        address=_gcs_address(),
        state_dir=answer["state_dir"],
        cluster_id=answer["cluster_id"],
        started=tuple(started),
        already_running=not started,
    )


def down(*, state_dir: Path | None = None, address: str | None = None) -> DownReport:
    """Stop what `up` started for this state directory. The journal stays; jobs go on at the next `up`."""
    directory = state_dir or here()[0]
    head = heads.read_record(directory)
    if head is not None and address is None:
        heads.stop(directory)
        running.forget(directory)
        return DownReport(stopped=("scheduler", f"Ray head (process {head.pid})"))
    if address is None:
        return DownReport(stopped=())
    _join(address)
    return DownReport(stopped=_leave())


def verify(*, state_dir: Path | None = None, anchor: str = "") -> VerifyReport:
    """Fold the journal's frames anew, compare all rows, and look for the `anchor`. The scheduler may be running."""
    directory = state_dir or here()[0]
    found = verify_journal(directory, parse_anchor(anchor) if anchor else None)
    problems = tuple(str(difference) for difference in found.differences)
    return VerifyReport(
        path=str(directory / DATABASE),
        frames=found.frames,
        last_seq=found.last_seq,
        problems=((found.damage,) if found.damage else ()) + problems,
    )


def attach(address: str | None = None) -> Connection:
    """Handles of a running scheduler: in the cluster that this process is in already, at `address`, or ours.

    Ours is the one in `$KOS_STATE_DIR`, else the newest that `up` has started and that runs.

    Raises:
        ClusterUnreachable: there is none.

    """
    if running_address() is None:
        address = address or os.environ.get("KOS_ADDRESS")
        directory = here()[0]
        head = heads.read_record(directory) if address is None else None
        if head is not None:
            _join_head(head, directory)
        elif address is not None:
            _join(address)
        else:
            raise ClusterUnreachable(running.none_runs())
    import ray  # noqa: PLC0415 - see `_join`

    try:
        scheduler = ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE)
    except ValueError:
        raise ClusterUnreachable(
            f"the Ray cluster at {_gcs_address()} has no scheduler: start it by `kos up --address {_gcs_address()}`"
        ) from None
    _answer(scheduler)
    return Connection(scheduler, _reader(scheduler), _gcs_address())


def _join_head(head: heads.Head, directory: Path) -> None:
    """Become a driver of our own head. Ray is imported while the head still starts: both take about a second."""
    os.environ.update(heads.environment(head.token_path))
    importing = threading.Thread(target=_import_ray)
    importing.start()
    heads.wait_for_port(head, directory)
    importing.join()
    _join(head.address)


def _import_ray() -> None:
    import ray  # noqa: F401, PLC0415


def _join(address: str) -> None:
    """Become a driver of the cluster at an address. Ray is imported here, after the environment is as it needs it."""
    if wrong := heads.nobody_at(address):
        raise ClusterUnreachable(f"no Ray cluster answers at {address}: {wrong}")
    import ray  # noqa: PLC0415

    with _joining:
        if ray.is_initialized():
            return
        _knock(address)
        try:
            ray.init(address, namespace=RAY_NAMESPACE, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ClusterUnreachable(f"no Ray cluster answers at {address}: {error}") from None


def _knock(address: str) -> None:
    """See whether somebody listens there: where nobody does, Ray would try for minutes.

    Raises:
        ClusterUnreachable: nobody does.

    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        return  # "auto", or another form that Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterUnreachable(f"no Ray cluster answers at {address}: {error}") from None


def _gcs_address() -> str:
    import ray  # noqa: PLC0415

    return str(ray.get_runtime_context().gcs_address)


def _scheduler(state_dir: Path) -> tuple[Any, bool]:
    """The scheduler actor, started on the head if it is not there; whether it was."""
    import ray  # noqa: PLC0415

    from kos_ray.runtime.scheduler import SchedulerActor  # noqa: PLC0415

    with contextlib.suppress(ValueError):
        return ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE), False
    # A reply that waits holds a place, and many clients wait: control has places of its own.
    actor = ray.remote(concurrency_groups={"control": 16})(SchedulerActor)
    scheduler = actor.options(**_on_head(SCHEDULER), max_concurrency=100_000).remote(str(state_dir))
    return scheduler, True


def _reader(scheduler: Any) -> Any:
    """The reader actor, started on the head if it is not there."""
    import ray  # noqa: PLC0415

    from kos_ray.runtime.reader import ReaderActor  # noqa: PLC0415

    with contextlib.suppress(ValueError):
        return ray.get_actor(READER, namespace=RAY_NAMESPACE)
    state_dir = _answer(scheduler)["state_dir"]
    return ray.remote(ReaderActor).options(**_on_head(READER), max_concurrency=8).remote(state_dir)


def _on_head(name: str) -> dict[str, Any]:
    """Options of an actor that stays on the head, under a name, and comes back when it dies."""
    import ray  # noqa: PLC0415
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    heads_alive = [
        node["NodeID"] for node in ray.nodes() if node["Alive"] and "node:__internal_head__" in node["Resources"]
    ]
    if not heads_alive:
        raise ClusterUnreachable("the Ray cluster has no living head node")
    return {
        "name": name,
        "namespace": RAY_NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(heads_alive[0], soft=False),
    }


def _answer(scheduler: Any) -> dict[str, Any]:
    """The scheduler's word on itself, once it answers.

    Raises:
        ClusterUnreachable: it does not, in time; the message says what it died of.

    """
    import ray  # noqa: PLC0415

    deadline = time.monotonic() + _ANSWER_S
    while True:
        try:
            return ray.get(scheduler.greet.remote(), timeout=_ANSWER_S)  # type: ignore[no-any-return]
        except ray.exceptions.ActorUnavailableError as error:
            if time.monotonic() > deadline:
                raise ClusterUnreachable(f"the scheduler does not answer: {error}") from None
            time.sleep(0.05)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
            raise ClusterUnreachable(f"the scheduler does not start: {_cause(str(error))}") from None


def _cause(text: str) -> str:
    """What an actor died of, from Ray's text: of a traceback, its last line."""
    return text.strip().splitlines()[-1].strip() if "in its creation task" in text else text


def _leave() -> tuple[str, ...]:
    """End our actors in a cluster that is not ours; their slots end with them."""
    import ray  # noqa: PLC0415

    stopped = []
    names = [SCHEDULER, READER, *(agent_name(node["NodeID"]) for node in ray.nodes() if node["Alive"])]
    for name in names:
        with contextlib.suppress(ValueError):
            actor = ray.get_actor(name, namespace=RAY_NAMESPACE)
            if name == SCHEDULER:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.get(actor.close.remote(), timeout=10)
            ray.kill(actor)
            stopped.append(name)
    return tuple(stopped)
