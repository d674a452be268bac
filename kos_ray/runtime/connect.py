"""Finding, starting and stopping: the only way from client and command line into this room."""

import asyncio
import contextlib
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kos_ray.journal import home
from kos_ray.journal.anchor import parse_anchor
from kos_ray.journal.reader import JournalReader
from kos_ray.journal.store import DATABASE
from kos_ray.journal.verify import verify as verify_journal
from kos_ray.model.errors import ClusterUnreachable, KosError, Refused
from kos_ray.model.views import Leak, Leaks
from kos_ray.runtime import head as heads
from kos_ray.runtime import running
from kos_ray.runtime.connection import Away, Connection
from kos_ray.runtime.messages import unpack
from kos_ray.runtime.names import RAY_NAMESPACE, READER, SCHEDULER, agent_name, default_state_dir
from kos_ray.runtime.placing import on_head, start_reader
from kos_ray.runtime.running import here

__all__ = [
    "DATABASE",
    "Away",
    "Connection",
    "DownReport",
    "NoScheduler",
    "UpReport",
    "VerifyReport",
    "attach",
    "default_state_dir",
    "down",
    "here",
    "leaks",
    "running_address",
    "up",
    "verify",
]

#: seconds for the scheduler to answer after it was started or restarted
_ANSWER_S = 60.0
#: seconds for it to let its journal go
_CLOSE_S = 10.0
#: seconds for a connection to a cluster's address
_KNOCK_S = 10.0
#: Ray cannot be joined by two threads at once
_joining = threading.Lock()


class NoScheduler(ClusterUnreachable):
    """A Ray cluster answers, and nobody in it has our scheduler's name."""


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


def running_address() -> str | None:
    """The cluster that this process is a driver of already, if it is."""
    if "ray" not in sys.modules:
        return None
    import ray  # noqa: PLC0415

    return _gcs_address() if ray.is_initialized() else None


def up(
    *, address: str | None = None, state_dir: Path | None = None, num_cpus: int | None = None, adopt: bool = False
) -> UpReport:
    """Have a scheduler run: in the Ray cluster at `address`, else in a local one that is started where none runs.

    Idempotent. With an address, `state_dir` is a path on the head of that cluster. Where another version of kos_ray is
    installed on the head than the scheduler runs, the scheduler is replaced; it has the node agents replaced.

    A state directory that is a copy of another is refused, but for `adopt`: then it gets a cluster id of its own.

    Raises:
        ClusterUnreachable: no Ray cluster answers there, or the local one does not start.
        JournalUnusable: the state directory of the local one is a copy.
        Refused: the scheduler that runs there has another state directory: this one may be a copy of it.

    """
    directory = state_dir or default_state_dir()
    started: list[str] = []
    if address is None:
        if not adopt:
            home.check(directory)
        with heads.alone(directory):
            head = heads.read_record(directory)
            if head is None:
                head = heads.start(directory, num_cpus)
                started.append(f"Ray head (process {head.pid})")
        running.note(directory)
        _join_head(head, directory)
    else:
        _join(address)
    scheduler, fresh, answer = _answering(directory, adopt=adopt)
    if fresh:
        started.append("scheduler")
    if answer["installed"] != answer["version"]:
        scheduler = _replaced(scheduler, Path(answer["state_dir"]))
        started.append(f"scheduler (kos_ray {answer['installed']} in the place of {answer['version']})")
        answer = _answer(scheduler)
    if state_dir is not None:
        _check_state_dir(state_dir, answer)
    return UpReport(
        address=_gcs_address(),
        state_dir=answer["state_dir"],
        cluster_id=answer["cluster_id"],
        started=tuple(started),
        already_running=not started,
    )


