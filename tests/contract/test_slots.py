"""What only real slots show: arguments, results, commands, logs, processes."""

import asyncio
import contextlib
import dataclasses
import hashlib
import io
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from kos_ray.model.events import AttemptsEnded, LogsStored
from kos_ray.model.ids import JobKey, SpecKey
from kos_ray.model.job import AttemptEnd, Spec
from kos_ray.model.payload import INLINE_LIMIT, BlobRef, inline, open_payload, referring
from kos_ray.model.protocol import LaunchOrder
from kos_ray.worker import context, failpoint
from tests.contract.harness import Does
from tests.contract.real_agent import RealAgent

Story = Callable[[RealAgent], Awaitable[None]]


@pytest.fixture
def tell(tmp_path: Path) -> Callable[..., None]:
    def run(story: Story, **limits: int) -> None:
        RealAgent.run(story, tmp_path, **limits)

    return run


def function(call: Callable[..., Any], **fields: Any) -> Spec:
    return Spec(function=cloudpickle.dumps(call), **fields)


class _InputAt:
    def __init__(self, position: int) -> None:
        self.position = position


class _Pickler(cloudpickle.Pickler):
    def persistent_id(self, obj: object) -> object:
        return ("input", obj.position) if isinstance(obj, _InputAt) else None


def arguments(*args: object, **named: object) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=5).dump((args, named))
    return inline(buffer.getvalue())


async def outcome(
    agent: RealAgent, spec: Spec, args: bytes = b"", inputs: tuple[Any, ...] = (), *, key: int = 1, spec_key: int = 1
) -> tuple[AttemptsEnded, int]:
    """Run one job to its end; the event and the job's index in it."""
    launch(agent, spec, args, inputs, key=key, spec_key=spec_key)
    await agent.until_ended(key)
    return found(agent, key)


def launch(
    agent: RealAgent, spec: Spec, args: bytes = b"", inputs: tuple[Any, ...] = (), *, key: int = 1, spec_key: int = 1
) -> None:
    order = LaunchOrder(
        kind=spec.slot_kind,
        slots=1,
        keys=(JobKey(key),),
        attempts=(1,),
        ranks=(3,),
        specs=(SpecKey(spec_key),),
        ids=(f"job-{key}",),
        args=(args,),
        inputs=((0, inputs),) if inputs else (),
    )
    agent.receive(agent.orders(new_specs=((SpecKey(spec_key), spec),), launches=(order,)))


def found(agent: RealAgent, key: int) -> tuple[AttemptsEnded, int]:
    for report in agent.unique_reports():
        for ended in report.ended:
            if key in ended.keys:
                return ended, ended.keys.index(JobKey(key))
    raise AssertionError(f"job {key} has not ended")


async def value(agent: RealAgent, *args: Any, **named: Any) -> Any:
    """Run one job that succeeds; its result."""
    ended, i = await outcome(agent, *args, **named)
    assert AttemptEnd(ended.ends[i]) is AttemptEnd.SUCCEEDED, ended.errors
    payload = open_payload(ended.results[i])
    data = (agent.blobs.folder / payload.hash).read_bytes() if isinstance(payload, BlobRef) else payload
    return pickle.loads(data or b"")


async def failure(agent: RealAgent, *args: Any, **named: Any) -> tuple[AttemptEnd, str, str, str]:
    """Run one job that does not succeed; how it ended, and its error."""
    ended, i = await outcome(agent, *args, **named)
    (error,) = [error for error in ended.errors if error.index == i]
    return AttemptEnd(ended.ends[i]), error.type, error.message, error.traceback


# ---- arguments and results


def test_arguments_results_and_times(tell):
    async def story(agent: RealAgent) -> None:
        before = time.time_ns() // 1000
        spec = function(lambda a, b: {"sum": a + b})
        assert await value(agent, spec, arguments(1, b=2)) == {"sum": 3}
        ended, i = found(agent, 1)
        assert before <= ended.entered_us[i] <= ended.ended_us[i] <= time.time_ns() // 1000
        assert ended.pids[i] == agent.starter.slots[0].process.pid
        assert ended.logs == ()

    tell(story)


