"""The first words of a slot: its process is there. What it loads before it can work may take long on a cold machine."""

import contextlib
import os
import socket

from kos_ray.model.failpoints import reach
from kos_ray.worker import failpoint
from kos_ray.worker.packets import BOOTS, pack


def boots(socket_path: str, slot_id: str) -> None:
    """Tell the node agent that the slot has its room and a process; call it before anything that takes time."""
    failpoint.arm()
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.connect(socket_path)
        stream.sendall(pack((BOOTS, slot_id, os.getpid(), "")))
    reach("slot.boots")
