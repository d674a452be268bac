"""The scheduler's settings as people write them, in a file or as KEY=VALUE, and what they change in its policy.

A change is plain data: `{"policy": {field: value}, "namespaces": {name: {field: value}}}` with the fields of
`model.policy`; None puts a field back to what it was built with. The scheduler merges it into the policy in force.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import BANDS, JobState
from kos_ray.model.policy import Against, Discipline, Model
from kos_ray.model.resources import UNIT
from kos_ray.spec.hooks import parse_notify
from kos_ray.spec.parse import (
    integer_between,
    near,
    number_between,
    one_of,
    parse_counts,
    parse_flag,
    parse_mapping,
    parse_namespace,
    parse_text,
    parse_type,
)
from kos_ray.spec.rebalance import parse_rebalance
from kos_ray.spec.scale import PRIORITIES
from kos_ray.spec.units import describe, parse_amount, parse_bytes, parse_milliseconds
from kos_ray.spec.where import parse_strategy

Change = dict[str, dict[str, Any]]
_Parse = Callable[[object], Any]

#: how `scheduler_mode` is written
MODES = {mode.name.lower(): mode for mode in Discipline if mode is not Discipline.PLUGIN} | {
    "dependency": Discipline.DEPENDENCY_GRAPH
}
#: and how a plug-in's name follows
PLUGIN = "plugin:"
#: how `scheduling_model` is written
MODELS = {model.name.lower(): model for model in Model}
#: the states of which `retention` speaks
_FINALS = tuple(state.name.lower() for state in JobState if state.final)
_RESOURCES = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}
_RATE = re.compile(r"\s*(\d+)\s*/\s*(.+)")
_TIERS = re.compile(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*/\s*(\d{1,6})\s+per\s+(.+)")
_MS_US = 1_000
_PERIOD_MIN_US = 1_000_000
_NO_MORE = 1 << 40


def _notify(value: object) -> tuple[dict[str, Any], ...]:
    return parse_notify(value, commands=True) if value else ()


def _folders(value: object) -> tuple[str, ...]:
    folders = [value] if isinstance(value, str) else value or ()
    if not isinstance(folders, list | tuple):
        raise ValueError(f"expected folders on the head, found {describe(folders)}")  # noqa: TRY004
    for folder in folders:
        if not isinstance(folder, str) or not folder.startswith("/"):
            raise ValueError(f"expected an absolute path such as /data/results, found {describe(folder)}")
    return tuple(folders)


def _retention(value: object) -> tuple[tuple[str, int], ...]:
    """How long jobs are kept once they are over: one time for all, or one for each final state; 0 is for ever."""
    if not isinstance(value, dict):
        value = dict.fromkeys(_FINALS, value)
    found = {}
    for name, time in value.items():
        if name not in _FINALS:
            raise ValueError(f"expected one of {', '.join(_FINALS)}, found {describe(name)}")
        found[name] = parse_milliseconds(time) * _MS_US
    return tuple(sorted((name, time_us) for name, time_us in found.items() if time_us))


def _mode(value: object) -> dict[str, Any]:
    """A discipline, or `plugin:NAME`."""
    word = value.lower() if isinstance(value, str) else ""
    if isinstance(value, str) and word.startswith(PLUGIN):
        return {"discipline": int(Discipline.PLUGIN), "plugin": parse_type(value[len(PLUGIN) :].strip())}
    if word not in MODES:
        words = ", ".join((*MODES, f"{PLUGIN}NAME"))
        raise ValueError(f"expected one of {words}, found {describe(value)}{near(word, MODES)}")
    return {"discipline": int(MODES[word]), "plugin": ""}


def _model(value: object) -> int:
    word = value.lower() if isinstance(value, str) else ""
    if word not in MODELS:
        raise ValueError(f"expected one of {', '.join(MODELS)}, found {describe(value)}{near(word, MODELS)}")
    return int(MODELS[word])


def _band(value: object) -> int:
    word = value.lower() if isinstance(value, str) else ""
    if word not in PRIORITIES:
        raise ValueError(f"expected one of {', '.join(PRIORITIES)}, found {describe(value)}{near(word, PRIORITIES)}")
    return PRIORITIES[word]


def _tiers(value: object) -> dict[str, Any]:
    """`50/30/20 per 60s`: each tier's share of a period, the most urgent and important first."""
    match = _TIERS.fullmatch(value) if isinstance(value, str) else None
    if not match or not any(map(int, match.groups()[:3])) or _us(match[4]) < _PERIOD_MIN_US:
        raise ValueError(f"expected three shares of a second or more such as 50/30/20 per 60s, found {describe(value)}")
    return {"tier_shares": tuple(int(share) for share in match.groups()[:3]), "tier_period_us": _us(match[4])}


def _strategy(value: object) -> int:
    return int(parse_strategy(value))


def _against(value: object) -> int:
    words = {against.name.lower(): against for against in Against}
    word = value.lower() if isinstance(value, str) else ""
    if word not in words:
        raise ValueError(f"expected one of {', '.join(words)}, found {describe(value)}{near(word, words)}")
    return int(words[word])


