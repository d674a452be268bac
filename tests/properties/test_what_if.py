"""Whatever is suggested starts the job in the next pass: in random states in which everything is used at once."""

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


def check(mixed: Mixed, seen: Counter[str]) -> None:
    """Ask what would start jobs that wait, and do it: each change in a state of its own, one in the state itself."""
    play = mixed.play
    plain = state_to_plain(play.state)
    waiting = [job.key for job in play.state.jobs.values() if job.state in (JobState.READY, JobState.HELD)]
    found = [change for key in waiting[:_ASKED] for change in what_if(plain, key, play.now_us)]
    seen["asked"] += len(waiting[:_ASKED])
    for change in reversed(found):
        seen[change.kind] += 1
        state = play.state if change is found[0] else state_from_plain(plain)
        # one after another, as somebody would do it
        decisions = [one for event in change.events for one in step(state, [event], play.now_us)]
        started = [key for one in decisions if isinstance(one, d.Launch) for key in one.keys]
        assert change.starts in started, change


def test_every_suggestion_starts_the_job() -> None:
    seen: Counter[str] = Counter()

    @given(st.sampled_from(range(len(POLICIES))), _MOVES)
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    def in_random_states(policy: int, moves: list[Move]) -> None:
        mixed = Mixed(policy)
        mixed.do(Move("node", 13))
        for move in moves:
            mixed.do(move)
        check(mixed, seen)

    in_random_states()
    assert seen["asked"] > 200
    assert min(seen[kind] for kind in ("fewer CPU", "gang", "end", "uncordon")) > 5, seen
