"""Short runs on real clusters; `make chaos` makes long ones."""

import pytest

from tests.chaos.seeds import run_seed

SECONDS = 12.0


@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1001, 1002, 1003])
def test_what_was_acknowledged_is_carried_out(seed: int) -> None:
    verdict = run_seed(seed, SECONDS)
    told = f"make chaos SEEDS=1 FIRST_SEED={seed} SECONDS={SECONDS:g}"
    assert not verdict["problems"], "\n".join([told, *verdict["problems"]])
    assert verdict["jobs"] >= SECONDS
    assert sum(verdict["landed"].values()) >= SECONDS / 10
