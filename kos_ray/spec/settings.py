"""Settings that documents are read with: `scheduler.yaml` and `scheduler_config.yaml`.

`ACTS` has those that documents are read with, `SCHEDULING` those that the scheduler goes by. A key that nothing acts on
yet is checked as well, and named in `Settings.not_yet`, so that nobody believes that it acts.
"""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import BANDS
from kos_ray.spec import policies
from kos_ray.spec.explain import explain, join
from kos_ray.spec.parse import (
    integer_between,
    is_entry,
    near,
    one_of,
    parse_mapping,
    parse_run,
    parse_text,
    parse_type,
)
from kos_ray.spec.places import Source, read_text
from kos_ray.spec.scale import PRIORITIES
from kos_ray.spec.units import describe, parse_milliseconds, shorten

MAX_RETRIES = 1_000
#: names a settings file for clients that are given none
VARIABLE = "KOS_SETTINGS"
#: the weights that apply where no file says otherwise
WEIGHTS = {"critical": 100, "high": 75, "normal": 50, "low": 25}
#: what runs jobs of a type: an entry point, or a command that finds the payload in KOS_PAYLOAD
Handler = str | tuple[str, ...]

#: the keys that something acts on
ACTS = ("priorities", "handlers", "job_timeout_default", "agent_timeout_default", "max_retry", "retry_backoff")
#: those that `kos up` hands to the scheduler
SCHEDULING = (*policies.CLUSTER, "namespaces")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a document's meaning depends on besides its text. `timeout_ms` 0 means none."""

    #: bands by weight
    weights: Mapping[int, int] = field(
        default_factory=lambda: {weight: PRIORITIES[name] for name, weight in WEIGHTS.items()}
    )
    #: handlers by job type
    handlers: Mapping[str, Handler] = field(default_factory=dict)
    timeout_ms: int = 0
    #: of agents that name none; 0: as all other jobs
    agent_timeout_ms: int = 0
    max_retry: int = MAX_RETRIES
    #: keys of the file that nothing acts on yet
    not_yet: tuple[str, ...] = ()
    #: keys of the file that act
    written: tuple[str, ...] = ()
    #: keys that the scheduler goes by, as they are written
    handed: Mapping[str, str] = field(default_factory=dict)
    #: what the file changes in the scheduler's policy, see `spec.policies`
    scheduling: Mapping[str, Any] = field(default_factory=dict)

    def in_effect(self) -> dict[str, str]:
        """What each key of `ACTS` comes to, written or not, for people to read."""
        weights = sorted(self.weights.items(), reverse=True)
        values = (
            ", ".join(f"{weight} is {BANDS[band]}" for weight, band in weights),
            ", ".join(self.handlers),
            f"{self.timeout_ms / 1_000:g} s" if self.timeout_ms else "none",
            f"{self.agent_timeout_ms / 1_000:g} s" if self.agent_timeout_ms else "as jobs",
            str(self.max_retry),
            "exponential",
        )
        return dict(zip(ACTS, values, strict=True))


def _parse_priorities(value: object) -> dict[int, int]:
    """Bands by weight: known names, weights that no band's number can be taken for, heavier is more urgent."""
    bands: dict[int, int] = {}
    for name, weight in parse_mapping(value, "a mapping of priorities to weights").items():
        if not isinstance(name, str) or name.lower() not in PRIORITIES:
            raise ValueError(f"expected one of {', '.join(PRIORITIES)}, found {describe(name)}{near(name, PRIORITIES)}")
        if isinstance(weight, bool) or not isinstance(weight, int) or not 6 <= weight <= 1_000_000:
            raise ValueError(
                f"{name}: expected a weight from 6 (0 to 5 are bands) to 1000000, found {describe(weight)}"
            )
        band = PRIORITIES[name.lower()]
        if bands.setdefault(weight, band) != band:
            raise ValueError(f"{name}: expected a weight of its own, found {weight} twice")
    heaviest_first = [bands[weight] for weight in sorted(bands, reverse=True)]
    if heaviest_first != sorted(heaviest_first):
        raise ValueError("expected heavier weights for more urgent bands, found another order")
    return bands


def _parse_handlers(value: object) -> dict[str, Handler]:
    handlers: dict[str, Handler] = {}
    for name, handler in parse_mapping(value, "a mapping of job types to handlers").items():
        kind = parse_type(name)
        try:
            handlers[kind] = handler if isinstance(handler, str) and is_entry(handler) else parse_run(handler)
        except ValueError as error:
            raise ValueError(f'{kind}: a handler is "module:function" or a command; {error}') from None
    return handlers


def _parse_host(value: object) -> str:
    text = parse_text(value, "a host")
    if any(sign.isspace() for sign in text) or len(text) > 255:
        raise ValueError(f"expected a host, found {shorten(text)}")
    return text


_Time = Annotated[int, BeforeValidator(parse_milliseconds)]
_Backend = Annotated[str, BeforeValidator(one_of(*policies.QUEUES))]