def _us(value: object) -> int:
    return parse_milliseconds(value) * _MS_US


def _thousandths(least: float, most: float) -> _Parse:
    parse = number_between(least, most)
    return lambda value: round(parse(value) * 1_000)


def _amounts(value: object) -> tuple[tuple[str, int], ...]:
    """`{cpu: 4, gpu: 1, memory: 8GiB}`; resources of one's own by their names."""
    found: dict[str, int] = {}
    for name, amount in parse_mapping(value, "a mapping of resources to amounts").items():
        text = parse_text(name, "a resource")
        try:
            whole = parse_bytes(amount) * UNIT if text.lower() == "memory" else parse_amount(amount)
        except ValueError as error:
            raise ValueError(f"{text}: {error}") from None
        found[_RESOURCES.get(text.lower(), text)] = whole
    return tuple(sorted(found.items()))


def _licences(value: object) -> tuple[tuple[str, int], ...]:
    return tuple((name, count * UNIT) for name, count in parse_counts(value))


def _rates(value: object) -> tuple[dict[str, Any], ...]:
    """`{tokens: 1000/1m}`: so many units in so long, and as many at once."""
    found = []
    for name, text in sorted(parse_mapping(value, "a mapping of names to rates such as 1000/1m").items()):
        match = _RATE.fullmatch(text) if isinstance(text, str) else None
        if not match or not int(match[1]):
            raise ValueError(f"{name}: expected a rate such as 1000/1m, found {describe(text)}")
        amount = int(match[1])
        found.append({"name": parse_text(name, "a name"), "amount": amount, "per_us": _us(match[2]), "burst": amount})
    return tuple(found)


def _by_band(defaults: tuple[int, ...], name: str) -> _Parse:
    """`{critical: 10m, low: 0}`, or one time for all; bands that are not named keep what they have built in."""

    def parse(value: object) -> tuple[int, ...]:
        if not isinstance(value, Mapping):
            return (_us(value),) * len(BANDS)
        found = list(defaults)
        for band, text in value.items():
            key = str(band).lower()
            if key not in PRIORITIES:
                raise ValueError(f"expected bands by name in {name}, found {describe(band)}{near(key, PRIORITIES)}")
            found[PRIORITIES[key]] = _us(text)
        return tuple(found)

    return parse


def _burst(value: object) -> dict[str, int]:
    """`1000/1m`: so many jobs in so long; 0 for never."""
    if value == 0:
        return {"burst_jobs": 0}
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"expected jobs in a time such as 1000/1m, or 0, found {describe(value)}")
    return {"burst_jobs": int(match[1]), "burst_us": _us(match[2])}


def _share(value: object) -> int:
    """`85%`, or a number of percent."""
    number = value.removesuffix("%").strip() if isinstance(value, str) else value
    try:
        percent = number_between(0, 100)(float(number) if isinstance(number, str) else number)
    except ValueError:
        raise ValueError(f"expected a share such as 85%, found {describe(value)}") from None
    return round(percent * 10)


def _built_in(field: str) -> tuple[int, ...]:
    from kos_ray.model.policy import Policy  # noqa: PLC0415 - only its defaults

    found: tuple[int, ...] = getattr(Policy(), field)
    return found


#: the kinds of `default_queue`
QUEUES = ("sqlite", "redis", "rabbitmq", "nats", "zeromq")
_DAYS_MAX = 36_500
_AGENTS_MAX = 1_000_000
#: generations of agents: each registration looks at all of them
_DEPTH_MAX = 1_000


def _plugin_deadline(value: object) -> int:
    found = _us(value)
    if not 1_000 <= found <= 60_000_000:
        raise ValueError(f"expected a time from 1ms to 1m, found {describe(value)}")
    return found


def _heartbeat(value: object) -> int:
    found = _us(value)
    if not 100_000 <= found <= 3_600_000_000:
        raise ValueError(f"expected a time from 100ms to 1h, found {describe(value)}")
    return found


def _lease(value: object) -> int:
    found = _us(value)
    if not 1_000_000 <= found <= 86_400_000_000:
        raise ValueError(f"expected a time from 1s to 1d, found {describe(value)}")
    return found


