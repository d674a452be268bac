"""The life of an agent in its process, at the real node agent: state, hooks that fail, messages of all kinds."""

import asyncio
import dataclasses
import os
import pickle
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from kos_ray.model.errors import Decline
from kos_ray.model.ids import JobKey, SpecKey
from kos_ray.model.job import AttemptEnd, Carries, Spec
from kos_ray.model.payload import inline, open_payload
from kos_ray.model.protocol import Acked, LaunchOrder, Report
from kos_ray.worker import context
from tests.contract.real_agent import RealAgent

Story = Callable[["Keeping"], Awaitable[None]]
KEEPER = 1


class Keeping(RealAgent):
    """A scheduler that stores what attempts save, and hands it to the next one."""

    saved: bytes = b""

    async def send(self, report: Report) -> Acked:
        acked = await super().send(report)
        named = [one for said in report.checkpoints for one in zip(said.keys, said.attempts, said.numbers, strict=True)]
        for said in report.checkpoints:
            self.saved = said.payloads[-1]
        return dataclasses.replace(acked, stored=tuple(named))

    def begin(self, make: type, attempt: int = 1, *args: Any, **carries: Any) -> None:
        spec = Spec(function=cloudpickle.dumps(make), carries=Carries(name="keeper", **carries), grace_ms=10_000)
        restored = ((0, self.saved),) if self.saved else ()
        self._launch(spec, KEEPER, attempt, args, restored=restored)

    def call(self, key: int, method: str, *args: Any, attempt: int = 1, **fields: Any) -> None:
        self._launch(Spec(entry=method, receiver="keeper", **fields), key, attempt, args)

    def _launch(self, spec: Spec, key: int, attempt: int, args: tuple[Any, ...], **more: Any) -> None:
        spec_key = SpecKey(100 * key + attempt)
        order = LaunchOrder(
            kind=spec.slot_kind,
            slots=1,
            keys=(JobKey(key),),
            attempts=(attempt,),
            ranks=(3,),
            specs=(spec_key,),
            ids=(f"job-{key}",),
            args=(inline(cloudpickle.dumps((args, {}))),),
            **more,
        )
        self.receive(self.orders(new_specs=((spec_key, spec),), launches=(order,)))

    async def result(self, key: int, attempt: int = 1) -> Any:
        """What a message came to: its value, or its error as text."""
        await self.until_ended(key, attempt=attempt)
        for report in self.unique_reports():
            for ended in report.ended:
                for index, place in enumerate(zip(ended.keys, ended.attempts, strict=True)):
                    if place == (key, attempt):
                        told = [error.message for error in ended.errors if error.index == index]
                        data = open_payload(ended.results[index])
                        return told[0] if told else pickle.loads(data) if isinstance(data, bytes) and data else None
        raise AssertionError

    async def ended(self, attempt: int = 1) -> AttemptEnd | None:
        await self.until_ended(KEEPER, attempt=attempt)
        return self.end_of(KEEPER, attempt)

    async def ready(self, times: int = 1) -> None:
        await self.wait_for(lambda: self.agents_said().count((KEEPER, True)) == times, "its readiness")


@pytest.fixture
def tell(tmp_path: Path) -> Callable[[Story], None]:
    return lambda story: Keeping.run(story, tmp_path)  # type: ignore[arg-type]


class Counter:
    """Counts, plainly and in a loop."""

    def __init__(self, start: int = 0) -> None:
        self.count = start

    def add(self, number: int) -> int:
        self.count += number
        return self.count

    async def slowly(self, number: int) -> int:
        await asyncio.sleep(0.01)
        return self.add(number)

    def who(self) -> tuple[str, int]:
        return context().job_id, os.getpid()

    async def whom(self) -> str:
        return context().job_id

    def die(self) -> None:
        os._exit(1)

    async def never(self) -> None:
        await asyncio.sleep(1_000)

    def _hidden(self) -> None:
        """Not for messages."""


def test_it_keeps_its_state_from_message_to_message(tell):
    async def story(agent: Keeping) -> None:
        agent.begin(Counter, 1, 10)
        await agent.ready()
        for key, method in ((2, "add"), (3, "slowly"), (4, "add")):
            agent.call(key, method, 1)
            assert await agent.result(key) == key + 9
        agent.call(5, "who")
        agent.call(6, "whom")
        assert (await agent.result(5))[0] == "job-5"
        assert await agent.result(6) == "job-6"

    tell(story)


def test_what_it_has_not_got_or_hides_cannot_be_called(tell):
    async def story(agent: Keeping) -> None:
        agent.begin(Counter)
        await agent.ready()
        for key, method in ((2, "nothing"), (3, "_hidden"), (4, "count")):
            agent.call(key, method)
            assert f"has no method {method!r}" in str(await agent.result(key))
            assert agent.end_of(key) is AttemptEnd.UNPREPARED

    tell(story)


@pytest.mark.parametrize(("word", "seconds", "again_ms"), [("unavailable", 0, 1_000), ("unavailable", 7, 7_000)])
def test_a_method_that_declines_ends_its_message_so(tell, word, seconds, again_ms):
    class Choosy(Counter):
        def work(self, word: str, seconds: float) -> None:
            raise Decline(word, "not now", seconds)

    async def story(agent: Keeping) -> None:
        agent.begin(Choosy)
        await agent.ready()
        agent.call(2, "work", word, seconds)
        agent.call(3, "work", "underqualified", 0)
        assert await agent.result(2) == "unavailable: not now"
        assert await agent.result(3) == "underqualified: not now"
        assert {agent.end_of(key) for key in (2, 3)} == {AttemptEnd.DECLINED}
        errors = {
            ended.keys[error.index]: error.again_ms
            for report in agent.unique_reports()
            for ended in report.ended
            for error in ended.errors
        }
        assert errors == {2: again_ms, 3: -1}

    tell(story)