def test_inputs_stand_where_the_arguments_name_them(tell):
    async def story(agent: RealAgent) -> None:
        def join(first: object, rest: object, *, nested: dict[str, object]) -> object:
            return [first, rest, nested]

        one = inline(pickle.dumps("one"))
        big = pickle.dumps("x" * 200_000)
        ref = BlobRef(hashlib.sha256(big).hexdigest(), len(big))
        (agent.blobs.folder / ref.hash).write_bytes(big)
        args = arguments(_InputAt(0), _InputAt(1), nested={"k": _InputAt(2)})
        inputs = (one, (one, b"", referring(ref)), referring(ref))
        found = await value(agent, function(join), args, inputs)
        assert found == ["one", ["one", None, "x" * 200_000], {"k": "x" * 200_000}]
        assert agent.blobs.calls.count(("fetch", ref.hash)) == 1

    tell(story)


def test_arguments_may_be_a_blob(tell):
    async def story(agent: RealAgent) -> None:
        data = pickle.dumps((("y" * 100_000,), {}))
        ref = BlobRef(hashlib.sha256(data).hexdigest(), len(data))
        (agent.blobs.folder / ref.hash).write_bytes(data)
        assert await value(agent, function(len), referring(ref)) == 100_000

    tell(story)


def test_inputs_larger_than_a_packet_are_spilled(tell):
    async def story(agent: RealAgent) -> None:
        inputs = tuple(inline(pickle.dumps(bytes([i]) * 60_000)) for i in range(20))
        args = arguments([_InputAt(i) for i in range(20)])
        spec = function(lambda parts: sum(len(part) for part in parts))
        assert await value(agent, spec, args, inputs) == 1_200_000
        assert list((agent.folder / "node" / "inbox").iterdir()) == []

    tell(story)


def test_a_large_result_is_stored_before_it_is_reported(tell):
    async def story(agent: RealAgent) -> None:
        agent.blobs.failing = True
        spec = function(lambda: b"z" * (INLINE_LIMIT + 1))
        launch(agent, spec)
        await agent.wait_for(lambda: len(agent.blobs.calls) >= 2, "two tries to store it")
        assert agent.greet(session=1).entered == (1,)
        assert agent.ends() == {}
        agent.blobs.failing = False
        await agent.until_ended(1)
        assert await value(agent, spec, key=2) == b"z" * (INLINE_LIMIT + 1)
        assert agent.ends()[1, 1] is AttemptEnd.SUCCEEDED
        assert list((agent.folder / "node" / "outbox").iterdir()) == []

    tell(story)


def test_many_jobs_with_the_same_large_result(tell):
    async def story(agent: RealAgent) -> None:
        spec = function(lambda: b"z" * (INLINE_LIMIT + 1))
        for key in range(1, 41):
            launch(agent, spec, key=key)
        await agent.until_ended(*range(1, 41))
        assert set(agent.ends().values()) == {AttemptEnd.SUCCEEDED}

    tell(story)


def test_blobs_that_cannot_be_fetched_leave_the_attempt_unprepared(tell):
    async def story(agent: RealAgent) -> None:
        end, kind, message, _ = await failure(agent, function(len), referring(BlobRef("ab" * 32, 5)))
        assert (end, kind) == (AttemptEnd.UNPREPARED, "FileNotFoundError")
        assert "could not be brought to the node" in message

    tell(story)


