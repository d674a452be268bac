"""The delivery of results: into files, to webhooks, into mailboxes; the same content however often it is delivered.

What jobs return is not trusted here: it is read by a process of its own, with limits (`runtime/plain_results.py`).
"""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kos_ray.journal.blobs import FileBlobStore
from kos_ray.model.errors import NotFound, Refused
from kos_ray.model.job import Notify
from kos_ray.model.locks import NAME_MAX
from kos_ray.model.mailboxes import VALUE_MAX
from kos_ray.model.payload import BlobRef, open_payload
from kos_ray.model.templates import filled
from kos_ray.observe.results import Parcel
from kos_ray.observe.webhook import NotDelivered, deliver
from kos_ray.runtime import plain_results
from kos_ray.worker.results import describe_exit

FOLDER = "results"
#: bytes of a result that may go in a webhook, as a pickle and as JSON
_TOLD_MAX = 256 * 1024
#: bytes of a result that is written as anything but a pickle, likewise
_READ_MAX = 256 * 2**20
#: the program that reads results, and seconds that it may take, of the processor and on the wall
_READER = Path(plain_results.__file__)
_CPU_S, _READ_S = 60, 120
#: by these a process ends that a pickle has broken: such as by a depth that no stack holds
_BROKEN = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
_PICKLES = (".pkl", ".pickle")
#: bytes of what it says is wrong
_WORDS_MAX = 4_096
#: puts a message, `(id, value)`, into a mailbox of a namespace
Post = Callable[[str, str, str, bytes], None]


