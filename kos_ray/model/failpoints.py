"""Named places where a test can make the process die: `reach` does nothing unless a hook is installed."""

from collections.abc import Callable

_hooks: list[Callable[[str], None]] = []


def install(hook: Callable[[str], None] | None) -> None:
    """Call `hook` with the name of every failpoint that is reached from now on; None removes it."""
    _hooks[:] = [hook] if hook else []


def reach(name: str) -> None:
    """Say that the failpoint `name` is reached."""
    for hook in _hooks:
        hook(name)
