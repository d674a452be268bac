"""Plug-ins that order the jobs of a namespace, each in a process of its own.

Covers: finding them by entry points, checking that they have the methods that they need, the process in which one runs
(`host.py`), the engine's port to it (`process.py`), a sample, and one that orders graphs (`graph_search.py`). No
plug-in's code is ever imported anywhere else, but in a rehearsal.
Does not cover: what an answer comes to (`engine.advice`), how ranks order jobs (`scheduler.advice`).
May import: `model`.
"""
