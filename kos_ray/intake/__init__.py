"""Where events come from: programs beside the cluster that hear of something and tell it.

Covers: signed webhooks, files that appear or change, messages of queues. Each tells an event under an id that is the
same however often it is told, and forgets what it heard only when the event is durable: nothing is lost, and what comes
twice has the same id.
Does not cover: what happens then (`scheduler.reactions`), and how it is sent (`client`): each gets a function to call.
May import: `model`, `observe.webhook`. What a source needs besides is imported where it is used.
"""

from typing import Any, Protocol


class Emit(Protocol):
    """Tells an event, as `Client.emit`: durable when it returns; False where its id was heard before."""

    def __call__(self, name: str, data: Any = None, *, key: str = "", id: str = "", source: str = "") -> bool:  # noqa: A002
        """See `Client.emit`."""
        ...
