"""The rehearsal: the production scheduler, engine and journal in a virtual world, one seed one history.

Covers: virtual time, chance from one seed, a network that loses, delays and repeats, machines with foreign users, fake
node agents that keep the rules of `model.protocol`, clients that resend, schedules, faults, and an auditor who
believes nobody. `run.py` is the page to read first; `python -m kos_ray.sim --seeds 100` is the command.
Does not cover: Ray, processes, files, real time (`tests/ray`, `tests/crash`).
May import: `engine`, `scheduler`, `journal`, `spec`, `model`. One seeded `random.Random` and no clock.
"""