def test_what_it_needs_and_has_not_is_named(tell, tmp_path, monkeypatch):
    there = tmp_path / "weights"
    there.touch()
    monkeypatch.setenv("HAS_THIS", "yes")
    config = (("HAS_THIS", ""), ("HAS_NOT_THAT", ""), ("HAS_THIS", "no"))

    async def story(agent: Keeping) -> None:
        agent.begin(Counter, 1, config=config, files=(str(there), "/no/such/file"))
        told = str(await agent.result(KEEPER))
        assert agent.end_of(KEEPER) is AttemptEnd.FAILED
        for missing in ("the setting HAS_NOT_THAT", "the setting HAS_THIS=no", "the file /no/such/file"):
            assert missing in told
        assert str(there) not in told
        assert agent.agents_said() == []
        agent.begin(Counter, 2, config=config[:1], files=(str(there),))
        await agent.ready()

    tell(story)


def test_stopped_for_a_while_it_goes_on_from_its_state(tell):
    async def story(agent: Keeping) -> None:
        agent.begin(Counter, 1, 10)
        await agent.ready()
        agent.call(2, "add", 5)
        await agent.result(2)
        agent.stop(KEEPER, grace_ms=9_000)
        assert await agent.ended() is AttemptEnd.STOPPED
        agent.begin(Counter, 2, 10)
        await agent.ready(2)
        agent.call(3, "add", 1)
        assert await agent.result(3) == 16

    tell(story)


def test_a_message_whose_effect_is_saved_is_not_handled_again(tell):
    async def story(agent: Keeping) -> None:
        agent.begin(Counter, 1, 10, snapshot_every=1)
        await agent.ready()
        agent.call(2, "add", 5)
        await agent.result(2)
        agent.call(3, "die")
        await agent.ended()
        agent.begin(Counter, 2, 10, snapshot_every=1)
        await agent.ready(2)
        agent.call(2, "add", 5, attempt=2)
        assert await agent.result(2, attempt=2) == 15
        agent.call(4, "add", 1)
        assert await agent.result(4) == 16

    tell(story)


def test_a_coroutine_that_takes_too_long_is_cancelled_and_the_agent_lives(tell):
    async def story(agent: Keeping) -> None:
        agent.begin(Counter)
        await agent.ready()
        agent.call(2, "never", timeout_ms=200)
        await agent.until_ended(2)
        assert agent.end_of(2) is AttemptEnd.TIMED_OUT
        agent.call(3, "add", 1)
        assert await agent.result(3) == 1

    tell(story)


class Own:
    """Says itself what its state is."""

    def __init__(self) -> None:
        self.things = {"a": 1}
        self.lock = open(os.devnull)  # noqa: SIM115, PTH123 - what cannot be pickled

    def put(self, name: str, value: int) -> None:
        self.things[name] = value

    def get(self) -> dict[str, int]:
        return self.things

    def snapshot(self) -> dict[str, int]:
        return self.things

    def restore(self, state: dict[str, int]) -> None:
        self.things = state


def test_it_may_say_itself_what_its_state_is(tell):
    async def story(agent: Keeping) -> None:
        agent.begin(Own)
        await agent.ready()
        agent.call(2, "put", "b", 2)
        await agent.result(2)
        agent.stop(KEEPER, grace_ms=9_000)
        assert await agent.ended() is AttemptEnd.STOPPED
        agent.begin(Own, 2)
        await agent.ready(2)
        agent.call(3, "get")
        assert await agent.result(3) == {"a": 1, "b": 2}

    tell(story)


def broken(hook: str, how: str) -> type:
    """A counter one hook of which is broken."""

    def fail(_self: Any) -> None:
        if how == "raises":
            raise ValueError("no")
        if how == "dies":
            os._exit(1)
        time.sleep(1_000)

    return type("Broken", (Counter,), {hook: fail})


#: what becomes of an attempt one hook of which raises, hangs or dies
BEFORE = {"raises": AttemptEnd.FAILED, "hangs": AttemptEnd.FAILED, "dies": AttemptEnd.CRASHED}


@pytest.mark.parametrize("how", list(BEFORE))
@pytest.mark.parametrize("hook", ["pre_start", "post_start", "__init__"])
def test_a_start_that_is_broken_ends_the_attempt(tell, hook, how):
    async def story(agent: Keeping) -> None:
        agent.begin(broken(hook, how), 1, hook_ms=300)
        assert await agent.ended() is BEFORE[how]
        if hook != "post_start":
            assert agent.agents_said() == []

    tell(story)


@pytest.mark.parametrize("how", list(BEFORE))
def test_a_resumption_that_is_broken_ends_the_attempt(tell, how):
    async def story(agent: Keeping) -> None:
        agent.begin(Counter)
        await agent.ready()
        agent.stop(KEEPER, grace_ms=9_000)
        await agent.ended()
        agent.begin(broken("on_resume", how), 2, hook_ms=300)
        assert await agent.ended(2) is BEFORE[how]

    tell(story)


@pytest.mark.parametrize("how", list(BEFORE))
def test_a_suspension_that_is_broken_keeps_what_can_be_kept(tell, how):
    async def story(agent: Keeping) -> None:
        agent.begin(broken("on_suspend", how), 1, hook_ms=300, snapshot_every=1)
        await agent.ready()
        agent.call(2, "add", 7)
        await agent.result(2)
        agent.stop(KEEPER, grace_ms=9_000)
        assert await agent.ended() is AttemptEnd.STOPPED
        agent.begin(Counter, 2)
        await agent.ready(2)
        agent.call(3, "add", 1)
        assert await agent.result(3) == 8

    tell(story)
