"""The scheduler: who is next, where it fits, and why. Pure: events in, decisions out.

Covers: the state and its one door, order, placement, retry, dependencies, timers, invariants, snapshots, explain.
`machine.py` is the page to read first.
Does not cover: clocks, disks, networks, Ray (`engine`, `journal`, `runtime`).
May import: `model`. No clock, chance, I/O, logging or threads: time and ids arrive in the events.
"""
