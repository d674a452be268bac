"""What running attempts say and ask, through the real agent: progress, checkpoints, children, output."""

import dataclasses
import pickle
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from kos_ray.model.errors import KosError, NonRetryable, RetryAfter
from kos_ray.model.events import ProgressMade
from kos_ray.model.gang import Membership
from kos_ray.model.ids import JobKey, SpecKey
from kos_ray.model.job import AttemptEnd, Spec
from kos_ray.model.payload import BlobRef, inline, open_payload
from kos_ray.model.protocol import PROTOCOL, Accepted, Acked, Hello, LaunchOrder, Report, Submit
from kos_ray.runtime.node_agent import NodeAgent
from kos_ray.worker import context
from tests.contract.harness import CLUSTER, NODE
from tests.contract.real_agent import RealAgent

Story = Callable[[RealAgent], Awaitable[None]]


@pytest.fixture
def tell(tmp_path: Path) -> Callable[..., None]:
    def run(story: Story, **limits: int) -> None:
        RealAgent.run(story, tmp_path, **limits)

    return run


def launch(agent: RealAgent, call: Callable[..., Any], key: int = 1, attempt: int = 1, **more: Any) -> None:
    """Launch a job of its own spec."""
    spec = Spec(function=cloudpickle.dumps(call))
    order = LaunchOrder(
        kind=spec.slot_kind,
        slots=1,
        keys=(JobKey(key),),
        attempts=(attempt,),
        ranks=(3,),
        specs=(SpecKey(100 * key + attempt),),
        ids=(f"job-{key}",),
        args=(b"",),
        **more,
    )
    agent.receive(agent.orders(new_specs=((SpecKey(100 * key + attempt), spec),), launches=(order,)))


def progress(agent: RealAgent) -> list[ProgressMade]:
    return [said for report in agent.unique_reports() for said in report.progress]


# ---- gangs


def test_a_member_is_told_of_its_gang_and_of_what_changes(tell, tmp_path):
    noted, go = tmp_path / "noted", tmp_path / "go"
    told = Membership(name="g", rank=1, size=3, nodes=("n1", "n1", "n2"))

    async def story(agent: RealAgent) -> None:
        def work() -> object:
            first = context().gang
            noted.touch()
            while not go.exists():
                time.sleep(0.01)
            then = context().gang
            return [(gang.rank, gang.size, gang.nodes, gang.lost, gang.share(range(9))) for gang in (first, then)]

        launch(agent, work, gangs=((0, told),))
        await agent.wait_for(noted.exists, "its first look")
        changed = dataclasses.replace(told, losses=((2, (0, 1)),), nodes=("n1", "n1", ""))
        agent.receive(agent.orders(gangs=((JobKey(1), 1, changed), (JobKey(7), 1, changed))))
        go.touch()
        await agent.until_ended(1)
        assert result_of(agent, 1) == [
            (1, 3, ("n1", "n1", "n2"), (), [1, 4, 7]),
            (1, 3, ("n1", "n1", ""), (2,), [1, 4, 5, 7]),
        ]
        await agent.wait_for(lambda: not list(tmp_path.rglob("gangs/*")), "the end of what was written down")

    tell(story)


def test_a_job_without_a_gang_has_none(tell):
    async def story(agent: RealAgent) -> None:
        launch(agent, lambda: context().gang)
        await agent.until_ended(1)
        assert result_of(agent, 1) is None

    tell(story)


def test_a_command_finds_its_rank_in_its_environment(tell, tmp_path):
    async def story(agent: RealAgent) -> None:
        spec = Spec(command=("sh", "-c", f'echo $RANK/$WORLD_SIZE > {tmp_path}/said; cat "$KOS_GANG_FILE" > /dev/null'))
        order = dataclasses.replace(
            agent.order(spec, 1).launches[0], gangs=((0, Membership(name="g", rank=2, size=4)),)
        )
        agent.receive(dataclasses.replace(agent.order(spec, 1), launches=(order,)))
        await agent.until_ended(1)
        assert agent.end_of(1) is AttemptEnd.SUCCEEDED
        assert (tmp_path / "said").read_text() == "2/4\n"

    tell(story)


# ---- progress


def test_progress_is_reported_while_the_attempt_runs(tell, tmp_path):
    go = tmp_path / "go"

    async def story(agent: RealAgent) -> None:
        def work() -> None:
            context().progress(0.5, "half")
            while not go.exists():
                time.sleep(0.01)

        launch(agent, work)
        await agent.wait_for(lambda: progress(agent) != [], "its progress")
        (said,) = progress(agent)
        assert (said.node, said.keys, said.attempts, said.shares, said.texts) == ("n1", (1,), (1,), (5_000,), ("half",))
        assert agent.end_of(1) is None
        go.touch()
        await agent.until_ended(1)
        assert agent.end_of(1) is AttemptEnd.SUCCEEDED

    tell(story)


