"""A progress bar on standard error, where somebody looks at it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def tracking(total: int, what: str, *, shown: bool = True) -> Iterator[Callable[[], None]]:
    """Give what is to be called for each job that ends; it draws nothing into a file or a pipe."""
    if not shown:
        yield lambda: None
        return
    from rich.console import Console  # noqa: PLC0415 - only whoever wants a bar pays for the import
    from rich.markup import escape  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    visible = console.is_interactive or console.is_jupyter
    with Progress(*columns, console=console, disable=not visible) as bar:
        task = bar.add_task(escape(what), total=total)
        yield lambda: bar.advance(task)
