"""When something may be used: intervals in which nodes or namespaces are open to work. Stored in journals."""

from bisect import bisect_right
from dataclasses import dataclass

#: an instant after all others
NEVER_US = 1 << 62
#: how scopes begin
NODE, NAMESPACE = "node:", "namespace:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """What is known of one scope: a node (or host) `node:NAME`, or a namespace and all below it, `namespace:NAME`."""

    scope: str
    #: as it was written; nothing: it is always open
    text: str = ""
    #: sorted, apart from each other, microseconds since the Unix epoch: `(start, end)`
    open: tuple[tuple[int, int], ...] = ()
    #: up to here it is known; an interval that reaches it has no known end
    until_us: int = 0

    def end_us(self, now_us: int) -> int:
        """When the window that is open now ends, NEVER_US where that is not known; 0 where none is open."""
        place = bisect_right(self.open, (now_us, NEVER_US)) - 1
        if place < 0 or self.open[place][1] <= now_us:
            return 0
        end = self.open[place][1]
        return NEVER_US if end >= self.until_us else end

    def opens_us(self, now_us: int) -> int | None:
        """When the next window opens; None where none is known."""
        place = bisect_right(self.open, (now_us, NEVER_US))
        return self.open[place][0] if place < len(self.open) else None
