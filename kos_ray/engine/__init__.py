"""The loop around the scheduler: time enters here, and nothing is done before it is on disk.

Covers: the inbox, admission of requests, the tick (step, append, dispatch, reply), recovery, reconciliation with what
node agents hold, and the outboxes of waiting clients. All of it synchronous and without threads: whoever drives the
engine (the scheduler actor, or the simulator) decides when a tick happens. `engine.py` is the page to read first.
Does not cover: Ray, sockets (`runtime`), how the journal stores (`journal`), what is decided (`scheduler`).
May import: `model`, `scheduler`, `timing`. What it needs from outside stands in `ports.py`.
"""