class QueueSettings(BaseModel):
    """A queue outside of the cluster that jobs come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: _Backend = Field(description="The kind of queue.")
    host: Annotated[str, BeforeValidator(_parse_host)] = Field(default="127.0.0.1", description="Where it is.")
    port: Annotated[int, BeforeValidator(integer_between(1, 65_535, "a port"))] | None = Field(
        default=None, description="Its port."
    )
    db: Annotated[int, BeforeValidator(integer_between(0, 1_000_000))] = Field(
        default=0, description="The number of the database."
    )
    stream_prefix: Annotated[str, BeforeValidator(parse_type)] = Field(
        default="", description="How the names of its streams begin."
    )


def _checked_namespaces(value: object) -> object:
    policies.parse_namespaces(value)
    return value


class SettingsFile(BaseModel):
    """The keys of `scheduler.yaml` and `scheduler_config.yaml`, and what the scheduler can be told besides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_timeout_default: _Time = Field(default=0, description="The timeout of jobs that name none.")
    retry_backoff: Annotated[str, BeforeValidator(one_of("exponential"))] = Field(
        default="exponential", description="How pauses between attempts grow: exponentially, there is no other way."
    )
    max_retry: Annotated[int, BeforeValidator(integer_between(0, MAX_RETRIES))] = Field(
        default=MAX_RETRIES, description="The most that a job may ask for as `retry`."
    )
    default_queue: Any = Field(
        default=None,
        description="Where jobs come from: "
        + ", ".join(policies.QUEUES)
        + "; sqlite, the journal itself, stands in for "
        "one that is not there.",
    )
    priorities: Annotated[dict[int, int], BeforeValidator(_parse_priorities)] = Field(
        default_factory=lambda: _parse_priorities(WEIGHTS),
        description="Weights by name; a job's `priority` may be one of these weights. Heavier is more urgent.",
    )
    handlers: Annotated[dict[str, Any], BeforeValidator(_parse_handlers)] = Field(
        default_factory=dict,
        description='Handlers by job type: "module:function", which gets the payload as its argument, or a command, '
        "which finds it as JSON in `KOS_PAYLOAD`.",
    )
    lease: Any = Field(
        default=None, description="How long exclusive work (`exactly_once`) goes on unrenewed, then it is killed."
    )
    heartbeat_interval: Any = Field(
        default=None, description="Seconds between heartbeats of nodes: a loss is known so much later at most."
    )
    rebalance: Any = Field(
        default=None,
        description="From when on a node is pressed, and attempts are moved away from it: true, or {memory: 90%, "
        "battery: {low: 15%}, after: 2, moves_per_minute: 4, rest: 10m, jobs: true}; false for never.",
    )
    telemetry: Any = Field(default=None, description="Whether the scheduler counts what it does, for `kos status`.")
    queue: QueueSettings | None = Field(default=None, description="A queue outside of the cluster. Not supported yet.")
    max_concurrent_agents: Any = Field(default=None, description="So many jobs with `agent: true` run at once.")
    max_agent_depth: Any = Field(
        default=None,
        description="So many generations of agents that end with their parent (`lifetime: cascading`), the first one "
        "counted: 8. A change is about agents that are registered from then on.",
    )
    max_agent_children: Any = Field(
        default=None, description="So many cascading agents that come of one agent: 32; likewise."
    )
    allow_agent_preemption: Any = Field(
        default=None, description="Whether room may be taken back from jobs with `agent: true`."
    )
    scheduler_mode: Any = Field(
        default=None,
        description="The discipline of the queue: " + ", ".join(policies.MODES) + ", or plugin:NAME (see Plug-ins).",
    )
    scheduling_model: Any = Field(
        default=None, description="How time is dealt with: " + ", ".join(policies.MODELS) + "."
    )
    just_in_time_slack: Any = Field(
        default=None, description="Just in time: by this share of its run time a job starts before it must: 0.2."
    )
    tiers: Any = Field(default=None, description="Priority tiering: the tiers' shares of a period: 50/30/20 per 60s.")
    plugin_deadline: Any = Field(
        default=None, description="A plug-in that has not answered by then is ended and disabled: 200ms."
    )
    max_memory_usage: Any = Field(default=None, description="Of each node's memory, what jobs may reserve: 85%.")
    preemption: Any = Field(default=None, description="Whether work is taken back for what is more urgent.")
    grace: Any = Field(default=None, description="Between asking an attempt to make room and ending it: 2s.")
    exempt_time: Any = Field(default=None, description="An attempt that has run for less than this is left alone: 1s.")
    patience: Any = Field(default=None, description="What is measured to end within this is waited for: 500ms.")
    max_evictions: Any = Field(default=None, description="A job that was evicted this often is left alone.")
    aging: Any = Field(default=None, description="How long a job may be passed, by band: {critical: 10m}, or for all.")
    time_slices: Any = Field(default=None, description="How long a job runs until it makes room for an equal, by band.")
    half_life: Any = Field(default=None, description="After this time, what an account used counts half: 5m.")
    entry_penalty: Any = Field(default=None, description="What a start is charged at once, of its share: 0.1.")
    burst: Any = Field(
        default=None,
        description="More jobs of a namespace than this wait one band lower: 20000/1m.",
    )
    licences: Any = Field(default=None, description="Licences of the cluster by name: {matlab: 2}.")
    rates: Any = Field(default=None, description="Rate limits by name: {tokens: 1000/1m}.")
    idle_slot: Any = Field(default=None, description="An idle slot gives its reservation back after this: 1s.")
    strategy: Any = Field(default=None, description="How nodes are chosen for jobs: pack, spread or fgd.")
    unknown_length: Any = Field(
        default=None, description="Whether jobs without run time and timeout start in a window that ends."
    )
    learn_run_times: Any = Field(
        default=None, description="Whether learnt run times are used for jobs that declare none."
    )
    claims: Any = Field(default=None, description="For so many jobs that do not fit at most, a node is kept free.")
    namespaces: Annotated[Any, BeforeValidator(_checked_namespaces)] = Field(
        default=None,
        description="Settings by namespace: " + ", ".join(policies.NAMESPACE) + ". `a/b` stands below `a`.",
    )
    log_retention_days: Any = Field(
        default=None, description="Days that stored logs are kept after their process ended; 0 for ever."
    )
    retention: Any = Field(
        default=None,
        description="How long jobs are kept once they are over: 30d, or by state, {succeeded: 7d}; 0 for ever.",
    )
    notify: Any = Field(
        default=None,
        description="Who is told of the ends of jobs: a URL, or a mapping with url or command (run on the head), "
        "states (failed and lost where none is named) and secret_file; or a list.",
    )
    result_folders: Any = Field(
        default=None, description="Folders on the head below which `results_to` may write files, besides its own."
    )
    journal_max_size: Any = Field(
        default=None, description="A journal with more than this loses its oldest jobs: 20GiB; 0 for no limit."
    )
    agent_timeout_default: _Time = Field(
        default=0,
        description="The timeout of jobs with `agent: true` that name none, and of the starts (never the lives) of "
        "agents that name no `start_timeout`.",
    )
    poison_after: Any = Field(
        default=None,
        description="A job under which so many worker processes died fails as `poison`, whatever its `retry`; 0 never.",
    )
    reschedule_on_crash: Any = Field(
        default=None,
        description="Whether a job with `agent: true` whose process died is started again, whatever its `retry`.",
    )

    @field_validator(*policies.CLUSTER, mode="before")
    @classmethod
    def _is_one(cls, value: object, info: ValidationInfo) -> object:
        """A setting of the scheduler's is kept as it is written, once it is known to be one."""
        policies.CLUSTER[str(info.field_name)][1](value)
        return value


