"""Jobs that say and ask something while they run. Where they wait, they wait for a file of the test's."""

import os
import signal
import time
from pathlib import Path

import kos_ray as kos


def until(path: Path) -> None:
    """Wait for a file."""
    while not path.exists():
        time.sleep(0.01)


def half_way(folder: str) -> str:
    """Say half of it, and finish when the test has seen it."""
    kos.context().progress(0.5, "epoch 5 of 10")
    until(Path(folder) / "seen")
    return "done"


def in_steps(folder: str, how: str) -> list[int]:
    """Three steps, each saved; after the second one, in its first attempt, it fails in the way that is asked for."""
    context = kos.context()
    done: list[int] = list(context.restored or [])
    while len(done) < 3:
        done.append(context.attempt)
        context.checkpoint(done)
        if len(done) == 2 and context.attempt == 1:
            (Path(folder) / "saved").touch()
            if how == "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "stop":
                until_asked(folder)
                return done
            until(Path(folder) / "fail")
            raise ValueError("after its second step")
    return done


def until_asked(folder: str) -> None:
    """Run until somebody wants it to stop, and save that."""
    while not kos.context().should_stop():
        time.sleep(0.01)
    kos.context().checkpoint(["stopped", "here"])


def stalls_once(folder: str) -> str:
    """Say something and then nothing, until asked to stop; in the next attempt go on for longer than the timeout."""
    context = kos.context()
    for step in range(30):
        context.progress(0.5, "the same as before")
        time.sleep(0.1)
        if step == 2 and context.attempt == 1:
            until_asked(folder)
            return "stalled"
    return "went on"


def speak(folder: str) -> None:
    """Print a line, and more when the test has seen it."""
    print(f"hello from {kos.context().job_id}")
    until(Path(folder) / "seen")
    print("goodbye é")


def square(folder: str, number: int) -> int:
    """A child that leaves a trace of each entry."""
    with (Path(folder) / f"square-{number}").open("a") as trace:
        trace.write(f"{kos.context().job_id}\n")
    return number * number


def total(numbers: list[int]) -> int:
    """A child of children's results."""
    return sum(numbers)


def parent(folder: str) -> tuple[list[str], int]:
    """Submit three children and one that sums them up; fail once they are handed over; then wait for the sum."""
    context = kos.context()
    squares = [context.submit(square, folder, number, resources={"cpu": 0}) for number in range(3)]
    last = context.submit(total, squares, resources={"cpu": 0}, name="total", tags=("sum",))
    if context.attempt == 1:
        raise ValueError("after its children")
    return [child.job_id for child in (*squares, last)], last.result(60)
