"""Fixtures of the engine's tests."""

import sqlite3
from collections.abc import Iterator

import pytest

from kos_ray.model import failpoints


@pytest.fixture
def full() -> Iterator[list[bool]]:
    """A switch: while `full[0]`, every commit fails as on a full disk."""
    switch = [False]

    def reach(name: str) -> None:
        if switch[0] and name == "journal.before_commit":
            raise sqlite3.OperationalError("database or disk is full")

    failpoints.install(reach)
    yield switch
    failpoints.install(None)