def load_settings(path: str | Path) -> Settings:
    """The settings in a file.

    Raises:
        InvalidSpec: it cannot be read or accepted.

    """
    return parse_settings(read_text(path), str(path))


def parse_settings(text: str, name: str = "<settings>") -> Settings:
    """The settings in a text; `name` stands in its messages.

    Raises:
        InvalidSpec: it cannot be accepted.

    """
    source = Source(name, text)
    if not isinstance(source.data, dict):
        raise source.problem((), f"expected a mapping of settings, found {describe(source.data)}")
    try:
        found = SettingsFile.model_validate(source.data)
    except ValidationError as error:
        raise InvalidSpec(join(explain(source, error, (), source.data, SettingsFile))) from None
    return Settings(
        weights=found.priorities,
        handlers=found.handlers,
        timeout_ms=found.job_timeout_default,
        agent_timeout_ms=found.agent_timeout_default,
        max_retry=found.max_retry,
        not_yet=tuple(key for key in source.data if key not in (*ACTS, *SCHEDULING)),
        scheduling=_scheduling(source.data),
        handed={key: str(value) for key, value in source.data.items() if key in SCHEDULING},
        written=tuple(key for key in source.data if key in ACTS),
    )


def _scheduling(data: Mapping[str, Any]) -> policies.Change:
    change: policies.Change = {}
    for key, value in data.items():
        if key == "namespaces":
            change = policies.merged(change, {"namespaces": policies.parse_namespaces(value)})
        elif key in policies.CLUSTER:
            change = policies.merged(change, policies.change_of(key, value))
    return change


def current() -> Settings:
    """The settings of the file that `KOS_SETTINGS` names; the built-in ones where it names none.

    Raises:
        InvalidSpec: the file cannot be read or accepted.

    """
    path = os.environ.get(VARIABLE, "")
    return _of_file(path, Path(path).stat().st_mtime_ns if Path(path).is_file() else 0) if path else Settings()


@lru_cache(maxsize=4)
def _of_file(path: str, _changed_ns: int) -> Settings:
    found = load_settings(path)
    if found.not_yet:
        warnings.warn(f"{path}: not supported yet: {', '.join(found.not_yet)}", stacklevel=2)
    return found