@pytest.mark.parametrize(
    ("spec", "args", "error"),
    [
        (Spec(function=b"not a pickle"), b"", "UnpicklingError"),
        (Spec(entry="no_such_module:f"), b"", "ModuleNotFoundError"),
        (Spec(entry="os:no_such_name"), b"", "AttributeError"),
        (Spec(entry="os"), b"", "ValueError"),
        (function(len), inline(b"garbage"), "UnpicklingError"),
        (function(len, python="2.7"), b"", "RuntimeError"),
        (Spec(command=("/no/such/program",)), b"", "CommandNotFound"),
        (Spec(command=("no-such-program",)), b"", "CommandNotFound"),
        (Spec(command=("/",)), b"", "CommandNotAllowed"),
    ],
)
def test_what_cannot_be_loaded_is_unprepared(tell, spec, args, error):
    async def story(agent: RealAgent) -> None:
        end, kind, _, _ = await failure(agent, spec, args)
        assert end is AttemptEnd.UNPREPARED
        assert kind.split(".")[-1] == error

    tell(story)


def test_an_unknown_spec_is_unprepared(tell):
    async def story(agent: RealAgent) -> None:
        launch(agent, function(len), key=1, spec_key=1)
        order = agent.order(function(len), 2)
        agent.receive(type(order)(cluster_id=order.cluster_id, epoch=1, launches=(_with_spec(order.launches[0], 7),)))
        await agent.until_ended(2)
        assert agent.end_of(2) is AttemptEnd.UNPREPARED

    tell(story)


def _with_spec(order: LaunchOrder, spec_key: int) -> LaunchOrder:
    return dataclasses.replace(order, specs=(SpecKey(spec_key),))


def test_a_spec_key_that_comes_back_with_another_content_is_another_spec(tell):
    async def story(agent: RealAgent) -> None:
        assert await value(agent, function(lambda: "old"), key=1) == "old"
        assert await value(agent, function(lambda: "new"), key=2) == "new"

    tell(story)


def test_errors_of_user_code(tell):
    async def story(agent: RealAgent) -> None:
        def fails() -> None:
            raise KeyError("who") from ValueError("why \udcff")

        end, kind, message, traceback = await failure(agent, function(fails))
        assert (end, kind, message) == (AttemptEnd.FAILED, "KeyError", "'who'")
        assert "in fails" in traceback
        assert "why" in traceback
        assert "slot.py" not in traceback
        assert (await failure(agent, function(sys.exit), arguments(3), key=2, spec_key=2))[:2] == (
            AttemptEnd.FAILED,
            "SystemExit",
        )
        end, kind, message, _ = await failure(agent, function(sys._getframe), key=3, spec_key=3)
        assert (end, kind) == (AttemptEnd.FAILED, "Unpicklable")
        assert "frame" in message
        assert len(agent.starter.slots) == 1

    tell(story)


def test_a_crash_says_how_the_process_ended_and_keeps_its_log(tell):
    async def story(agent: RealAgent) -> None:
        def dies() -> None:
            print("last words", flush=True)
            context().scratch.joinpath("litter").touch()
            os.kill(os.getpid(), signal.SIGSEGV)

        end, kind, message, _ = await failure(agent, function(dies))
        assert (end, kind) == (AttemptEnd.CRASHED, "Crashed")
        assert "SIGSEGV" in message
        ended, i = found(agent, 1)
        ((index, file, start, stop),) = ended.logs
        assert index == i
        await agent.wait_for(lambda: stored_logs(agent) != [], "the log to be stored")
        (stored,) = stored_logs(agent)
        assert stored.file == file
        assert (agent.blobs.folder / stored.blob).read_bytes()[start:stop] == b"last words\n"
        assert list((agent.folder / "node" / "scratch").iterdir()) == []

    tell(story)


def test_what_no_slot_says_ends_the_attempt(tell):
    async def story(agent: RealAgent) -> None:
        def chatter() -> None:
            for path in Path("/proc/self/fd").iterdir():
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(path.name))) as found:
                    if found.family == socket.AF_UNIX and found.type == socket.SOCK_STREAM:
                        found.send(b"hello")

        assert (await failure(agent, function(chatter)))[0] is AttemptEnd.CRASHED
        assert await value(agent, function(len), arguments("abc"), key=2, spec_key=2) == 3

    tell(story)


def stored_logs(agent: RealAgent) -> list[LogsStored]:
    return [stored for report in agent.unique_reports() for stored in report.logs]


