"""What attempts have printed, wherever it is: on its node while it runs, on its node or in a blob after its end."""

import time
from typing import TYPE_CHECKING

from kos_ray.model.errors import ClusterUnreachable, NotFound, Refused
from kos_ray.model.ids import JobKey
from kos_ray.model.views import AttemptView

if TYPE_CHECKING:
    from kos_ray.client.client import Client

#: bytes of one message
_PORTION = 4 * 2**20
#: an attempt has ended at its node, or its log has moved, and the journal hears of it in a moment: seconds that this is
#: waited for, and between two looks
_SETTLES_S = 5.0
_PAUSE_S = 0.02


def printed(client: "Client", key: JobKey, attempt: int | None, start: int = 0) -> bytes:
    """What an attempt (None: the last one) has printed so far, from byte `start` on.

    Raises:
        NotFound: there is no such attempt.
        ClusterUnreachable: its node is gone, and its log had not been stored.

    """
    deadline = time.monotonic() + _SETTLES_S
    while True:
        view = _view(client, key, attempt)
        try:
            found = _stored(client, view, start) if view.end else _running(client, view, key, start)
        except NotFound:
            found = None
        if found is not None or time.monotonic() > deadline:
            return found or b""
        time.sleep(_PAUSE_S)


def _view(client: "Client", key: JobKey, attempt: int | None) -> AttemptView:
    attempts = [view for view in client._attempts(key) if attempt in (None, view.attempt)]
    if not attempts:
        raise NotFound(f"the job has no attempt {attempt}" if attempt else "the job has not been started yet")
    return attempts[-1]


def _stored(client: "Client", view: AttemptView, start: int) -> bytes:
    """Of an attempt that has ended: the journal says where its output is."""
    begin = view.log_start + start
    if not view.log or begin >= view.log_end:
        return b""
    if view.log_blob:
        try:
            return bytes(client._ask("blob_read", view.log_blob, begin, view.log_end - begin))
        except NotFound:
            raise Refused(f"the log of attempt {view.attempt} was removed (`log_retention_days`)") from None
    return client._connection.read_log(view.node, view.log, begin, view.log_end)


def _running(client: "Client", view: AttemptView, key: JobKey, start: int) -> bytes | None:
    """Of an attempt that runs: its node agent knows. None: not any more; b"" also where the node does not answer."""
    found = b""
    while True:
        try:
            portion = client._connection.tail(view.node, key, view.attempt, start + len(found), _PORTION)
        except ClusterUnreachable:
            return found
        if portion is None:
            return None
        found += portion
        if len(portion) < _PORTION:
            return found
