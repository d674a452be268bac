"""The delivery of results: into files, to webhooks, into mailboxes; the same content however often it is delivered.

What jobs return is not trusted here: of a pickle only plain data is read, and no code of it runs.
"""

import io
import json
import os
import pickle
import time
from collections.abc import Callable, Iterator
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

FOLDER = "results"
#: bytes of a result that may go in a webhook, as a pickle and as JSON
_TOLD_MAX = 256 * 1024
#: bytes of a result that is written as anything but a pickle, likewise
_READ_MAX = 256 * 2**20
_INSTEAD = "send it to an agent, or to a file that ends with .pkl"
_PICKLES = (".pkl", ".pickle")
#: what may stand in plain data besides what pickle knows by itself
_PLAIN = frozenset({("datetime", "datetime"), ("datetime", "date"), ("datetime", "time"), ("datetime", "timedelta")})
_PLAIN |= {("datetime", "timezone"), ("decimal", "Decimal"), ("uuid", "UUID"), ("collections", "OrderedDict")}

#: puts a message, `(id, value)`, into a mailbox of a namespace
Post = Callable[[str, str, str, bytes], None]


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PLAIN:
            raise NotDelivered(f"its result holds a {module}.{name}, expected what JSON has: {_INSTEAD}", final=True)
        return super().find_class(module, name)


class _Json(json.JSONEncoder):
    """JSON of at most `most` bytes: of a value that holds another one many times it may be far more than its pickle.

    What stands in sets is written twice, once for its order.
    """

    def __init__(self, most: int, indent: int | None = None) -> None:
        super().__init__(ensure_ascii=False, allow_nan=False, indent=indent)
        self._most = self._left = most

    def pieces(self, value: Any) -> Iterator[bytes]:
        """A value piece by piece, none of which is kept here.

        Raises:
            NotDelivered: for good: it is too large, or JSON has no such thing: keys that are tuples, NaN, a depth.

        """
        try:
            for piece in self.iterencode(value):
                data = piece.encode()
                self._left -= len(data)
                if self._left < 0:
                    why = f"its result has more than {self._most} bytes as JSON: {_INSTEAD}"
                    raise NotDelivered(why, final=True)
                yield data
        except (TypeError, ValueError, RecursionError) as error:
            why = f"its result cannot be written as JSON ({type(error).__name__}: {error}): {_INSTEAD}"
            raise NotDelivered(why, final=True) from None

    def default(self, o: Any) -> Any:
        """What JSON has not: sets as lists, bytes and instants as text."""
        if isinstance(o, set | frozenset):
            return sorted(o, key=lambda one: b"".join(self.pieces(one)))
        if isinstance(o, bytes | bytearray):
            return o.decode(errors="backslashreplace")
        return str(o)


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
            raise NotDelivered(f"its result is not there any more: {error}", final=True) from None

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
                    file.writelines(_as_file(self._value(parcel.payload, _READ_MAX)))
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
        value = self._value(parcel.payload, _TOLD_MAX)
        event = {**parcel.event, "data": {**parcel.event["data"], "result": value}}
        body = b"".join(_Json(_TOLD_MAX + len(json.dumps(parcel.event))).pieces(event))
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

    def _value(self, payload: bytes, most: int) -> Any:
        """The plain data that a result is."""
        opened = open_payload(payload)
        if opened is None:
            return None
        size = opened.size if isinstance(opened, BlobRef) else len(opened)
        if size > most:
            raise NotDelivered(f"its result has {size} bytes, {most} at most: {_INSTEAD}", final=True)
        data = self._blobs.read(opened.hash) if isinstance(opened, BlobRef) else opened
        return _Reader(io.BytesIO(data)).load()

    def _copy(self, payload: bytes, file: Any) -> None:
        opened = open_payload(payload)
        if not isinstance(opened, BlobRef):
            file.write(pickle.dumps(None, protocol=5) if opened is None else opened)
            return
        with self._blobs.open(opened.hash, verify=True) as blob:
            while chunk := blob.read(1 << 20):
                file.write(chunk)


def _as_file(value: Any) -> Iterator[bytes]:
    """Bytes and texts as they are, anything else as JSON.

    Raises:
        NotDelivered: see `_Json.pieces`.

    """
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, str):
        try:
            yield value.encode()
        except ValueError as error:  # half of a surrogate pair
            raise NotDelivered(f"its result cannot be written as a text ({error}): {_INSTEAD}", final=True) from None
    else:
        yield from _Json(_READ_MAX, indent=1).pieces(value)
        yield b"\n"
