"""User code in a virtual world: what an attempt does when it is entered, and who is told what slots saw of it."""

import json
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from kos_ray.model.job import AttemptEnd, SlotKind, Spec
from kos_ray.model.payload import open_payload

Inputs = tuple[bytes | tuple[bytes, ...], ...]


class Fate(Enum):
    """What user code does when it is entered."""

    SUCCEED = "succeed"
    FAIL = "fail"
    CRASH = "crash"
    HANG = "hang"
    UNPREPARED = "unprepared"  #: it cannot even be brought up
    STARVE = "starve"  #: its process is killed for want of memory
    DECLINE = "decline"  #: an agent does not handle this message


@dataclass(frozen=True, slots=True)
class Run:
    """One entry into a job's code. What hangs ends when it is asked to, or killed; `run_us` is not looked at."""

    fate: Fate
    run_us: int = 0
    #: how often it looks whether it is asked to stop, to end then; 0 for never
    looks_us: int = 0
    #: it is killed where it holds less memory, in 1/10 000 bytes
    memory: int = 0
    #: type and message of what it raises, if the job has an opinion on it
    error: tuple[str, str] | None = None
    #: of what declines: never again (-1), or not for so many milliseconds
    again_ms: int = -1


class Lives:
    """Who is told what becomes of agents in their processes. `job` and `number` are the carrier and its attempt."""

    def began(self, job: str, number: int, machine: str, restored: bytes) -> None:
        """A life began, with the state that it was handed, b"" for none."""

    def did(self, job: str, number: int, message: str, attempt: int) -> None:
        """A message took effect."""

    def knew(self, job: str, message: str, attempt: int) -> None:
        """A message came again whose effect was saved: it was answered with the result that it had."""

    def saves(self, job: str, number: int, save: int, payload: bytes) -> None:
        """A state was given to the node agent, to be stored."""

    def kept(self, job: str, number: int, save: int, *, stored: bool) -> None:
        """The scheduler has said of a save that it is stored, or that it was refused."""

    def gone(self, job: str, number: int) -> None:
        """The process of a life is no more."""


class UserCode(Protocol):
    """The code of all jobs: what a fake agent cannot know by itself. Jobs are named by their public ids."""

    @property
    def lives(self) -> Lives:
        """Who is told of agents."""
        ...

    def launched(self, job: str, number: int, spec: Spec | None, args: bytes, kind: SlotKind) -> bool:
        """An agent took an attempt in; False when its code cannot be brought up."""
        ...

    def entered(self, job: str, number: int, inputs: Inputs, machine: str, pid: int) -> Run:
        """A slot, the process `pid` of a machine, enters a job's code; what that does."""
        ...

    def ended(self, job: str, number: int, machine: str, end: AttemptEnd, result: bytes) -> None:
        """An agent saw an attempt end."""
        ...

    def vanished(self, job: str, number: int) -> None:
        """The process of an attempt is gone with its agent: nobody will hear how it ended."""
        ...


def saved_state(payload: bytes) -> tuple[tuple[str, ...], dict[str, str]]:
    """What is in a save: the messages that took effect, and the results of the last of them; nothing of b""."""
    data = open_payload(payload)
    if not isinstance(data, bytes):
        return (), {}
    done, handled = json.loads(data)
    return tuple(done), handled
