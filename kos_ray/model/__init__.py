"""The words of kos_ray: frozen values that every other room speaks.

Covers: ids, resources, jobs and their states, nodes, events, decisions, reasons, errors, and the protocol
between scheduler and node agents.
Does not cover: what people write (`spec`), how anything is decided (`scheduler`) or stored (`journal`).
May import: the standard library's pure part only.
"""
