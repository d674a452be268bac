"""The parts of the node agent core (`runtime.node_agent`), none of which imports ray.

Covers: its ports, attempts and pools of slots, the connection to a slot, reports, files of a node directory.
Does not cover: how slots are started in Ray and blobs are moved (`runtime.ray_*`), and the slot itself (`worker`).
May import: `model`, `worker`, msgpack.
"""
