"""A cluster in memory for the command line: what it was asked is in `calls`."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kos_ray.model.errors import NotFound
from kos_ray.model.ids import JobKey
from kos_ray.model.policy import Policy, changed
from kos_ray.model.views import (
    AttemptView,
    ClusterStatus,
    EventView,
    Explanation,
    JobView,
    Leak,
    LearntKind,
    NodeStanding,
    NodeView,
    SchedulingView,
    StoryLine,
)
from kos_ray.model.windows import Windows
from kos_ray.spec.lower import Draft
from kos_ray.spec.rehearse import final_digests

ROOT = Path(__file__).parents[3]
MONTAGE = str(ROOT / "configs/examples/montage-chameleon-2mass-005d-001.json")
WORKFLOW = str(ROOT / "configs/examples/workflow.yaml")
NODE = NodeView(
    id="node1",
    name="head",
    alive=True,
    head=True,
    resources=(("CPU", 20_000),),
    versions=(("kos_ray", version("kos_ray")),),
)
S = 1_000_000


class World:
    """A cluster in memory, in which every job has already ended as `state` says."""

    def __init__(self) -> None:
        self.state = "succeeded"
        self.error: BaseException | None = None
        self.drafts: list[Draft] = []
        self.calls: list[tuple[Any, ...]] = []
        self.running = False
        self.problems: tuple[str, ...] = ()
        #: what is left behind
        self.leaks: tuple[Leak, ...] = ()
        self.digest_suffix = ""
        #: jobs that `jobs` and `views` know, newest first; empty: those of the drafts
        self.views: list[JobView] = []
        self.events: list[EventView] = []
        #: what happened to jobs, by key
        self.stories: dict[int, list[StoryLine]] = {}
        #: how nodes stand, look after look
        self.standings = [[NodeStanding(id=NODE.id, name=NODE.name, labels=(("zone", "a"),), free=NODE.resources)]]
        #: what a job has printed, look after look: an attempt's from its beginning on
        self.logs: list[str | bytes] = []
        #: what the scheduler says of itself, of a job, and which settings it was given
        self.scheduling: SchedulingView | None = None
        self.explanation: Explanation | None = None
        self.policy = Policy()
        self.learnt: list[LearntKind] = []
        #: what whoever waits is told instead
        self.interrupt: BaseException | None = None

    def leaked(self, address: str | None = None, *, end: bool = False) -> tuple[Leak, ...]:
        self.calls.append(("leaks", address, end))
        return tuple(replace(leak, ended=end) for leak in self.leaks)

    def view(self, ref: str) -> JobView:
        index = int(ref.removeprefix("id-")) if ref.startswith("id-") else 0
        draft = self.drafts[index] if self.drafts else None
        return JobView(
            id=f"id-{index}",
            key=JobKey(index),
            name=draft.name if draft else ref,
            type=draft.spec.type if draft else "shell",
            state=self.state,
            node=NODE.id,
            attempt=1,
            submitted_us=S,
            ready_us=2 * S,
            entered_us=3 * S,
            ended_us=(4 + index) * S,
            error="boom" if self.state == "failed" else "",
            error_type="ValueError" if self.state == "failed" else "",
        )


class FakeJob:
    def __init__(self, world: World, ref: str) -> None:
        self.id, self._world = ref, world

    def result(self, timeout: float | None = None) -> Any:
        if self._world.error:
            raise self._world.error
        view = self._world.view(self.id)
        if self._world.drafts and self._world.drafts[0].spec.entry.startswith("kos_ray.spec.replay:"):
            return {"digest": final_digests(self._world.drafts).get(view.name, "") + self._world.digest_suffix}
        return {"value": [1, 2], "data": b"abc", "odd": {1: float("nan")}}


class FakeClient:
    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> "FakeClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._world.calls.append(("closed",))

    def submit_drafts(self, drafts: list[Draft], *, code: Sequence[Path] = (), if_plan: str = "") -> list[FakeJob]:
        self._world.drafts = drafts
        self._world.calls.append(("submit_drafts", [str(folder) for folder in code]))
        return [FakeJob(self._world, f"id-{index}") for index in range(len(drafts))]

    def submit(self, function: Callable[..., Any], *args: Any, **options: Any) -> FakeJob:
        self._world.calls.append(("submit", function, args, options))
        return FakeJob(self._world, "id-0")

    @property
    def namespace(self) -> str:
        return "default"

    def job(self, ref: str) -> FakeJob:
        return FakeJob(self._world, ref)

    def get(self, ref: str) -> JobView:
        if ref == "absent":
            raise NotFound("no job is named 'absent'")
        return self._world.view(ref)

    def jobs(self, **filters: Any) -> list[JobView]:
        self._world.calls.append(("jobs", filters))
        if self._world.views:
            return self._filtered(**filters)
        return [self._world.view(f"id-{index}") for index in range(len(self._world.drafts))]

    def _filtered(self, *, limit: int, before_key: int | None = None, prefix: str = "", **same: Any) -> list[JobView]:
        tag = same.pop("tag", None)
        return [
            view
            for view in self._world.views
            if (not before_key or view.key < before_key)
            and view.name.startswith(prefix)
            and (tag is None or tag in view.tags)
            and all(value is None or getattr(view, name) == value for name, value in same.items())
        ][:limit]

    def events(self, since_seq: int, limit: int) -> list[EventView]:
        self._world.calls.append(("events", since_seq, limit))
        if not self._world.events:
            raise KeyboardInterrupt
        found = [event for event in self._world.events if event.seq > since_seq][:limit]
        if not found and since_seq and limit == 1_000:
            raise KeyboardInterrupt  # whoever follows waits for ever
        return found

    def stories(self, keys: Sequence[JobKey]) -> list[list[StoryLine]]:
        return [self._world.stories.get(key, []) for key in keys]

    def _act(self, what: str, refs: Sequence[str], *more: Any) -> int:
        self._world.calls.append((what, list(refs), *more))
        return 0 if self._world.state == "succeeded" and not self._world.views else len(refs)

    def hold(self, refs: Sequence[str]) -> int:
        return self._act("hold", refs)

    def release(self, refs: Sequence[str]) -> int:
        return self._act("release", refs)

    def pause(self, refs: Sequence[str]) -> int:
        return self._act("pause", refs)

    def resume(self, refs: Sequence[str]) -> int:
        return self._act("resume", refs)

    def reprioritise(self, refs: Sequence[str], priority: int) -> int:
        return self._act("reprioritise", refs, priority)

    def rerun(self, ref: str, *, from_failed: bool = False, tag: str = "") -> list[FakeJob]:
        self._world.calls.append(("rerun", ref, from_failed, *([tag] if tag else [])))
        return [FakeJob(self._world, "id-7")]

    def wait(self, refs: Sequence[str], timeout: float | None = None) -> list[JobView]:
        if self._world.interrupt:
            raise self._world.interrupt
        running = len(self._world.logs) > 1
        return [dataclasses.replace(view, state="running") if running else view for view in self.views(refs)]

    def attempts(self, ref: str) -> list[AttemptView]:
        return [AttemptView(attempt=1, end="succeeded", node=NODE.id, entered_us=S, ended_us=2 * S)]

    def logs(self, ref: str, attempt: int | None = None) -> str:
        return self.log_bytes(ref, attempt).decode() or f"{ref} {attempt}\n"

    def log_bytes(self, ref: str, attempt: int | None = None, start: int = 0) -> bytes:
        text = self._world.logs.pop(0) if self._world.logs else ""
        return (text.encode() if isinstance(text, str) else text)[start:]

    def status(self) -> ClusterStatus:
        return ClusterStatus(
            cluster_id="c",
            epoch=1,
            seq=7,
            state_dir="/s",
            jobs={"ready": 1},
            nodes=(NODE,),
            scheduling=self._world.scheduling,
        )

    def explain(self, ref: str, *, suggest: bool = False) -> Explanation | None:
        self._world.calls.append(("explain", ref))
        return self._world.explanation

    def settings(self, change: Any = None) -> Policy:
        self._world.policy = changed(self._world.policy, change or {})
        return self._world.policy

    def nodes(self) -> list[NodeView]:
        return [NODE]

    def node_standings(self) -> list[NodeStanding]:
        return self._world.standings.pop(0) if len(self._world.standings) > 1 else self._world.standings[0]

    def mark_nodes(self, names: Sequence[str], **change: Any) -> list[NodeStanding]:
        self._world.calls.append(("mark_nodes", list(names), change))
        return self.node_standings()

    def windows(self, *, node: str = "", namespace: str = "", text: str | None = None) -> Windows:
        self._world.calls.append(("windows", node, namespace, text))
        open_ = ((S, 2 * S),) if text != "" else ()
        return Windows(scope=f"node:{node}", text="x" if open_ else "", open=open_, until_us=9 * S)

    def advise(self, kinds: dict[str, Any]) -> dict[str, Any]:
        self._world.calls.append(("advise", kinds))
        return {"add": dict.fromkeys(kinds, 2), "waiting": 0 if kinds else 3}

    def learnt(self) -> list[LearntKind]:
        return self._world.learnt

    def cancel(self, refs: Sequence[str]) -> int:
        return self._act("cancel", refs)

    def views(self, refs: Sequence[str]) -> list[JobView]:
        if self._world.views:
            wanted = [view for view in self._world.views if {view.id, view.name, view.id.partition(".")[0]} & set(refs)]
            if not wanted:
                raise NotFound(f"there is no job {refs[0]!r}")
            return wanted
        return [self._world.view(ref) for ref in refs]

    def watch(self, refs: Sequence[str], timeout: float | None) -> Iterator[list[JobView]]:
        self._world.calls.append(("watch", list(refs), timeout))
        for ref in refs:
            yield [self._world.view(ref)]


@dataclass
class Report:
    address: str = "127.0.0.1:1"
    state_dir: Path = Path("/s")
    cluster_id: str = "c"
    started: tuple[str, ...] = ("ray", "scheduler")
    already_running: bool = False
    dashboard_url: str = ""
    stopped: tuple[str, ...] = ("scheduler", "ray")
    path: Path = Path("/s/journal.db")
    frames: int = 3
    last_seq: int = 9
    problems: tuple[str, ...] = ()


Kos = Callable[..., tuple[int, str, str]]


def record(seq: int, kind: str, **detail: object) -> EventView:
    """One record of the journal; one is written each second."""
    return EventView(seq=seq, at_us=seq * 1_000_000, epoch=1, kind=kind, detail=detail)
