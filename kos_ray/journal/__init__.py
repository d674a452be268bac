"""Durable memory: what happened and what was decided, in frames that prove each other.

Covers: frames and their hash chain, current rows, lookups, verification, snapshots, blobs, and the reader.
Does not cover: what a frame should hold (`scheduler`), when one is written (`engine`).
May import: `model`, msgpack, the standard library.
"""
