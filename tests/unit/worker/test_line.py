"""Requests to stop are for one attempt."""

import pytest

from kos_ray.worker.line import Line


@pytest.mark.parametrize(("key", "attempt", "grace_ms"), [(1, 1, 50), (1, 2, None), (2, 1, None)])
def test_a_request_to_stop_is_for_one_attempt(
    monkeypatch: pytest.MonkeyPatch, key: int, attempt: int, grace_ms: int | None
) -> None:
    """The next one of the same job may run in the same slot."""
    line = object.__new__(Line)
    line.gone, line._stop = False, (1, 1, 50)
    monkeypatch.setattr(line, "_read", lambda: None)
    assert line.stop_grace_ms(key, attempt) == grace_ms
