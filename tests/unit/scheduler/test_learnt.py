"""Learnt run times: what is counted, what the quantiles are, what goes before them."""

from random import Random

import pytest

from kos_ray.model.job import Spec
from kos_ray.model.payload import BlobRef, inline, referring
from kos_ray.model.resources import Resources
from kos_ray.scheduler import learnt
from kos_ray.scheduler.learnt import UNKNOWN, Estimate, Learnt, Source, bounds, bucket_of, estimated, size_of, sizes_of
from kos_ray.scheduler.models import estimate, estimate_of
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from tests.scenarios.language import Play

S = 1_000_000
SPEC = Spec(type="train", resources=Resources.of({"CPU": 1}))
WIDE = Spec(type="train", resources=Resources.of({"CPU": 8}))


def test_buckets_cover_all_times_and_are_narrow() -> None:
    edge = 0
    for bucket in range(180):
        low_us, high_us = bounds(bucket)
        assert low_us == edge
        assert bucket_of(low_us) == bucket_of(high_us) == bucket
        assert high_us - low_us <= low_us // 4
        edge = high_us + 1
    assert edge > 365 * 24 * 3600 * S


def test_quantiles_are_off_by_a_quarter_at_most() -> None:
    random = Random(7)
    runs = [round(random.lognormvariate(16, 0.8)) for _ in range(256)]
    known = Learnt()
    for run_us in runs:
        known.add(SPEC, 0, [run_us])
    ranked = sorted(runs)
    found = known.of(SPEC, 0)
    assert found.source is Source.SIZE
    assert found.runs == 256
    for quantile_us, rank in ((found.low_us, 25), (found.mid_us, 127), (found.high_us, 230)):
        assert 0.75 <= quantile_us / ranked[rank] <= 1.34
    assert found.low_us <= ranked[25]
    assert found.high_us >= ranked[229]


def test_old_runs_are_forgotten() -> None:
    known = Learnt()
    known.add(SPEC, 0, [S] * 1_000)
    assert known.of(SPEC, 0).mid_us < 2 * S
    for _ in range(10):
        known.add(SPEC, 0, [60 * S] * 100)
    found = known.of(SPEC, 0)
    assert found.low_us > 50 * S
    assert found.runs == 2_000


def test_one_batch_is_as_good_as_many() -> None:
    one, many = Learnt(), Learnt()
    runs = [S + 1_000 * i for i in range(64)]
    one.add(SPEC, 0, runs)
    for run_us in runs:
        many.add(SPEC, 0, [run_us])
    assert one.of(SPEC, 0) == many.of(SPEC, 0)


def test_the_narrowest_kind_with_enough_runs_is_asked() -> None:
    known = Learnt()
    known.add(SPEC, 0, [S] * 8)
    assert known.of(SPEC, 0).source is Source.SIZE
    assert known.of(SPEC, 3).source is Source.SHAPE
    assert known.of(WIDE, 3).source is Source.TYPE
    assert known.of(Spec(type="other"), 0) is UNKNOWN
    assert known.of(Spec(type="train", namespace="team"), 0) is UNKNOWN
    known.add(WIDE, 3, [9 * S])
    found = known.of(WIDE, 3)
    assert (found.source, found.sure) == (Source.TYPE, True)


def test_few_runs_are_not_sure() -> None:
    known = Learnt()
    known.add(SPEC, 0, [S] * 7)
    assert not known.of(SPEC, 0).sure
    known.add(SPEC, 0, [S])
    assert known.of(SPEC, 0).sure


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learnt, "KINDS_MAX", 9)
    known = Learnt()
    for name in ("a", "b", "c", "a", "d"):
        known.add(Spec(type=name), 0, [S])
    assert len(known.kinds) == 9
    assert known.of(Spec(type="b"), 0) is UNKNOWN
    assert known.of(Spec(type="a"), 0).runs == 2


def test_what_is_declared_goes_before_and_a_limit_bounds() -> None:
    found = Estimate(4 * S, 8 * S, 16 * S, Source.TYPE, 9)
    assert estimated(SPEC, found) == found
    assert estimated(Spec(run_ms=3_000, timeout_ms=1), found) == (3 * S, 3 * S, 3 * S, Source.DECLARED, 0)
    assert estimated(Spec(timeout_ms=5_000), found) == (4 * S, 5 * S, 5 * S, Source.TYPE, 9)
    assert estimated(Spec(timeout_ms=5_000), UNKNOWN) == (0, 0, 5 * S, Source.LIMIT, 0)


def test_sizes_of_arguments() -> None:
    assert size_of(b"") == size_of(inline(b"x" * 1_000)) == 0
    assert size_of(inline(b"x" * 2_000)) == 1
    large = size_of(inline(b"x" * 40_000))
    assert large == size_of(referring(BlobRef("0" * 64, 40_000))) > size_of(inline(b"x" * 9_000))
    assert sizes_of(0) == (0, 1_024)
    first, below = sizes_of(large)
    assert first <= 40_000 < below == 4 * first


def runs_of(words: str, *happens: list[str]) -> int:
    """How many runs of `j` count."""
    play = Play({"ahead_us": 0})
    play.do(["node n cpu=1", f"submit j cpu=1 {words}"])
    for lines in happens:
        play.do(lines)
    spec = Spec(type="j", resources=Resources.of({"CPU": 1}))
    return play.state.learnt.of(spec, 0).runs


def test_what_counts() -> None:
    assert runs_of("", ["end j succeeded ran=1s"]) == 1
    assert runs_of("timeout=5s", ["end j timed_out ran=5s"]) == 1
    assert runs_of("", ["end j failed ran=1s"]) == 0
    again = [["end j failed ran=1s"], ["wait 1s"], ["end j succeeded ran=1s"]]
    assert runs_of("retries=1", *again) == 1
    assert runs_of("retries=1 evict=checkpoint", *again) == 0


def test_sizes_are_forgotten_with_their_jobs_and_kept_in_snapshots() -> None:
    play = Play({"ahead_us": 0})
    play.do(["node n cpu=2", "submit j x2 cpu=1 args=5000", "submit k cpu=1"])
    assert list(play.state.sizes) == [play.keys["j.0"], play.keys["j.1"]]
    play.do(["end j.0 succeeded ran=3s"])
    assert list(play.state.sizes) == [play.keys["j.1"]]
    again = state_from_plain(state_to_plain(play.state))
    assert estimate_of(again, again.jobs[play.keys["j.1"]]) == estimate_of(play.state, play.job("j.1"))
    assert estimate_of(again, again.jobs[play.keys["j.1"]]).source is Source.SIZE
    assert list(again.learnt.kinds) == list(play.state.learnt.kinds)
    play.do(["policy learn_run_times=0"])
    assert estimate(play.state, play.job("j.1").entry.spec) == UNKNOWN
