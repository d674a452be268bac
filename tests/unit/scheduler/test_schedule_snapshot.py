"""Snapshots of schedules: small and quick where there are very many, and those of before are read."""

from kos_ray.journal.codec import pack, unpack
from kos_ray.model.ids import JobKey
from kos_ray.model.job import Spec
from kos_ray.model.schedule import Outcome, Overlap, Schedule, ScheduleFired, ScheduleSet
from kos_ray.model.wire import to_plain
from kos_ray.scheduler.schedule_snapshot import from_snapshot, to_snapshot
from kos_ray.scheduler.schedules import Schedules, fold

ONE, OTHER = Spec(entry="module:one", type="one"), Spec(entry="module:other", type="other")


def some() -> Schedules:
    """Three schedules of two specs; the first has a live job and a fire that waits for its end."""
    found = Schedules()
    for number, spec in enumerate((ONE, OTHER, Spec(entry="module:one", type="one"))):
        schedule = Schedule(name=f"s{number}", rules=("every 10s",), spec=spec, overlap=Overlap.BUFFER_ONE)
        fold(found, ScheduleSet(request_id="", schedule=schedule, next_us=10, due_us=10))
    for at_us, outcome, job in ((10, Outcome.SUBMITTED, JobKey(7)), (20, Outcome.BUFFERED, JobKey(0))):
        fired = ScheduleFired(
            key="default\0s0", nominal_us=at_us, outcome=outcome, job=job, next_us=at_us + 10, due_us=30
        )
        fold(found, fired)
    return found


def test_each_spec_stands_in_it_once() -> None:
    plain = unpack(pack(to_snapshot(some())))
    assert pack(plain).count(b"module:one") == 1
    found = from_snapshot(plain)
    first, second, third = (standing.schedule.spec for standing in found.by_key.values())
    assert (first, second) == (ONE, OTHER)
    assert third is first
    assert to_snapshot(found) == to_snapshot(some())
    assert found.of_job == {7: "default\0s0"}
    assert found.by_key["default\0s0"].buffer == (20,)


def test_one_of_before_is_read() -> None:
    *others, standings, reactions, unforeseen, _ = to_snapshot(some())
    schedules = [standing.schedule for standing in some().by_key.values()]
    before = [(to_plain(schedule), *rest[:-1]) for schedule, (_, *rest) in zip(schedules, standings, strict=True)]
    found = from_snapshot((*others, before, reactions, unforeseen))
    assert to_snapshot(found) == to_snapshot(some())