def _replaced(scheduler: Any, state_dir: Path) -> Any:
    """A scheduler of the version that is installed now; it has the agents replaced. What runs goes on."""
    import ray  # noqa: PLC0415

    with contextlib.suppress(ray.exceptions.RayError):
        ray.get(scheduler.close.remote(), timeout=_CLOSE_S)
    ray.kill(scheduler)
    with contextlib.suppress(ValueError):
        ray.kill(ray.get_actor(READER, namespace=RAY_NAMESPACE))
    deadline = time.monotonic() + _ANSWER_S
    while time.monotonic() < deadline:
        successor, fresh = _scheduler(state_dir)
        if fresh:
            return successor
        time.sleep(0.05)  # the name is free when the process has ended
    raise ClusterUnreachable("the scheduler of the older version does not end")


def _check_state_dir(wanted: Path, answer: dict[str, Any]) -> None:
    """Two journals never go on from one: whoever asks for a copy while the first lives would be told of the first.

    Raises:
        Refused: it is another directory than that of the scheduler which runs.

    """
    runs, asked = answer["state_dir"], str(wanted.expanduser())
    if os.path.realpath(runs) != os.path.realpath(asked):
        running.forget(wanted)
        raise Refused(
            f"expected the state directory of the scheduler that runs there, {runs} (cluster {answer['cluster_id']}), "
            f"found {asked}; leave --state out to use that cluster, or stop it first: kos down --state {runs}"
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
        raise NoScheduler(
            f"the Ray cluster at {_gcs_address()} has no scheduler: start it by `kos up --address {_gcs_address()}`"
        ) from None
    _answer(scheduler)
    return Connection(scheduler, _reader(scheduler), _gcs_address())


def leaks(address: str | None = None, *, end: bool = False) -> tuple[Leak, ...]:
    """What is left of ours that nobody answers for, looked for now; `end`: end it, also what is not proved to be that.

    Where the cluster has no scheduler that is every actor of ours; those of the state directory here may be ended.

    Raises:
        ClusterUnreachable: no Ray cluster answers.

    """
    try:
        packed = attach(address).ask_scheduler("leaks", end)
    except NoScheduler:
        from kos_ray.runtime.leaks import without_scheduler  # noqa: PLC0415 - see `_join`

        directory = here()[0]
        belong = [str(directory)]
        with contextlib.suppress(KosError):
            belong.append(JournalReader(directory).cluster_id)
        return tuple(asyncio.run(without_scheduler(belong, also_end=end)))
    return unpack(Leaks, packed).leaks


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


def _scheduler(state_dir: Path, *, adopt: bool = False) -> tuple[Any, bool]:
    """The scheduler actor, started on the head if it is not there; whether it was."""
    import ray  # noqa: PLC0415

    from kos_ray.runtime.scheduler import SchedulerActor  # noqa: PLC0415

    with contextlib.suppress(ValueError):
        return ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE), False
    # A reply that waits holds a place, and many clients wait: control has places of its own.
    actor = ray.remote(concurrency_groups={"control": 16})(SchedulerActor)
    scheduler = actor.options(**on_head(SCHEDULER), max_concurrency=100_000).remote(str(state_dir), adopt)
    return scheduler, True


def _answering(state_dir: Path, *, adopt: bool) -> tuple[Any, bool, dict[str, Any]]:
    """The scheduler, whether it was started, and its word on itself.

    A head that has just come back may still be known by the node that it was before: nothing ever starts there.
    """
    import ray  # noqa: PLC0415

    deadline = time.monotonic() + _ANSWER_S
    while True:
        scheduler, fresh = _scheduler(state_dir, adopt=adopt)
        try:
            return scheduler, fresh, _answer(scheduler)
        except ray.exceptions.ActorUnschedulableError as error:
            if time.monotonic() > deadline:
                raise ClusterUnreachable(f"the scheduler does not start: {error}") from None
            ray.kill(scheduler)
            time.sleep(0.2)


def _reader(scheduler: Any) -> Any:
    """The reader actor, started on the head if it is not there."""
    import ray  # noqa: PLC0415

    with contextlib.suppress(ValueError):
        return ray.get_actor(READER, namespace=RAY_NAMESPACE)
    return start_reader(_answer(scheduler)["state_dir"])


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
                    ray.get(actor.close.remote(), timeout=_CLOSE_S)
            ray.kill(actor)
            stopped.append(name)
    return tuple(stopped)
