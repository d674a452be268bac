"""Whatever is suggested starts the job in the next pass: in random states of all kinds, with the very state of then."""

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kos_ray.model import decisions as d
from kos_ray.model.job import JobState
from kos_ray.scheduler.machine import step
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.scheduler.what_if import what_if
from tests.properties.test_gangs import Move
from tests.properties.test_mixed import _MOVES, POLICIES, Mixed

#: jobs of one state for which it is asked
_ASKED = 4
SEEN: Counter[str] = Counter()


def ask(mixed: Mixed, seen: Counter[str]) -> None:
    play = mixed.play
    plain = state_to_plain(play.state)
    waiting = [job.key for job in play.state.jobs.values() if job.state in (JobState.READY, JobState.HELD)]
    for key in waiting[:_ASKED]:
        found = what_if(plain, key, play.now_us)
        seen["asked"] += 1
        seen["with suggestions"] += bool(found)
        assert [change.size for change in found] == sorted(change.size for change in found)
        kinds = [change.kind for change in found]
        assert len(set(kinds)) == len(kinds), "one of each kind"
        for change in found:
            seen[change.kind] += 1
            # the state itself, which has lived through all of it, and not a copy of that
            lived = state_from_plain(plain)
            decisions = step(lived, list(change.events), play.now_us)
            started = [key for one in decisions if isinstance(one, d.Launch) for key in one.keys]
            assert change.starts in started, f"{play.name(key)}: {change}"


@given(st.sampled_from(range(len(POLICIES))), _MOVES)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_every_suggestion_starts_the_job(policy: int, moves: list[Move]) -> None:
    mixed = Mixed(policy)
    mixed.do(Move("node", 13))
    for move in moves:
        mixed.do(move)
    ask(mixed, SEEN)


def test_many_kinds_were_suggested() -> None:
    print(SEEN)