@pytest.mark.parametrize(("error", "again_ms"), [(RetryAfter(2), 2_000), (NonRetryable("x"), -1), (KeyError("x"), 0)])
def test_when_it_is_to_be_tried_again_comes_with_the_error(tell, error, again_ms):
    async def story(agent: RealAgent) -> None:
        def work() -> None:
            raise error

        launch(agent, work)
        await agent.until_ended(1)
        (report,) = [report for report in agent.unique_reports() if report.ended]
        assert [found.again_ms for found in report.ended[0].errors] == [again_ms]

    tell(story)


def test_much_progress_is_few_reports_and_the_last_word_is_there_with_the_end(tell):
    async def story(agent: RealAgent) -> None:
        def work() -> None:
            for step in range(50_000):
                context().progress(step / 50_000, f"step {step}")
            raise ValueError("no")

        launch(agent, work)
        await agent.until_ended(1)
        said = progress(agent)
        assert said[-1].texts == ("step 49999",)
        assert len(said) <= 3, "the first word, and the last one; one more for a slow machine"
        (report,) = [report for report in agent.unique_reports() if report.ended]
        assert report.progress, "the last word comes with the end, before it"
        assert [type(event).__name__ for event in report.events][-2:] == ["ProgressMade", "AttemptsEnded"]

    tell(story, progress_ms=20_000)


def test_while_the_scheduler_is_away_only_the_newest_progress_is_kept(tell, tmp_path):
    go = tmp_path / "go"

    async def story(agent: RealAgent) -> None:
        def work() -> None:
            step = 0
            while not go.exists():
                step += 1
                context().progress(0.5, f"step {step}")
                time.sleep(0.005)
            context().progress(1, "done")

        agent.reachable = False
        launch(agent, work)
        await agent.settle()
        go.touch()
        await agent.settle()
        agent.reachable = True
        await agent.until_ended(1)
        said = [text for event in progress(agent) for text in event.texts]
        assert said[-1] == "done"
        assert len(said) <= 3, said

    tell(story, progress_ms=10)


def test_progress_that_is_none_ends_the_attempt_with_a_clear_error(tell):
    async def story(agent: RealAgent) -> None:
        launch(agent, lambda: context().progress(40))
        await agent.until_ended(1)
        (error,) = agent.unique_reports()[-1].ended[0].errors
        assert "expected a fraction from 0 to 1, found 40" in error.message

    tell(story)


# ---- checkpoints


