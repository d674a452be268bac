"""How well agents have done a method of late: how surely, and how fast. All of it is integers.

What is old counts half as much as what is new after so many times, so that an agent that has learnt, or fallen ill, is
seen soon; and what is known of few times is believed little (`bound`, a lower bound of the share that went well).
"""

from math import isqrt

#: what one time weighs; the sums are halved when they hold so many
_ONE = 64
_MEMORY = 64 * _ONE
#: of those of whom nothing is known: so many times, of which so many went well
_PRIOR, _PRIOR_GOOD = 5 * _ONE, 4 * _ONE
_WHOLE = 1_000
_LEAST = 50
#: weight of the newest run in the mean run time, as 1/n
_MEAN_WEIGHT = 8


class Skill:
    """What is known of one method of one agent."""

    __slots__ = ("good", "run_us", "tries")

    def __init__(self, tries: int = 0, good: int = 0, run_us: int = 0) -> None:
        self.tries = tries
        self.good = good
        #: how long it takes where it went well, 0 where nobody knows
        self.run_us = run_us

    def note(self, run_us: int) -> None:
        """It went well, and took so long; 0: it did not."""
        self.tries += _ONE
        if run_us:
            self.good += _ONE
            mean_us = (self.run_us * (_MEAN_WEIGHT - 1) + run_us) // _MEAN_WEIGHT if self.run_us else run_us
            self.run_us = max(1, mean_us)
        if self.tries >= _MEMORY:
            self.tries, self.good = self.tries >> 1, self.good >> 1

    @property
    def bound(self) -> int:
        """In thousandths: the share that goes well, less its standard error, so that few times are worth little."""
        tries = self.tries + _PRIOR
        share = (self.good + _PRIOR_GOOD) * _WHOLE // tries
        return max(_LEAST, share - isqrt(share * (_WHOLE - share) * _ONE // tries))


UNKNOWN = Skill()