# ---- surroundings


def test_environment_variables_last_one_attempt(tell):
    async def story(agent: RealAgent) -> None:
        def read() -> tuple[str | None, str | None]:
            return os.environ.get("KOS_TEST_A"), os.environ.get("HOME")

        env = (("KOS_TEST_A", "1"), ("HOME", "/elsewhere"))
        assert await value(agent, function(read, env=env), key=1, spec_key=1) == ("1", "/elsewhere")
        assert await value(agent, function(read), key=2, spec_key=2) == (None, os.environ.get("HOME"))

    tell(story)


def test_the_context_tells_about_the_attempt(tell):
    async def story(agent: RealAgent) -> None:
        def look() -> tuple[Any, ...]:
            c = context()
            c.scratch.joinpath("file").write_text("x")
            return c.job_id, c.key, c.attempt, c.node, c.deadline, c.should_stop(), c.scratch

        *told, scratch = await value(agent, function(look), key=5)
        assert told == ["job-5", 5, 1, "n1", None, False]
        assert not scratch.exists()
        deadline = await value(agent, function(lambda: context().deadline, timeout_ms=60_000), key=6, spec_key=2)
        assert 30 < deadline - time.time() <= 60

    tell(story)


def test_a_code_bundle_comes_first_on_the_path(tell):
    async def story(agent: RealAgent) -> None:
        bundle = agent.blobs.folder / ("cd" * 32)
        bundle.mkdir()
        (bundle / "statistics.py").write_text("def mean():\n    return 'ours'\n")
        spec = Spec(entry="statistics:mean", code="cd" * 32)
        assert await value(agent, spec) == "ours"
        command = Spec(command=(sys.executable, "-c", "import statistics; statistics.mean()"), code="cd" * 32)
        assert await value(agent, command, key=2, spec_key=2) == 0

    tell(story)


def test_a_code_bundle_that_cannot_be_brought_up(tell):
    async def story(agent: RealAgent) -> None:
        end, _, message, _ = await failure(agent, Spec(entry="os:getpid", code="ef" * 32))
        assert end is AttemptEnd.UNPREPARED
        assert "code bundle" in message

    tell(story)


def test_slots_that_never_come_up_are_given_up(tell):
    async def story(agent: RealAgent) -> None:
        agent.starter.broken = True
        end, kind, message, _ = await failure(agent, function(len))
        assert (end, kind) == (AttemptEnd.UNPREPARED, "SlotFailed")
        assert "exited with code 3" in message

    tell(story, failed_starts_max=2)


# ---- logs


def test_logs_are_cut_by_attempt(tell):
    async def story(agent: RealAgent) -> None:
        def speak(text: str) -> None:
            print(text)
            os.system(f"echo {text} from below")
            sys.stderr.write(f"{text} error\n")
            context().logger.info("%s logged", text)

        spec = function(speak)
        for key, text in ((1, "hello"), (2, "world")):
            ended, _ = await outcome(agent, spec, arguments(text), key=key)
            ((_, file, start, end),) = ended.logs
            lines = agent.agent.read_log(file, start, end).decode().splitlines()
            assert lines[:3] == [text, f"{text} from below", f"{text} error"]
            assert lines[3].endswith(f"INFO {text} logged")
            assert len(lines) == 4
        agent.resize(spec.slot_kind, 0)
        await agent.wait_for(lambda: stored_logs(agent) != [], "the log to be stored")
        (stored,) = stored_logs(agent)
        assert (stored.file, stored.size) == (file, end)
        await agent.wait_for(lambda: not agent.agent._files.logs(), "the local log to be removed")

    tell(story)


def test_a_running_attempts_output_can_be_read(tell):
    async def story(agent: RealAgent) -> None:
        def speak() -> None:
            print("so far")
            while not context().should_stop():
                time.sleep(0.01)

        launch(agent, function(speak))
        log = agent.folder / "node" / "logs"
        await agent.wait_for(
            lambda: [agent.agent.read_log(file.name, 0, 100) for file in log.iterdir()] == [b"so far\n"],
            "its first line",
        )

    tell(story)


