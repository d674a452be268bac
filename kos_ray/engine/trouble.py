"""Journal trouble: what holds while the disk refuses, and who is told."""

from collections.abc import Iterable

from kos_ray.engine.inbox import Item
from kos_ray.model import events as e
from kos_ray.model.errors import Refused
from kos_ray.model.ids import NodeId


class Trouble:
    """Why and since when the journal cannot write; `reason` is "" and `since_us` 0 while it can.

    The trouble lasts until a frame is on disk that says so (`JournalResumed`): room for a probe alone ends nothing.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.since_us = 0

    def begin(self, error: Exception, now_us: int) -> None:
        """The disk refused."""
        self.reason = str(error)
        self.since_us = self.since_us or now_us

    def over(self) -> None:
        """A frame is on disk."""
        self.reason, self.since_us = "", 0

    def event(self) -> e.JournalResumed:
        """What the first frame after it says."""
        return e.JournalResumed(since_us=self.since_us, reason=self.reason)

    def refusal(self) -> Refused:
        """The answer to whoever asks for something."""
        return Refused(f"nothing is accepted while the journal cannot write: {self.reason}")

    def refuse(self, items: Iterable[Item]) -> list[Item]:
        """Nothing of these has happened: whoever waits for an answer tries again. The last greetings are kept."""
        greetings: dict[NodeId, Item] = {}
        for item in items:
            if isinstance(item.what, tuple):
                greetings[item.what[0].id] = item
            elif item.reply is not None:
                item.reply(self.refusal())
        return list(greetings.values())