#: settings of the whole cluster: the field each changes (where there are several, its parser says all of them), and how
#: its value is read
CLUSTER: dict[str, tuple[str, _Parse]] = {
    "scheduler_mode": ("discipline plugin", _mode),
    "scheduling_model": ("model", _model),
    "just_in_time_slack": ("slack", _thousandths(0, 1_000)),
    "tiers": ("tier_shares tier_period_us", _tiers),
    "plugin_deadline": ("plugin_deadline_us", _plugin_deadline),
    "max_memory_usage": ("memory_share", _share),
    "preemption": ("preemption", parse_flag),
    "grace": ("stop_grace_ms", parse_milliseconds),
    "exempt_time": ("exempt_us", _us),
    "patience": ("patience_us", _us),
    "max_evictions": ("evictions_max", integer_between(0, _NO_MORE)),
    "aging": ("aging_us", _by_band(_built_in("aging_us"), "aging")),
    "time_slices": ("slice_us", _by_band(_built_in("slice_us"), "time_slices")),
    "half_life": ("half_life_us", _us),
    "entry_penalty": ("entry_penalty", _thousandths(0, 1_000)),
    "burst": ("burst_jobs burst_us", _burst),
    "licences": ("licences", _licences),
    "rates": ("rates", _rates),
    "idle_slot": ("idle_slot_us", _us),
    "strategy": ("strategy", _strategy),
    "unknown_length": ("unknown_length", parse_flag),
    "learn_run_times": ("learn_run_times", parse_flag),
    "claims": ("claims_max", integer_between(0, 1_000)),
    "max_concurrent_agents": ("agents_max", integer_between(1, _AGENTS_MAX)),
    "allow_agent_preemption": ("agents_give_way", parse_flag),
    "poison_after": ("poison_after", integer_between(0, 1_000)),
    "reschedule_on_crash": ("agents_restart", parse_flag),
    "max_agent_depth": ("agent_depth_max", integer_between(1, _DEPTH_MAX)),
    "max_agent_children": ("agent_children_max", integer_between(0, _AGENTS_MAX)),
    "rebalance": ("rebalance", parse_rebalance),
    "heartbeat_interval": ("heartbeat_us", _heartbeat),
    "lease": ("lease_us", _lease),
    "default_queue": ("queue", one_of(*QUEUES)),
    "telemetry": ("telemetry", parse_flag),
    "log_retention_days": ("log_days", integer_between(0, _DAYS_MAX)),
    "retention": ("retention", _retention),
    "journal_max_size": ("journal_bytes_max", parse_bytes),
    "notify": ("notify", _notify),
    "result_folders": ("result_folders", _folders),
}
#: settings of one namespace
NAMESPACE: dict[str, tuple[str, _Parse]] = {
    "scheduler_mode": ("discipline plugin", _mode),
    "scheduling_model": ("model", _model),
    "strategy": ("strategy", _strategy),
    "notify": ("notify", _notify),
    "weight": ("weight", _thousandths(0, 1_000_000)),
    "guaranteed": ("guaranteed", _amounts),
    "limit": ("limit", _amounts),
    "borrow": ("borrow", _amounts),
    "lend": ("lend", _amounts),
    "preempt_within": ("within", _against),
    "reclaim": ("reclaim", _against),
    "preempt_while_borrowing": ("borrowing", _against),
    "preempt_while_borrowing_from": ("borrowing_band", _band),
}


def parse_namespaces(value: object) -> dict[str, dict[str, Any]]:
    """`namespaces:` of a settings file: settings by name."""
    found: dict[str, dict[str, Any]] = {}
    for name, settings in parse_mapping(value, "a mapping of namespaces to settings").items():
        fields: dict[str, Any] = {}
        for key, text in parse_mapping(settings, f"a mapping of settings for {name}").items():
            try:
                fields |= _parsed(NAMESPACE, str(key), text)
            except ValueError as error:
                raise ValueError(f"{name}.{key}: {error}") from None
        found[parse_namespace(name)] = fields
    return found


def change_of(key: str, value: object, namespace: str = "") -> Change:
    """The change that one setting makes.

    Raises:
        InvalidSpec: nobody knows it, or it cannot have that value.

    """
    try:
        if namespace:
            return {"namespaces": {parse_namespace(namespace): _parsed(NAMESPACE, key, value)}}
        return {"policy": _parsed(CLUSTER, key, value)}
    except ValueError as error:
        raise InvalidSpec(f"{key}: {error}") from None


def parse_words(words: list[str], namespace: str = "") -> Change:
    """KEY=VALUE, each value as YAML: `limit="{cpu: 4}"`, `scheduler_mode=fifo`, `grace=` for what was built in.

    Raises:
        InvalidSpec: see `change_of`.

    """
    change: Change = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign:
            raise InvalidSpec(f"expected KEY=VALUE, found {word!r}")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InvalidSpec(f"{key}: expected a value as in YAML, found {text!r}") from None
        change = merged(change, change_of(key, value, namespace))
    return change


def merged(first: Change, second: Change) -> Change:
    """Two changes in one; the second wins."""
    namespaces = dict(first.get("namespaces", {}))
    for name, fields in second.get("namespaces", {}).items():
        namespaces[name] = {**namespaces.get(name, {}), **fields}
    return {"policy": {**first.get("policy", {}), **second.get("policy", {})}, "namespaces": namespaces}


def _parsed(known: Mapping[str, tuple[str, _Parse]], key: str, value: object) -> dict[str, Any]:
    if key not in known:
        hint = near(key, known) or f"; the settings are {', '.join(known)}"
        raise ValueError(f"expected a known setting, found {key!r}{hint}")
    named, parse = known[key]
    fields = named.split()
    if value is None:
        return dict.fromkeys(fields)
    found = parse(value)
    return found if len(fields) > 1 else {fields[0]: found}
