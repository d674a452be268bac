"""Synthetic workloads: streams of jobs with distributions of arrivals, sizes and run times, drawn from one seed.

A stream draws from a generator of its own, so that one that is added changes nothing of the others.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from kos_ray.model.gang import GANG_MAX
from kos_ray.model.ids import MS_US
from kos_ray.model.job import Eviction, Spec
from kos_ray.model.resources import Resources
from kos_ray.rehearsal.cluster import parse_resources
from kos_ray.rehearsal.workload import ENTRY, VirtualJob, in_order
from kos_ray.spec.fields import band_of
from kos_ray.spec.parse import (
    near,
    number_between,
    parse_eviction,
    parse_integer,
    parse_list,
    parse_mapping,
    parse_namespace,
    parse_text,
)
from kos_ray.spec.places import Source, read_text
from kos_ray.spec.settings import Settings
from kos_ray.spec.units import describe, parse_milliseconds

JOBS_MAX = 10_000_000
#: ten years: what is drawn beyond is cut
_RUN_MS_MAX = 10 * 365 * 86_400_000
_RATE = re.compile(r"\s*(\d+)\s*/\s*(.+)")
#: draws milliseconds
_Draw = Callable[[Random], int]
#: draws the microseconds from the arrival before a job of this number to its own
_Gap = Callable[[Random, int], int]


def read_synthetic(path: str, seed: int) -> tuple[VirtualJob, ...]:
    """The jobs of a file with `streams`, drawn from a seed.

    Raises:
        InvalidSpec: `file:line: streams[0].run_time: expected ..., found ...`.

    """
    source = Source(path, read_text(path))
    data = source.data
    if not isinstance(data, dict) or set(data) != {"streams"} or not isinstance(data["streams"], list):
        raise source.problem((), f"expected `streams:` with a list of streams of jobs, found {describe(data)}")
    if not data["streams"]:
        raise source.problem(("streams",), "expected at least one stream, found none")
    found: list[VirtualJob] = []
    for index, stream in enumerate(data["streams"]):
        fields = _parsed(source, ("streams", index), stream)
        found += _draw(fields, Random(f"{seed}/{index}"), fields["name"] or f"s{index + 1}")
    return in_order(found)


def _draw(fields: Mapping[str, Any], chance: Random, name: str) -> list[VirtualJob]:
    spec = Spec(
        type=name,
        entry=ENTRY,
        band=fields["priority"],
        namespace=fields["namespace"],
        eviction=fields["preemption"],
        grace_ms=fields["grace"],
        single_use=fields["gang"] > 1,
    )
    at_us = fields["start"] * MS_US
    found = []
    for number in range(fields["jobs"]):
        at_us += fields["arrivals"](chance, number)
        run_ms = min(fields["run_time"](chance), _RUN_MS_MAX)
        resources = fields["resources"](chance)
        declared_ms = math.ceil(run_ms * fields["declared"])
        job = VirtualJob(
            name=f"{name}-{number + 1}",
            at_us=at_us,
            run_us=run_ms * MS_US,
            spec=replace(spec, resources=resources, run_ms=declared_ms, single_use=alone(resources, spec.single_use)),
            user=fields["user"],
            members=fields["gang"],
            deadline_us=fields["deadline"](run_ms) * MS_US,
        )
        found.append(job)
    return found


def alone(resources: Resources, gang: bool) -> bool:
    """Whether attempts have processes of their own, as `spec.lower` says."""
    return gang or dict(resources.amounts).get("GPU", 0) > 0


# --- what is written


def _run_time(value: object) -> _Draw:
    """A time, or one of `exponential: MEAN`, `lognormal: {median, sigma}`, `uniform: [LOW, HIGH]`."""
    if not isinstance(value, dict):
        fixed = parse_milliseconds(value)
        return lambda _chance: fixed
    kind, given = _only(value, ("exponential", "lognormal", "uniform"))
    if kind == "exponential":
        mean = parse_milliseconds(given)
        return lambda chance: round(-mean * math.log(1.0 - chance.random()))
    if kind == "uniform":
        bounds = [parse_milliseconds(one) for one in parse_list(given, "two times such as [10s, 1m]")]
        if len(bounds) != 2 or bounds[0] > bounds[1]:
            raise ValueError(f"uniform: expected two times such as [10s, 1m], found {describe(given)}")
        return lambda chance: chance.randint(bounds[0], bounds[1])
    fields = parse_mapping(given, "a mapping such as {median: 1m, sigma: 1.2}")
    if set(fields) != {"median", "sigma"}:
        raise ValueError(f"lognormal: expected a mapping such as {{median: 1m, sigma: 1.2}}, found {describe(given)}")
    median, sigma = parse_milliseconds(fields["median"]), number_between(0, 10)(fields["sigma"])
    return lambda chance: round(median * math.exp(sigma * chance.gauss(0.0, 1.0)))


def _arrivals(value: object) -> _Gap:
    """`{poisson: 10/1m}`, or `{every: 5s}`."""
    kind, given = _only(parse_mapping(value, "a mapping such as {poisson: 10/1m} or {every: 5s}"), ("poisson", "every"))
    if kind == "every":
        gap_us = parse_milliseconds(given) * MS_US
        return lambda _chance, number: gap_us if number else 0
    match = _RATE.fullmatch(given) if isinstance(given, str) else None
    if match is None or not int(match[1]) or not parse_milliseconds(match[2]):
        raise ValueError(f"poisson: expected a rate such as 10/1m, found {describe(given)}")
    mean_us = parse_milliseconds(match[2]) * MS_US / int(match[1])
    return lambda chance, _number: round(-mean_us * math.log(1.0 - chance.random()))


def _resources(value: object) -> Callable[[Random], Resources]:
    """One shape, or several of which one is drawn by its `weight`."""
    if isinstance(value, dict):
        one = parse_resources(value)
        return lambda _chance: one
    shapes, weights = [], []
    for given in parse_list(value, "a mapping of resources to amounts, or a list of those with weights"):
        fields = dict(parse_mapping(given, "a mapping such as {cpu: 4, weight: 2}"))
        weights.append(number_between(0, 1_000_000)(fields.pop("weight", 1)))
        shapes.append(parse_resources(fields))
    if not any(weights):
        raise ValueError("expected at least one shape with a weight above 0, found none")
    return lambda chance: chance.choices(shapes, weights)[0]


def _declared(value: object) -> float:
    """`exact`, `none`, or what the true run time is multiplied with."""
    words = {"exact": 1.0, "none": 0.0}
    return words[value] if isinstance(value, str) and value in words else number_between(0, 1_000)(value)


def _deadline(value: object) -> Callable[[int], int]:
    """A time after the arrival, or `3x`: so many times the run time."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x", value) if isinstance(value, str) else None
    if match:
        factor = float(match[1])
        return lambda run_ms: max(1, math.ceil(run_ms * factor))
    fixed = parse_milliseconds(value)
    return lambda _run_ms: fixed


