"""What is wrong with a document, and where."""

from collections.abc import Sequence


class Misfit(ValueError):
    """A document that is no job in any form; `path` is where."""

    def __init__(self, path: Sequence[str], message: str) -> None:
        super().__init__(message)
        self.path = tuple(path)