class Results:
    """Delivers parcels. `folders` are those besides its own below which files may be written."""

    def __init__(
        self, state_dir: Path, folders: Callable[[], tuple[str, ...]], secret: Callable[[Notify], str], post: Post
    ) -> None:
        self._own = state_dir / FOLDER
        self._folders = folders
        self._secret = secret
        self._post = post
        self._blobs = FileBlobStore(state_dir / "blobs", max_bytes=0)

    def deliver(self, entry_id: str, body: bytes) -> None:
        """Deliver one, as `observe.results` has packed it.

        Raises:
            NotDelivered: it was not taken; `final` where it never will be.

        """
        parcel: Parcel = pickle.loads(body)  # of our own file
        try:
            if parcel.sink.file:
                self._write(entry_id, parcel)
            elif parcel.sink.mailbox:
                self._put(entry_id, parcel)
            else:
                self._tell(entry_id, parcel)
        except NotFound as error:
            why = f"the result of {_job(parcel)} is not there any more: {error}"
            raise NotDelivered(why, final=True) from None

    def _write(self, entry_id: str, parcel: Parcel) -> None:
        path = self._path(parcel)
        path.parent.mkdir(parents=True, exist_ok=True)
        # the same at every try: what a kill has left goes with the next one
        partial = path.with_name(f".{entry_id}.part")
        partial.unlink(missing_ok=True)
        try:
            with partial.open("xb") as file:
                if path.suffix in _PICKLES:
                    self._copy(parcel.payload, file)
                else:
                    self._read(parcel, "file", _READ_MAX, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _path(self, parcel: Parcel) -> Path:
        data = parcel.event["data"]
        said = {name: str(data.get(name) or "").replace("/", "_") for name in ("id", "name", "type", "namespace")}
        said["name"] = said["name"] or said["id"]
        said["date"] = str(parcel.event["timestamp"])[:10]
        try:  # whoever submits without a document is checked nowhere else
            path = self._own / filled(parcel.sink.file, said)
            # links are followed: below them it is written where they lead to
            real = path.parent.resolve()
        except ValueError as error:
            raise NotDelivered(f"file: {error}; in {parcel.sink.file[:200]!r}", final=True) from None
        if real.is_relative_to(self._own.resolve()):
            return path
        roots = (self._own, *map(Path, self._folders()))
        if not any(real.is_relative_to(root.resolve()) for root in roots):
            allowed = ", ".join(map(str, roots))
            raise NotDelivered(
                f"file: expected a path below {allowed}, found {path}: see result_folders of the settings",
                final=True,
            )
        return path

    def _tell(self, entry_id: str, parcel: Parcel) -> None:
        value = json.loads(self._read(parcel, "json", _TOLD_MAX, subprocess.PIPE))
        event = {**parcel.event, "data": {**parcel.event["data"], "result": value}}
        body = json.dumps(event, ensure_ascii=False).encode()
        target = Notify(url=parcel.sink.url, secret_file=parcel.sink.secret_file)
        deliver(target, entry_id, body, self._secret(target), int(time.time()))

    def _put(self, entry_id: str, parcel: Parcel) -> None:
        if len(parcel.sink.mailbox) > NAME_MAX:
            why = f"mailbox: expected a name of 1 to {NAME_MAX} signs, found {len(parcel.sink.mailbox)}"
            raise NotDelivered(why, final=True)
        opened = open_payload(parcel.payload)
        if isinstance(opened, BlobRef) or (opened and len(opened) > VALUE_MAX):
            why = f"mailbox {parcel.sink.mailbox}: expected a result of {VALUE_MAX} bytes at most"
            raise NotDelivered(why, final=True)
        value = pickle.dumps(None, protocol=5) if opened is None else opened
        try:
            self._post(parcel.namespace, parcel.sink.mailbox, entry_id, value)
        except Refused as error:
            raise NotDelivered(str(error)) from None

    def _read(self, parcel: Parcel, form: str, most: int, out: Any) -> bytes:
        """Have the plain data written that a result is, in a form and in so many bytes at most; what came by a pipe."""
        opened = open_payload(parcel.payload)
        size = opened.size if isinstance(opened, BlobRef) else len(opened or b"")
        if size > most:
            raise _never(parcel, f"has {size} bytes, {most} at most")
        if not isinstance(opened, BlobRef):
            return _read_by_another(parcel, form, most, out, input=opened or pickle.dumps(None))
        with self._blobs.open(opened.hash, verify=True) as blob:
            return _read_by_another(parcel, form, most, out, stdin=blob)

    def _copy(self, payload: bytes, file: Any) -> None:
        opened = open_payload(payload)
        if not isinstance(opened, BlobRef):
            file.write(pickle.dumps(None, protocol=5) if opened is None else opened)
            return
        with self._blobs.open(opened.hash, verify=True) as blob:
            while chunk := blob.read(1 << 20):
                file.write(chunk)


def _read_by_another(parcel: Parcel, form: str, most: int, out: Any, **given: Any) -> bytes:
    """See `Results._read`; `given` is what `subprocess.run` is to give it."""
    command = [sys.executable, "-I", str(_READER), form, str(most), str(_CPU_S)]
    try:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, timeout=_READ_S, check=False, **given)
    except subprocess.TimeoutExpired:  # perhaps the machine has no time: it is tried again
        raise NotDelivered(f"the result of {_job(parcel)} was not read within {_READ_S:g} s") from None
    if not done.returncode:
        return done.stdout or b""
    told = done.stderr[-_WORDS_MAX:].decode(errors="replace")
    if done.returncode == plain_results.REFUSED:
        raise _never(parcel, told)
    if -done.returncode == signal.SIGXCPU:
        raise _never(parcel, f"takes more than {_CPU_S} s of processor time when it is read")
    ended = describe_exit(done.returncode)
    if -done.returncode in _BROKEN:
        raise _never(parcel, f"cannot be read (the process that did {ended})")
    last = "".join(told.strip().splitlines()[-1:])
    raise NotDelivered(f"the result of {_job(parcel)} was not read: the process that did {ended}: {last}")


def _job(parcel: Parcel) -> str:
    data = parcel.event["data"]
    return f"job {data['name'] or data['id']}"


def _never(parcel: Parcel, why: str) -> NotDelivered:
    return NotDelivered(f"the result of {_job(parcel)} {why}: {plain_results.INSTEAD}", final=True)
