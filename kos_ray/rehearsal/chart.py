"""A rehearsal as a picture: utilisation and jobs that wait over time, and how long jobs waited, as PNG.

Drawn by matplotlib, which is an extra: `pip install "kos_ray[plots]"`. The same rehearsal gives the same bytes.
"""

# ruff: noqa: PLC0415 - an extra, and heavy: imported only where something is drawn

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kos_ray.model.errors import InvalidSpec
from kos_ray.rehearsal.record import Record
from kos_ray.rehearsal.report import end_of, utilisation_over_time, waiting_over_time, waits_by_band
from kos_ray.rehearsal.workload import SECOND_US

#: points over time
_PARTS = 600
#: of Okabe and Ito, which those tell apart who see few colours
_COLOURS = {
    "critical": "#d55e00",
    "realtime": "#e69f00",
    "interactive": "#009e73",
    "default": "#0072b2",
    "idle": "#56b4e9",
    "background": "#8c8c8c",
}
_INK = "#1a1a1a"
#: the shortest wait on a logarithmic axis, in seconds
_LEAST_S = 0.01
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "legend.frameon": False,
}
#: where no line is hidden by it
_BESIDE: Any = {"title": "band", "loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "alignment": "left"}


def check_chart(path: Path) -> None:
    """Whether a chart can be drawn to a file; asked before a rehearsal, which may take long.

    Raises:
        InvalidSpec: it is no PNG, its folder is not there, or matplotlib is not.

    """
    if path.suffix.lower() != ".png":
        raise InvalidSpec(f"--plot: expected a file that ends in .png, found {str(path)!r}")
    if not path.parent.is_dir():
        raise InvalidSpec(f"--plot: expected a file in a folder that is there, found {str(path)!r}")
    if find_spec("matplotlib") is None:
        raise InvalidSpec('--plot: expected matplotlib to be installed, found none: pip install "kos_ray[plots]"')


def draw_chart(record: Record, title: str, path: Path) -> None:
    """Draw a record that was reported on."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, 9), layout="constrained")
        use, queue, waits = figure.subplots(3, 1)
        figure.suptitle(title, fontsize=11, wrap=True)
        span_s = (end_of(record) - record.start_us) / SECOND_US
        unit, seconds = _unit(span_s)
        at = [(part + 0.5) * span_s / seconds / _PARTS for part in range(_PARTS)]
        _draw_use(use, at, record)
        _draw_queue(queue, at, record)
        for axes in (use, queue):
            axes.set_xlim(0, span_s / seconds or 1)
            axes.set_xlabel(f"time since the first arrival ({unit})")
        _draw_waits(waits, record)
        # neither a date nor the version of whoever drew it
        figure.savefig(path, dpi=120, metadata={"Software": None})


def _draw_use(axes: Any, at: list[float], record: Record) -> None:
    percent = [100 * share for share in utilisation_over_time(record, _PARTS)]
    if percent:
        axes.fill_between(at, percent, color="#0072b2", alpha=0.25, linewidth=0)
        axes.plot(at, percent, color="#0072b2", linewidth=1)
    axes.set_ylim(0, 105)
    axes.set_ylabel(f"{record.main} in use (%)")
    axes.set_title("Utilisation", loc="left")


def _draw_queue(axes: Any, at: list[float], record: Record) -> None:
    by_band = {band: parts for band, parts in waiting_over_time(record, _PARTS).items() if any(parts)}
    if by_band:
        axes.stackplot(
            at, *by_band.values(), labels=list(by_band), colors=[_COLOURS[band] for band in by_band], linewidth=0
        )
        axes.legend(**_BESIDE)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("jobs that wait")
    axes.set_title("Queue, by band", loc="left")


def _draw_waits(axes: Any, record: Record) -> None:
    by_band = {band: waits for band, waits in waits_by_band(record).items() if waits}
    most_s = 2 * max([_LEAST_S, *(waits[-1] for waits in by_band.values())])
    for band, waits in by_band.items():
        shares = [100 * (number + 1) / len(waits) for number in range(len(waits))]
        shown = [max(wait_s, _LEAST_S) for wait_s in waits]
        label = f"{band} ({len(waits)} jobs)"
        axes.step(
            [_LEAST_S, *shown, most_s],
            [0, *shares, 100],
            where="post",
            label=label,
            color=_COLOURS[band],
            linewidth=1.6,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(_LEAST_S, most_s)
    axes.set_ylim(0, 105)
    axes.set_xlabel(f"wait (s; {_LEAST_S:g} s and less at the left edge)")
    axes.set_ylabel("jobs that waited no longer (%)")
    axes.set_title("Waits, by band", loc="left")
    if by_band:
        axes.legend(**_BESIDE)


def _unit(span_s: float) -> tuple[str, int]:
    """The unit in which a span is read best, and its seconds."""
    for unit, seconds in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if span_s >= 2 * seconds:
            return unit, seconds
    return "seconds", 1
