"""Plain jobs, of which nothing is said but what to run: the short way to add them comes to what the long one does."""

from random import Random
from typing import Any

import pytest

from kos_ray.model.events import Event, JobsSubmitted, NodesJoined, PolicyChanged
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.model.resources import Resources
from kos_ray.scheduler import on_events
from kos_ray.scheduler.machine import step
from kos_ray.scheduler.snapshot import state_to_plain
from kos_ray.scheduler.state import State

SECOND_US = 1_000_000
NAMESPACES = ("one", "two", "two/under")


def _events(random: Random) -> list[tuple[int, list[Event]]]:
    """Submissions of jobs of some specs, in a minute or two, under a policy that counts bursts."""
    policy = Policy(burst_jobs=random.choice((0, 4, 12, 100)), burst_us=20 * SECOND_US)
    specs = [
        Spec(
            entry="module:function",
            namespace=random.choice(NAMESPACES),
            band=random.randrange(6),
            run_ms=random.choice((0, 5_000)),
            resources=Resources.of({"CPU": random.choice((1, 2))}),
            deadline_us=random.choice((0, 0, 0, 300 * SECOND_US)),
        )
        for _ in range(4)
    ]
    node = Node(NodeId("n"), "n", Resources.of({"CPU": 3}), incarnation="first")
    found: list[tuple[int, list[Event]]] = [
        (0, [PolicyChanged(request_id="p", policy=policy), NodesJoined(nodes=(node,))])
    ]
    first, known, now_us = 1, 0, 0
    for number in range(12):
        now_us += random.choice((1, 15)) * SECOND_US
        counts = tuple(random.choice((-1, -1, -1, 3)) for _ in range(random.randint(1, 6)))
        chosen = tuple(SpecKey(random.randint(1, len(specs))) for _ in counts)
        event = JobsSubmitted(
            request_id=f"r{number}",
            first=JobKey(first),
            ids=tuple(f"{number}-{index}" for index in range(len(counts))),
            counts=counts,
            specs=chosen,
            args=(b"",) * sum(map(abs, counts)),
            new_specs=tuple((SpecKey(key + 1), spec) for key, spec in enumerate(specs)) if not known else (),
            sender=random.choice(("", "somebody")),
        )
        known, first = 1, first + sum(map(abs, counts))
        found.append((now_us, [event]))
    return found


def _played(events: list[tuple[int, list[Event]]]) -> list[Any]:
    """What is decided, and the state, after each of them."""
    state = State()
    found: list[Any] = []
    for now_us, together in events:
        decisions, plain = step(state, together, now_us), state_to_plain(state)
        # jobs that become overdue together may stand in one entry or in several
        plain["aging"] = sorted((due_us, key) for due_us, keys in plain["aging"] for key in keys)
        found += [decisions, plain, {key: entry.live for key, entry in state.specs.items()}]
    return found


def test_the_short_way_comes_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    worlds = [_events(Random(seed)) for seed in range(60)]
    ways: list[bool] = []
    short = on_events.add_plain

    def told(state: State, event: JobsSubmitted, now_us: int) -> bool:
        ways.append(short(state, event, now_us))
        return ways[-1]

    monkeypatch.setattr(on_events, "add_plain", told)
    quick = [_played(events) for events in worlds]
    monkeypatch.setattr(on_events, "add_plain", lambda *_: False)
    assert quick == [_played(events) for events in worlds]
    assert {True, False} <= set(ways), "both ways were taken"
    assert ways.count(True) > 100
