"""What the back ends run on the nodes; it imports nothing that is heavy."""

from collections.abc import Callable
from typing import Any


def run(function: Callable[[], Any]) -> Any:
    """One call that is all in its argument, so that many of them share one template."""
    return function()


def run_chunk(function: Callable[..., Any], chunk: list[tuple[Any, ...]]) -> list[Any]:
    """Several calls in one job."""
    return [function(*arguments) for arguments in chunk]
