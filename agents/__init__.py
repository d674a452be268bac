"""Agents that are ready to use: `kos agent register agents.health_monitor:HealthMonitor --code .`.

Covers: user land; what stands here uses the facade (`import kos_ray`) and the standard library; the
file watcher also what `kos_ray.intake` knows of files.
"""
