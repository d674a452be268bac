"""Ray: the only room that imports it.

Covers: the scheduler actor, the node agents (as Ray actors) and slots (as Ray tasks), the reader actor, starting and
finding clusters. `scheduler.py` is the page to read first; `node_agent.py` is what runs on every node.
Does not cover: what is decided (`scheduler`), when (`engine`), what runs beside user code (`worker`).
May import: `model`, `engine`, `journal`, `worker`, and of `observe` what the herald carries out.
`scheduler.py` alone names the classes behind the engine's ports.
"""
