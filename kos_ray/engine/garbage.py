"""Python's collector of cycles, kept from walking over all jobs again and again.

A full collection looks at every object that lives: half a second with a million jobs waiting, in which nothing is
decided. Jobs stand in no cycles, so it would find nothing; what lives for long is taken out of its sight.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: new objects, and younger collections, before the next collection: a frame of a thousand jobs makes some ten thousand
_THRESHOLDS = (50_000, 20, 20)


def begin() -> None:
    """After a boot: what was made for it goes, what is left stays."""
    gc.set_threshold(*_THRESHOLDS)
    gc.collect()
    gc.freeze()


def keep() -> None:
    """What lives now is not looked at any more: it goes when nobody holds it. To be done now and then."""
    gc.freeze()


@contextmanager
def waiting() -> Iterator[None]:
    """Nothing is looked at while very much is made that stays: it would be walked over again and again as it grows."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
