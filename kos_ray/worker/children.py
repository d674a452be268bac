"""Jobs that a job submits while it runs."""

import hashlib
import io
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle

from kos_ray.model.dispatch import To
from kos_ray.model.errors import InvalidSpec, KosError
from kos_ray.model.hashing import spec_hash
from kos_ray.model.job import After, Spec
from kos_ray.model.resources import Resources
from kos_ray.worker.delegate import Whom
from kos_ray.worker.prepare import PYTHON
from kos_ray.worker.results import payload_of

if TYPE_CHECKING:
    from kos_ray.model.protocol import Submit

#: a client in a namespace, as `kos_ray.connect` gives it
Connect = Callable[[str], Any]


class Child:
    """A job that this job has submitted. Among the arguments of a further child it stands for its result."""

    def __init__(self, job_id: str, find: Callable[[str], Any]) -> None:
        self.job_id = job_id
        self._find = find

    def __repr__(self) -> str:
        return f"<Child {self.job_id}>"

    def __reduce__(self) -> Any:
        raise KosError(
            f"{self!r} belongs to the attempt that made it: expected it among a child's arguments, or its id"
        )

    @property
    def job(self) -> Any:
        """The handle that a client has of it (`kos_ray.Job`): state, logs, cancel and so on."""
        return self._find(self.job_id)

    def result(self, timeout: float | None = None) -> Any:
        """What it returned, waited for at most `timeout` seconds; raises as `Job.result` does.

        The job that waits keeps its slot and its room. Where all slots wait for children that need the same room,
        nothing goes on: let a further child that has the handles as its arguments take the results, where that may be.
        """
        return self.job.result(timeout)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Puts the position of their results in the place of children."""

    #: public id -> position; None where no child may be
    inputs: dict[str, int] | None

    def persistent_id(self, obj: Any) -> tuple[str, int] | None:
        """See `prepare`: what slots resolve."""
        if self.inputs is None or not isinstance(obj, Child):
            return None
        return "input", self.inputs.setdefault(obj.job_id, len(self.inputs))


def submission(
    parent_id: str,
    number: int,
    parent: Spec,
    directory: Path,
    function: Callable[..., Any] | Whom,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    name: str,
    after: Iterable[Child | str],
    options: Mapping[str, Any],
) -> "Submit":
    """The request that makes a child by the `number`th call of its parent.

    The same call, by the same number, with the same arguments makes the same request in every attempt of the parent,
    so that its child is made once.

    Raises:
        InvalidSpec: an option is wrong, or something cannot be pickled.

    """
    # the engine's words: they take a slot longer to load than everything else that it needs of ours
    from kos_ray.model.protocol import Array, Submit  # noqa: PLC0415

    label, spec = _child_spec(function, parent, options)
    inputs: dict[str, int] = {}
    data = _pickled((args, dict(kwargs or {})), inputs, "arguments") if args or kwargs else b""
    parents = [one.job_id if isinstance(one, Child) else str(one) for one in after]
    said = repr((getattr(function, "__module__", ""), label, name, parents, list(inputs), sorted(options.items())))
    digest = hashlib.sha256(f"{parent_id}\0{number}\0{said}\0".encode() + data).hexdigest()
    array = Array(
        id=_uuid(parent_id, digest),
        count=-1,
        spec=spec_hash(spec),
        args=(payload_of(data, directory) if data else b"",),
        name=name,
        after=tuple((ref, int(After.OK)) for ref in parents),
        inputs=tuple(inputs),
    )
    return Submit(request_id=digest[:32], arrays=(array,), specs=((array.spec, spec),))


def _child_spec(function: Callable[..., Any] | Whom, parent: Spec, options: Mapping[str, Any]) -> tuple[str, Spec]:
    """What a child is called, and its template."""
    from kos_ray.spec.options import of_child  # noqa: PLC0415 - pydantic, only for jobs that have children

    if isinstance(function, Whom):
        template = of_child({"type": function.label, **options}, parent)
        whom = {"to": function.to} if isinstance(function.to, To) else {"receiver": function.to}
        spec = replace(template, **whom, entry=function.method, resources=Resources(), python=PYTHON)
        return f"{function.to}.{function.method}", spec
    label = getattr(function, "__name__", type(function).__name__)
    spec = replace(
        of_child({"type": "lambda" if label == "<lambda>" else label, **options}, parent),
        entry="",
        function=_pickled(function, None, f"function {label}"),
        code=parent.code,
        environment=parent.environment,
        python=PYTHON,
    )
    return label, spec


def _pickled(value: Any, inputs: dict[str, int] | None, what: str) -> bytes:
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, 5)
    pickler.inputs = inputs
    try:
        pickler.dump(value)
    except Exception as error:
        raise InvalidSpec(f"{what}: cannot be sent to another process: {error}") from error
    return buffer.getvalue()


def _uuid(parent_id: str, digest: str) -> str:
    """A UUIDv7 with its parent's clock: the same for the same digest."""
    clock = parent_id[:13] if len(parent_id) >= 36 else "00000000-0000"
    variant = "89ab"[int(digest[3], 16) & 3]
    return f"{clock}-7{digest[:3]}-{variant}{digest[4:7]}-{digest[7:19]}"


class Family:
    """Finds the children's handles through one client of this process, which is made when it is first needed."""

    def __init__(self, connect: Connect | None) -> None:
        self._connect = connect
        self._clients: dict[str, Any] = {}
        #: messages of an agent run in threads
        self._connecting = threading.Lock()

    def find(self, namespace: str, job_id: str) -> Any:
        """The handle that a client has of a job.

        Raises:
            KosError: this process is in no cluster.

        """
        return self.client(namespace).job(job_id)

    def client(self, namespace: str) -> Any:
        """A client of this process.

        Raises:
            KosError: this process is in no cluster.

        """
        if self._connect is None:
            raise KosError("this process is in no Ray cluster: nobody can be asked")
        with self._connecting:
            if namespace not in self._clients:
                self._clients[namespace] = self._connect(namespace)
            return self._clients[namespace]

    def close(self) -> None:
        """Let the clients go."""
        for client in self._clients.values():
            client.close()
