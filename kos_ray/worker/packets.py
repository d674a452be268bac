"""What a node agent and a slot say to each other. Small msgpack arrays: this is the hot path.

Two channels. The *line* is a Unix stream socket; msgpack values follow each other on it (msgpack delimits itself).
The *queue* is a SOCK_SEQPACKET pair that the agent makes; one packet is one attempt. The agent keeps both ends and
gives the slot a copy of the read end, so that the kernel holds what is `queued`: it hands each packet to exactly one
receiver, the slot (the attempt is `entered`) or the agent (it is recalled), without a round trip.

    line, slot to agent     (BOOTS, slot id, pid, ""), on a connection of its own, before it loads what takes time
                            (HELLO, slot id, pid, python version "3.11")
                            (ENDED, key, attempt, end, entered_us, ended_us, result, log start, log end, error), and
                            behind it the exit code of a command
                            (COMMAND, key, attempt, process group)
                            (PROGRESS, key, attempt, share in 1/10 000, text)
                            (CALL, key, attempt, number, what, body): answered when it is done
                            (READY, key, attempt): the agent that it carries takes messages from now on
                            (BEAT, key, attempt): the agent that it carries is alive, where somebody listens for that
    line, agent to slot     (WELCOME, {"node", "directory", "log", "code"}) with the queue's read end
                            (STOP, key, attempt, grace_ms, whether the job is then over)
                            (SAVE, key, attempt): the agent that it carries is to save its state
                            (LANE, slot id): connect one more lane, as a slot of that id
                            (ANSWER, number of the call, what went wrong or "", value)
    queue                   HEAD of (key, attempt), then (public id, spec name, args, inputs), and behind them the
                            payload of the last checkpoint where there is one, b"" before when it was due, if a
                            schedule made it (microseconds)
                            HEAD, then (file name,) where that would be larger than PACKET_MAX: the rest is in `inbox/`

The agent reads nothing but the head of a packet that it takes back. It has to: when both ends receive at the same
time, what the agent got is not always what stood last.

`error` is None or (type, message, traceback), and behind it when to try again (`AttemptError.again_ms`) and what an
agent lacks (`lacks`) where it says so. Log offsets are equal where the attempt printed nothing.
"""

import struct
from typing import Any, NamedTuple

import msgpack

HELLO = 0
ENDED = 1
COMMAND = 2
WELCOME = 3
STOP = 4
PROGRESS = 5
CALL = 6
ANSWER = 7
READY = 8
LANE = 9
BOOTS = 10
SAVE = 11
BEAT = 12

# What a call asks for, and its body.
CHECKPOINT = "checkpoint"  #: (number, payload), and behind them why, of an agent
UNSAVED = "unsaved"  #: (why an agent could not save its state when it was asked to,)
SUBMIT = "submit"  #: (a `Submit` as plain data,)
LEASE = "lease"  #: (), answered with the milliseconds for which exclusive work may go on, when there are any

#: key and attempt before every packet of the queue
HEAD = struct.Struct("<QI")

#: Larger packets are spilled to a file; what an unprivileged socket buffer (208 KiB) takes with room to spare.
PACKET_MAX = 128 * 1024

# Folders of a node directory.
SPECS = "specs"
BLOBS = "blobs"
OUTBOX = "outbox"
INBOX = "inbox"
CODE = "code"
LOGS = "logs"
SCRATCH = "scratch"
#: what members of gangs are told of theirs, as JSON, a file for each attempt
GANGS = "gangs"


class Welcome(NamedTuple):
    """What a slot is told when it connects. Paths are absolute; `code` is "" where there is no bundle."""

    node: str
    directory: str
    log: str
    code: str


_packer = msgpack.Packer(unicode_errors="replace")


def pack(message: tuple[Any, ...]) -> bytes:
    """One message as bytes; lone surrogates in texts become question marks."""
    return bytes(_packer.pack(message))


def unpack(data: bytes | bytearray | memoryview) -> tuple[Any, ...]:
    """The inverse of `pack`.

    Raises:
        ValueError: it is not one whole msgpack value.

    """
    message: tuple[Any, ...] = msgpack.unpackb(data, use_list=False)
    return message


def unpacker() -> Any:
    """A reader of the values that follow each other on a line: `feed(bytes)`, then iterate."""
    return msgpack.Unpacker(use_list=False)
