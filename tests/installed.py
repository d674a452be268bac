"""Entry points as an installed package leaves them."""

from pathlib import Path

#: those of kos_ray itself
SHIPPED = """\
[kos_ray.disciplines]
shortest_job_first = kos_ray.plugins.samples:ShortestJobFirst
[kos_ray.graph_disciplines]
graph_search = kos_ray.plugins.graph_search:GraphSearch
[kos_ray.repeat_rules]
fibonacci = kos_ray.plugins.rules:Fibonacci
[kos_ray.event_sources]
lines = kos_ray.intake.plugins:Lines
"""


def install_entry_points(folder: Path, text: str = SHIPPED) -> None:
    """Have a folder that stands on the path name these entry points."""
    info = folder / "plugins_of_tests-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugins-of-tests\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(text)