class Storing(RealAgent):
    """A scheduler that stores the checkpoints of all attempts but the fenced ones."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.fenced: set[int] = set()
        self.asked: list[Submit] = []
        self.refusing = ""

    async def submit(self, submit: Submit) -> Accepted:
        """The uplink: this object is the scheduler."""
        self.asked.append(submit)
        if not self.reachable:
            raise ConnectionError("the scheduler is away")
        return Accepted(first=JobKey(7), job_count=1, refused=self.refusing)

    async def send(self, report: Report) -> Acked:
        acked = await super().send(report)
        said = [
            item for event in report.checkpoints for item in zip(event.keys, event.attempts, event.numbers, strict=True)
        ]
        return dataclasses.replace(acked, stored=tuple(item for item in said if item[0] not in self.fenced))


@pytest.fixture
def tell_storing(tmp_path: Path) -> Callable[..., None]:
    def run(story: Story, **limits: int) -> None:
        Storing.run(story, tmp_path, **limits)

    return run


def checkpoints(agent: RealAgent) -> dict[tuple[int, int, int], bytes]:
    """Payloads by key, attempt and number."""
    return {
        (key, attempt, number): payload
        for report in agent.unique_reports()
        for event in report.checkpoints
        for key, attempt, number, payload in zip(event.keys, event.attempts, event.numbers, event.payloads, strict=True)
    }


def result_of(agent: RealAgent, key: int, attempt: int = 1) -> Any:
    for report in agent.unique_reports():
        for ended in report.ended:
            for at, named in enumerate(zip(ended.keys, ended.attempts, strict=True)):
                if named == (key, attempt):
                    assert ended.ends[at] == AttemptEnd.SUCCEEDED, ended.errors
                    data = open_payload(ended.results[at])
                    assert isinstance(data, bytes)
                    return pickle.loads(data)
    raise AssertionError(f"attempt {attempt} of job {key} has not ended")


def test_a_checkpoint_returns_when_it_is_acknowledged_and_the_next_attempt_gets_it(tell_storing, tmp_path):
    saved = tmp_path / "saved"

    async def story(agent: RealAgent) -> None:
        def work() -> Any:
            before = context().restored
            context().checkpoint({"step": 7})
            saved.touch()
            return before

        agent.acknowledging = False
        launch(agent, work)
        await agent.wait_for(lambda: (1, 1, 1) in checkpoints(agent), "the checkpoint")
        await agent.settle()
        assert not saved.exists(), "it returned before it was stored"
        agent.acknowledging = True
        await agent.until_ended(1)
        assert saved.exists()
        assert result_of(agent, 1) is None
        launch(agent, work, attempt=2, restored=((0, checkpoints(agent)[1, 1, 1]),))
        await agent.until_ended(1, attempt=2)
        assert result_of(agent, 1, attempt=2) == {"step": 7}

    tell_storing(story)


def test_a_large_state_is_a_blob_that_is_stored_first(tell_storing):
    async def story(agent: RealAgent) -> None:
        def work() -> Any:
            before = context().restored
            context().checkpoint(b"x" * 200_000)
            return None if before is None else len(before)

        agent.blobs.failing = True
        launch(agent, work)
        await agent.wait_for(lambda: agent.blobs.calls != [], "the store to be tried")
        await agent.settle()
        assert checkpoints(agent) == {}
        agent.blobs.failing = False
        await agent.until_ended(1)
        payload = checkpoints(agent)[1, 1, 1]
        ref = open_payload(payload)
        assert isinstance(ref, BlobRef)
        assert (agent.blobs.folder / ref.hash).exists()
        launch(agent, work, attempt=2, restored=((0, payload),))
        await agent.until_ended(1, attempt=2)
        assert result_of(agent, 1, attempt=2) == 200_000

    tell_storing(story)


def test_a_fenced_checkpoint_raises(tell_storing):
    async def story(agent: RealAgent) -> None:
        def work() -> str:
            try:
                context().checkpoint(1)
            except KosError as error:
                return str(error)
            return "stored"

        agent.fenced.add(1)
        launch(agent, work)
        launch(agent, work, key=2)
        await agent.until_ended(1, 2)
        assert "attempt 1 of the job is over for the scheduler" in result_of(agent, 1)
        assert result_of(agent, 2) == "stored"

    tell_storing(story)


def test_a_state_that_cannot_be_pickled(tell_storing):
    async def story(agent: RealAgent) -> None:
        launch(agent, lambda: context().checkpoint(threading.Lock()))
        await agent.until_ended(1)
        (error,) = agent.unique_reports()[-1].ended[0].errors
        assert "the state, a lock, cannot be pickled" in error.message

    tell_storing(story)


def test_an_attempt_that_is_asked_to_stop_saves_and_ends_in_its_grace(tell_storing):
    async def story(agent: RealAgent) -> None:
        def work() -> None:
            while not context().should_stop():
                time.sleep(0.01)
            context().checkpoint("where it was")

        launch(agent, work)
        await agent.wait_for(lambda: 1 in agent.reported_entered(), "its entry")
        agent.stop(1, grace_ms=25_000)
        await agent.until_ended(1)
        assert agent.end_of(1) is AttemptEnd.STOPPED
        assert (1, 1, 1) in checkpoints(agent)

    tell_storing(story)


def test_threads_may_save_at_the_same_time(tell_storing):
    async def story(agent: RealAgent) -> None:
        def work() -> list[None]:
            with ThreadPoolExecutor(4) as threads:
                return list(threads.map(context().checkpoint, range(40)))

        launch(agent, work)
        await agent.until_ended(1)
        assert result_of(agent, 1) == [None] * 40
        assert {number for _, _, number in checkpoints(agent)} == set(range(1, 41))

    tell_storing(story)


def test_a_state_that_was_lost_is_a_clear_error(tell_storing):
    async def story(agent: RealAgent) -> None:
        launch(agent, lambda: context().restored, restored=((0, inline(b"no pickle")),))
        await agent.until_ended(1)
        (error,) = agent.unique_reports()[-1].ended[0].errors
        assert "the last checkpoint of job job-1 cannot be loaded" in error.message

    tell_storing(story)


# ---- children


def test_a_child_is_asked_for_until_the_scheduler_answers(tell_storing):
    async def story(agent: RealAgent) -> None:
        def work() -> str:
            return context().submit(max, 1, 2, name="child").job_id

        agent.reachable = False
        launch(agent, work)
        await agent.wait_for(lambda: len(agent.asked) > 2, "more than one request")
        agent.reachable = True
        await agent.until_ended(1)
        assert {submit.request_id for submit in agent.asked} == {agent.asked[0].request_id}
        (array,) = agent.asked[0].arrays
        assert (result_of(agent, 1), array.name, array.count) == (array.id, "child", -1)
        assert (agent.asked[0].parent, agent.asked[0].parent_attempt) == (1, 1)

    tell_storing(story)


def test_a_refused_child_raises_and_later_calls_go_on(tell_storing):
    async def story(agent: RealAgent) -> None:
        def work() -> Any:
            try:
                context().submit(max, b"x" * 100_000, b"y")
            except KosError as error:
                return str(error)

        agent.refusing = "the name 'a' is taken"
        launch(agent, work)
        await agent.until_ended(1)
        assert result_of(agent, 1) == "the name 'a' is taken"
        ref = open_payload(agent.asked[0].arrays[0].args[0])
        assert isinstance(ref, BlobRef)
        assert (agent.blobs.folder / ref.hash).exists(), "its arguments were stored before it was asked for"

    tell_storing(story)


# ---- output


def test_what_a_running_attempt_prints_is_read_from_its_own_beginning_on(tell, tmp_path):
    go = tmp_path / "go"

    async def story(agent: RealAgent) -> None:
        def speak() -> None:
            print(f"of {context().key}")
            if context().key == 2:
                while not go.exists():
                    time.sleep(0.01)
                print("more")

        spec = Spec(function=cloudpickle.dumps(speak))
        agent.launch(spec, 1, 2)
        await agent.wait_for(lambda: agent.agent.tail(JobKey(2), 1, 0, 100) == b"of 2\n", "its first line")
        assert agent.agent.tail(JobKey(2), 1, 3, 100) == b"2\n"
        assert agent.agent.tail(JobKey(2), 1, 0, 2) == b"of"
        assert agent.agent.tail(JobKey(2), 1, 100, 100) == b""
        assert agent.agent.tail(JobKey(1), 1, 0, 100) is None, "it has ended"
        assert agent.agent.tail(JobKey(2), 2, 0, 100) is None
        agent.launch(spec, 3)
        assert agent.agent.tail(JobKey(3), 1, 0, 100) == b"", "it waits behind the other one"
        go.touch()
        await agent.until_ended(1, 2, 3)
        assert agent.agent.tail(JobKey(2), 1, 0, 100) is None

    tell(story)


# ---- exit codes


def test_commands_have_exit_codes(tell, tmp_path):
    trapped = tmp_path / "trapped"

    async def story(agent: RealAgent) -> None:
        scripts = {
            1: "exit 0",
            2: "exit 7",
            3: "kill -9 $$",
            4: f"trap 'exit 5' TERM; touch {trapped}; sleep 1000 & wait",
        }
        for key, script in scripts.items():
            agent.launch(Spec(command=("/bin/sh", "-c", script)), key)
        launch(agent, lambda: None, key=5)
        agent.launch(Spec(command=("no-such-program",)), 6)
        agent.launch(Spec(command=("/",)), 7)
        await agent.wait_for(trapped.exists, "the trap of the fourth")
        agent.stop(4, grace_ms=25_000)
        await agent.until_ended(*scripts, 5, 6, 7)
        codes = {
            ended.keys[index]: code
            for report in agent.unique_reports()
            for ended in report.ended
            for index, code in ended.exit_codes
        }
        assert codes == {1: 0, 2: 7, 3: 137, 4: 5, 6: 127, 7: 126}
        assert agent.end_of(4) is AttemptEnd.STOPPED

    tell(story)


# ---- versions


def test_an_agent_tells_its_versions(tell, tmp_path):
    async def story(agent: RealAgent) -> None:
        versions = (("kos_ray", "1"), ("Python", "3.11.7"))
        another = NodeAgent(
            node=NODE,
            cluster_id=CLUSTER,
            incarnation="life-2",
            directory=tmp_path / "another",
            starter=agent.starter,
            blobs=agent.blobs,
            uplink=agent,
            versions=versions,
        )
        hello = Hello(cluster_id=CLUSTER, epoch=1, protocol=PROTOCOL, version="test")
        assert another.hello(hello).versions == versions
        assert agent.greet().versions == ()

    tell(story)