# ---- commands


def test_a_command_returns_its_exit_code_as_its_end(tell):
    async def story(agent: RealAgent) -> None:
        good = Spec(command=("/bin/sh", "-c", 'echo "$KOS_JOB_ID $KOS_ATTEMPT $KOS_NODE $X"'), env=(("X", "y"),))
        assert await value(agent, good, key=1, spec_key=1) == 0
        ((_, file, start, end),) = found(agent, 1)[0].logs
        assert agent.agent.read_log(file, start, end) == b"job-1 1 n1 y\n"
        bad = Spec(command=("/bin/sh", "-c", "exit 7"))
        assert (await failure(agent, bad, key=2, spec_key=2))[:3] == (
            AttemptEnd.FAILED,
            "CommandFailed",
            "/bin/sh exited with code 7",
        )
        killed = Spec(command=("/bin/sh", "-c", "kill -9 $$"))
        assert "SIGKILL" in (await failure(agent, killed, key=3, spec_key=3))[2]
        assert len(agent.starter.slots) == 1

    tell(story)


@pytest.mark.parametrize("size", [10, 300_000])
def test_a_command_has_its_event_however_long_that_is(tell, size):
    async def story(agent: RealAgent) -> None:
        told = json.dumps({"data": "x" * size})
        look = Spec(
            command=(
                "/bin/sh",
                "-c",
                'if [ "$KOS_EVENT_FILE" ]; then cat "$KOS_EVENT_FILE"; else echo "$KOS_EVENT"; fi | cksum',
            )
        )
        orders = agent.order(look, 1)
        order = dataclasses.replace(orders.launches[0], scheduled=((0, 1_000_000),), told=((0, told),))
        agent.receive(dataclasses.replace(orders, launches=(order,)))
        await agent.until_ended(1)
        assert agent.end_of(1) is AttemptEnd.SUCCEEDED
        ((_, file, start, end),) = found(agent, 1)[0].logs
        length = agent.agent.read_log(file, start, end).split()[1]
        assert int(length) == len(told) + (size < 100_000)

    tell(story)


def test_a_command_is_asked_by_sigterm_and_its_whole_group_ends(tell):
    async def story(agent: RealAgent) -> None:
        deaf = agent.folder / "deaf"
        script = f"trap '' TERM; sleep 1000 & echo $! > {deaf}.part; mv {deaf}.part {deaf}; wait; sleep 1000"
        launch(agent, Spec(command=("/bin/sh", "-c", script)))
        await agent.wait_for(deaf.exists, "the command to run")
        agent.stop(1, grace_ms=50)
        await agent.until_ended(1)
        assert agent.end_of(1) is AttemptEnd.STOPPED
        await agent.wait_for(lambda: not running(int(deaf.read_text())), "its child to be dead")
        assert len(agent.starter.slots) == 1
        polite = Spec(command=("/bin/sh", "-c", f"trap 'exit 0' TERM; touch {deaf}2; sleep 1000 & wait"))
        launch(agent, polite, key=2, spec_key=2)
        await agent.wait_for(Path(f"{deaf}2").exists, "the second command to run")
        agent.stop(2, grace_ms=20_000)
        await agent.until_ended(2)
        assert agent.end_of(2) is AttemptEnd.STOPPED

    tell(story)


def test_a_command_over_its_timeout_ends(tell):
    async def story(agent: RealAgent) -> None:
        ended, i = await outcome(agent, Spec(command=("/bin/sleep", "1000"), timeout_ms=100))
        assert AttemptEnd(ended.ends[i]) is AttemptEnd.TIMED_OUT
        assert len(agent.starter.slots) == 1

    tell(story)