def _only(value: Mapping[Any, Any], known: tuple[str, ...]) -> tuple[str, Any]:
    if len(value) != 1 or next(iter(value)) not in known:
        raise ValueError(f"expected one of {', '.join(known)}, found {', '.join(map(str, value)) or 'nothing'}")
    return next(iter(value.items()))


#: the fields of a stream: how each is read, and what holds where it is not written
_FIELDS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "name": (lambda value: parse_text(value, "a name"), ""),
    "jobs": (lambda value: parse_integer(value, "a number of jobs", 1, JOBS_MAX), None),
    "start": (parse_milliseconds, 0),
    "arrivals": (_arrivals, lambda _chance, _number: 0),
    "run_time": (_run_time, None),
    "resources": (_resources, lambda _chance: Resources.of({"CPU": 1})),
    "priority": (lambda value: band_of(value, Settings()), 3),
    "namespace": (parse_namespace, "default"),
    "user": (lambda value: parse_text(value, "a user's name"), ""),
    "declared": (_declared, 1.0),
    "deadline": (_deadline, lambda _run_ms: 0),
    "preemption": (parse_eviction, Eviction.REQUEUE),
    "grace": (parse_milliseconds, 0),
    "gang": (lambda value: parse_integer(value, "a number of members", 1, GANG_MAX), 1),
}
_NEEDED = ("jobs", "run_time")


def _parsed(source: Source, path: tuple[str | int, ...], stream: object) -> dict[str, Any]:
    if not isinstance(stream, dict):
        raise source.problem(path, f"expected a stream such as {{jobs: 100, run_time: 1m}}, found {describe(stream)}")
    for key in stream:
        if key not in _FIELDS:
            message = f"expected one of {', '.join(_FIELDS)}, found {key!r}{near(key, _FIELDS)}"
            raise source.problem((*path, str(key)), message)
    for key in _NEEDED:
        if key not in stream:
            raise source.problem(path, f"expected {key!r} in every stream, found none")
    found = {}
    for key, (parse, default) in _FIELDS.items():
        try:
            found[key] = parse(stream[key]) if key in stream else default
        except ValueError as error:
            raise source.problem((*path, key), str(error)) from None
    return found
