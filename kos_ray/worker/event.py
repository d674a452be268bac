"""What a job of a reaction is told of what happened."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened: `id` is the same however often it was heard of."""

    id: str
    name: str
    key: str = ""
    #: what JSON has: a mapping, as a rule; None where nothing was said
    data: Any = None
    #: when it happened (UTC), as its source says it
    at: datetime
    source: str = ""
    #: all of them, where several were needed, or are taken together; the fields above are the last one's
    events: "tuple[Event, ...]" = ()

    @classmethod
    def of(cls, told: str) -> "Event":
        """What was written as JSON: fields that it does not know are passed over."""
        return cls._of(json.loads(told))

    @classmethod
    def _of(cls, plain: dict[str, Any]) -> "Event":
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=plain["at_us"])
        known = {word: plain[word] for word in ("id", "name", "key", "data", "source") if word in plain}
        return cls(at=at, events=tuple(map(cls._of, plain.get("events", ()))), **known)