def test_a_command_dies_with_its_slot(tell):
    async def story(agent: RealAgent) -> None:
        pid = agent.folder / "pid"
        launch(agent, Spec(command=("/bin/sh", "-c", f"echo $$ > {pid}.part; mv {pid}.part {pid}; exec sleep 1000")))
        await agent.wait_for(pid.exists, "the command to run")
        await agent.wait_for(lambda: 1 in agent.reported_entered(), "the report of its entry")
        agent.starter.slots[0].kill()
        await agent.until_ended(1)
        assert agent.end_of(1) is AttemptEnd.CRASHED
        await agent.wait_for(lambda: not running(int(pid.read_text())), "the command to be dead")

    tell(story)


def running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# ---- processes


def test_killing_a_slot_kills_what_its_function_started(tell):
    async def story(agent: RealAgent) -> None:
        trace = str(agent.folder / "child")

        def spawn() -> None:
            child = subprocess.Popen(["/bin/sleep", "1000"])
            Path(trace + ".part").write_text(str(child.pid))
            Path(trace + ".part").rename(trace)
            child.wait()

        launch(agent, function(spawn))
        await agent.wait_for(Path(trace).exists, "the child")
        agent.stop(1, grace_ms=0)
        await agent.until_ended(1)
        await agent.wait_for(lambda: not running(int(Path(trace).read_text())), "the child to be dead")

    tell(story)


def test_a_forked_child_neither_takes_attempts_nor_hides_the_death_of_its_slot(tell):
    async def story(agent: RealAgent) -> None:
        def fork() -> int:
            child = os.fork()
            if not child:
                time.sleep(1000)
                os._exit(0)
            return child

        child = await value(agent, function(fork))
        assert await value(agent, function(os.getpid), key=2, spec_key=2) == agent.starter.slots[0].process.pid
        launch(agent, agent.spec(Does.BLOCK), key=3, spec_key=3)
        await agent.until_entered(3)
        agent.kill_slot_of(3)
        await agent.until_ended(3)
        assert agent.end_of(3) is AttemptEnd.CRASHED
        os.kill(child, signal.SIGKILL)

    tell(story)


def test_slots_end_when_their_agent_is_gone(tell):
    async def story(agent: RealAgent) -> None:
        await value(agent, function(len), arguments("abc"))
        launch(agent, agent.spec(Does.OBEY), key=2, spec_key=2)
        await agent.until_entered(2)
        process = agent.starter.slots[0].process
        await agent.agent.close()
        await agent.wait_for(lambda: process.poll() is not None, "the slot to end")
        assert process.returncode == 0

    tell(story)


def test_strangers_are_shown_the_door(tell):
    async def story(agent: RealAgent) -> None:
        path = str(agent.folder / "node" / "agent.sock")
        for greeting in (b"", b"\x94\x00\xa5ghost\x01\xa43.11", b"\xc1garbage", b"\x01"):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(greeting)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        assert await value(agent, function(len), arguments("abc")) == 3

    tell(story)


def test_a_slot_that_boots_longer_than_the_admission_deadline_is_waited_for(
    tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One start, no attempt ended, and whoever asks is told that it boots."""
    monkeypatch.setenv(failpoint.SLOW, "slot.boots:5")

    async def story(agent: RealAgent) -> None:
        agent.launch(agent.spec(Does.RETURN), 1, 2, slots=2)
        told: list[tuple[str, int, bool]] = []

        def ended() -> bool:
            told.extend(agent.agent.starting())
            return len(agent.ends()) == 2

        await agent.wait_for(ended, "both ends")
        assert set(agent.ends().values()) == {AttemptEnd.SUCCEEDED}
        assert agent.starts_asked() == 2
        assert any(boots and seconds >= 3 for _, seconds, boots in told)

    tell(story, admission_ms=3_000)


def test_a_slot_that_boots_for_too_long_is_given_up(tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failpoint.SLOW, "slot.boots:1000")

    async def story(agent: RealAgent) -> None:
        agent.launch(agent.spec(Does.RETURN), 1)
        await agent.until_ended(1)
        assert agent.end_of(1) is AttemptEnd.NOT_ADMITTED

    tell(story, admission_ms=1_500, boot_ms=500)
