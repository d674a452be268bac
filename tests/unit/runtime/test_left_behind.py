"""What dead agents left running: ended by exactly what was noted of it."""

import os
import subprocess
from pathlib import Path

from kos_ray.runtime.agent.left_behind import PROCESSES, SLOT, Noted, end_left_behind, started_at


def sleeper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sleep", "1000"], start_new_session=True)


def test_what_still_runs_is_ended_and_nobody_who_got_its_number(tmp_path: Path) -> None:
    slot, command, ended, stranger = sleeper(), sleeper(), sleeper(), sleeper()
    try:
        noted = Noted(tmp_path)
        noted.slot(slot.pid)
        noted.command(command.pid)
        noted.slot(ended.pid)
        noted.forget(ended.pid)
        noted.forget(7)
        # the number was another process's when it was noted
        started = started_at(stranger.pid)
        assert started is not None
        (tmp_path / PROCESSES / f"{SLOT}-{stranger.pid}-{int(started) - 1}").touch()
        told = end_left_behind([tmp_path, tmp_path / "none"])
        assert sorted(told) == sorted([f"slot (process {slot.pid})", f"command (process {command.pid})"])
        assert [process.wait(10) for process in (slot, command)] == [-9, -9]
        assert [process.poll() for process in (ended, stranger)] == [None, None]
        assert list((tmp_path / PROCESSES).iterdir()) == []
        assert end_left_behind([tmp_path]) == ()
    finally:
        for process in (slot, command, ended, stranger):
            process.kill()
            process.wait()


def test_the_whole_group_of_a_command_ends(tmp_path: Path) -> None:
    told, tells = os.pipe()
    command = subprocess.Popen(["sh", "-c", "sleep 1000 & wait"], start_new_session=True, pass_fds=[tells])
    os.close(tells)
    Noted(tmp_path).command(command.pid)
    end_left_behind([tmp_path])
    assert command.wait(10) == -9
    with os.fdopen(told, "rb") as pipe:
        assert pipe.read() == b"", "nobody holds its other end any more"


def test_a_process_that_is_not_there_is_not_noted(tmp_path: Path) -> None:
    ended = sleeper()
    ended.kill()
    ended.wait()
    Noted(tmp_path).slot(ended.pid)
    assert not (tmp_path / PROCESSES).exists()
    assert started_at(1) is None or os.getuid() == 0
