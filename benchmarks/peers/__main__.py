"""Ours and others in turn: `python -m benchmarks.peers --only huey dask --rounds 3`. Each peer has its own packages.

A map of no-op jobs, first submit to last result, and one job after another, submit to result, on two CPUs each. Who
is too slow for many is given fewer: that is to its favour, as what a start costs is no part of either.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers.talk import Peer

_OUT = Path("build/peers.json")
_TRIPS = 100


class _System(NamedTuple):
    module: str
    #: jobs in a map, and trips
    jobs: int
    trips: int = _TRIPS


SYSTEMS = {
    "ray": _System("plain_ray", 5_000),
    "huey": _System("huey_peer", 3_000),
    "dask": _System("dask_peer", 3_000),
    "parsl": _System("parsl_peer", 3_000),
    "celery": _System("celery_peer", 3_000),
    "dramatiq": _System("dramatiq_peer", 3_000),
    "hyperqueue": _System("hyperqueue_peer", 500, 20),
    "prefect": _System("prefect_peer", 50, 5),
}
#: of ours: the same jobs that the fastest of them had
_OURS = _System("ours", 5_000)


class _Found(NamedTuple):
    name: str
    version: str
    jobs_s: float
    trip_ms: float
    ours_jobs_s: float
    ours_trip_ms: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write build/peers.json; 1 where somebody was ahead of us."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="PEER")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="that has the peers' packages")
    options = parser.parse_args(arguments)
    found = []
    for name in options.only:
        try:
            found.append(_beside(name, options.python, options.rounds))
        except (OSError, RuntimeError) as error:
            print(f"{name}: not measured: {error}", flush=True)
            continue
        print(_line(found[-1]), flush=True)
    _OUT.parent.mkdir(exist_ok=True)
    _OUT.write_text(json.dumps([one._asdict() for one in found], indent=1) + "\n")
    _plot(found, _OUT.with_suffix(".png"))
    return int(len(found) < len(options.only) or any(_behind(one) for one in found))


def _beside(name: str, python: Path, rounds: int) -> _Found:
    """One peer and ours, both running, measured in turn."""
    system = SYSTEMS[name]
    own = Path(sys.executable) if name == "ray" else python
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(own, f"benchmarks.peers.{system.module}", Path(folder))
        ours = Peer(Path(sys.executable), f"benchmarks.peers.{_OURS.module}", Path(folder))
        try:
            rates, trips, our_rates, our_trips = [], [], [], []
            for _ in range(rounds):
                rates.append(peer.map_rate(system.jobs))
                our_rates.append(ours.map_rate(_OURS.jobs))
                trips.append(statistics.median(peer.trips_ms(system.trips)))
                our_trips.append(statistics.median(ours.trips_ms(_OURS.trips)))
        finally:
            ours.close()
            peer.close()
    middle = statistics.median
    return _Found(name, peer.version, middle(rates), middle(trips), middle(our_rates), middle(our_trips))


def _behind(found: _Found) -> bool:
    return found.ours_jobs_s < found.jobs_s or found.ours_trip_ms > found.trip_ms


def _line(found: _Found) -> str:
    return (
        f"{found.version:22} {found.jobs_s:8,.0f} jobs/s, ours {found.ours_jobs_s:8,.0f}: "
        f"{found.ours_jobs_s / found.jobs_s:6.1f}x   "
        f"one job {found.trip_ms:7.2f} ms, ours {found.ours_trip_ms:6.2f}: {found.ours_trip_ms / found.trip_ms:5.2f}x"
    )


def _plot(found: Sequence[_Found], path: Path) -> None:
    """Both figures as bars, on scales of magnitudes."""
    import matplotlib as mpl  # noqa: PLC0415 - a second, and only here

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    if not found:
        return
    figure, axes = plt.subplots(1, 2, figsize=(10, 0.45 * len(found) + 2))
    names = ["kos_ray", *(one.version for one in found)]
    rates = [statistics.median(one.ours_jobs_s for one in found), *(one.jobs_s for one in found)]
    trips = [statistics.median(one.ours_trip_ms for one in found), *(one.trip_ms for one in found)]
    pictures = ((rates, "jobs a second", "{:,.0f}"), (trips, "ms for one job", "{:,.1f}"))
    for axis, (values, title, form) in zip(axes, pictures, strict=True):
        bars = axis.barh(names, values, color=["tab:blue", *["tab:gray"] * len(found)])
        axis.bar_label(bars, fmt=form, padding=3)
        axis.set(title=title, xscale="log", xmargin=0.3)
        axis.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
