"""A cluster without processes: it accepts what is valid, runs it when asked, and answers polls."""

import io
import pickle
import threading
from collections import defaultdict
from typing import Any

import msgpack

from kos_ray.client.client import Client
from kos_ray.model import payload
from kos_ray.model.errors import NotFound
from kos_ray.model.job import JobState, Spec
from kos_ray.model.protocol import Accepted, Array, Outcomes, Singles, Submit
from kos_ray.model.views import JobView
from kos_ray.model.wire import from_plain, to_plain
from kos_ray.worker.results import describe, pack_exception


def as_arrays(singles: Singles | None) -> list[Array]:
    """The same jobs, each as an array of its own."""
    if singles is None:
        return []
    return [
        Array(id=id_, count=-1, spec=singles.hashes[spec], args=(args,))
        for id_, spec, args in zip(singles.ids, singles.specs, singles.args, strict=True)
    ]


class FakeCluster:
    """Runs each job at its submission, in the submitting thread, unless `running` is False: then at `run_all`."""

    def __init__(self, *, running: bool = True) -> None:
        self.running = running
        self.requests: list[Submit] = []
        self.specs: dict[str, Spec] = {}
        self.ids: dict[str, range] = {}
        self.jobs: dict[int, tuple[str, Any, bytes]] = {}
        self.values: dict[int, Any] = {}
        self.states: dict[int, JobState] = {}
        self.refuse = ""
        self.blobs: dict[str, bytes] = {}
        #: what each session is still to be told, and the sessions that are to be told of a job
        self._pending: dict[str, list[tuple[int, bytes, Any]]] = defaultdict(list)
        self._watching: dict[int, set[str]] = defaultdict(set)
        self._ends: dict[int, tuple[int, bytes, Any]] = {}
        #: jobs whose outcomes were asked for besides those that were submitted
        self.watched: list[int] = []
        self._arrived = threading.Condition()
        self._number = 0

    def client(self) -> Client:
        return Client(_FakeConnection(self), "default")  # type: ignore[arg-type]

    # --- what the scheduler does

    def submit(self, data: bytes) -> bytes:
        request = from_plain(Submit, msgpack.unpackb(data, use_list=False))
        if self.refuse:
            return _pack(Accepted(refused=self.refuse))
        self.requests.append(request)
        self.specs.update(request.specs)
        first = key = len(self.jobs) + 1
        for array in (*request.arrays, *as_arrays(request.singles)):
            count = abs(array.count)
            assert len(array.args) == count
            self.ids[array.id] = range(key, key + count)
            if array.name:
                self.ids[array.name] = self.ids[array.id]
            for args in array.args:
                self.jobs[key] = (array.spec, array, args)
                self.states[key] = JobState.READY
                self._watching[key].add(request.watcher)
                key += 1
        if self.running:
            self.run_all()
        return _pack(Accepted(first=first, job_count=key - first))

    def run_all(self) -> None:
        for key, (spec, array, args) in self.jobs.items():
            if self.states[key] is JobState.READY:
                self._run(key, self.specs[spec], array, args)

    def _run(self, key: int, spec: Spec, array: Any, args: bytes) -> None:
        try:
            positional, named = self._arguments(array, args)
            self.values[key] = pickle.loads(spec.function)(*positional, **named)
        except Exception as error:  # noqa: BLE001 - jobs raise what they like
            self.finish(key, JobState.FAILED, pack_exception(error), describe(error))
        else:
            self.finish(key, JobState.SUCCEEDED, payload.inline(pickle.dumps(self.values[key])), None)

    def _arguments(self, array: Any, args: bytes) -> tuple[Any, Any]:
        data = payload.open_payload(args)
        if data is None:
            return (), {}
        assert isinstance(data, bytes)
        cluster = self

        class Load(pickle.Unpickler):
            def persistent_load(self, pid: tuple[str, int]) -> Any:
                keys = cluster.ids[array.inputs[pid[1]]]
                values = [cluster.values[key] for key in keys]
                return values if cluster.jobs[keys[0]][1].count > 0 else values[0]

        return Load(io.BytesIO(data)).load()  # type: ignore[no-any-return]

    def finish(self, key: int, state: JobState, result: bytes, error: Any) -> None:
        with self._arrived:
            self.states[key] = state
            self._ends[key] = (key, result, error)
            for session in self._watching[key]:
                self._pending[session].append(self._ends[key])
            self._arrived.notify_all()

    def poll(self, session: str, epoch: int, acked: int, _timeout: float) -> bytes:
        if epoch != 1:
            return _pack(Outcomes(number=0, epoch=1))
        with self._arrived:
            self._arrived.wait_for(lambda: self._pending[session], 0.2)
            taken = self._pending.pop(session)
        errors = tuple((i, *error) for i, (_, _, error) in enumerate(taken) if error)
        states = tuple(int(self.states[key]) for key, _, _ in taken)
        keys, results = tuple(key for key, _, _ in taken), tuple(result for _, result, _ in taken)
        number = acked + 1 if taken else 0
        return _pack(
            Outcomes(
                number=number,
                epoch=1,
                keys=keys,
                states=states,
                reasons=(0,) * len(keys),
                results=results,
                errors=errors,
            )
        )

    def want(self, data: bytes) -> int:
        kind, event = msgpack.unpackb(data, use_list=False)
        assert kind == "CancelRequested"
        live = [key for key in event["keys"] if not self.states[key].final]
        for key in live:
            self.finish(key, JobState.CANCELLED, b"", None)
        return len(live)

    def watch(self, session: str, keys: list[int]) -> int:
        with self._arrived:
            self.watched += keys
            for key in keys:
                self._watching[key].add(session)
            self._pending[session] += [self._ends[key] for key in keys if key in self._ends]
            self._arrived.notify_all()
        return 1

    def close_session(self, _session: str) -> None: ...

    # --- what the reader does

    def views(self, keys: list[int]) -> list[JobView]:
        ids = {key: ref for ref, keys_ in self.ids.items() for key in keys_}
        return [JobView(id=ids[key], key=key, state=self.states[key].name.lower()) for key in keys]  # type: ignore[arg-type]

    def resolve(self, _namespace: str, refs: list[str]) -> list[tuple[int, int]]:
        for ref in refs:
            if ref not in self.ids:
                raise NotFound(ref)
        return [(self.ids[ref][0], self.jobs[self.ids[ref][0]][1].count) for ref in refs]

    def blob_put(self, data: bytes) -> None:
        self.blobs[str(len(self.blobs))] = data


class _FakeConnection:
    address = "fake"

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    def ask_scheduler(self, method: str, *args: Any) -> Any:
        return getattr(self._cluster, method)(*args)

    def ask_reader(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._cluster, method)(*args, **kwargs)

    def tell_scheduler(self, method: str, *args: Any) -> None:
        getattr(self._cluster, method)(*args)


def _pack(message: Any) -> bytes:
    return msgpack.packb(to_plain(message))  # type: ignore[no-any-return]
