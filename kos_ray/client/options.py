"""The options of a submission, typed, and the template (`Spec`) that they and a function make."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict

from kos_ray.client.packing import pack_function
from kos_ray.client.resources import Resources
from kos_ray.model.dispatch import To
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.hashing import spec_hash
from kos_ray.model.job import Spec
from kos_ray.spec.lower import addressed, lower_spec
from kos_ray.spec.options import checked
from kos_ray.spec.schema import JobSpec, near

#: code travels between processes of one minor version only
PYTHON = ".".join(platform.python_version_tuple()[:2])


class Options(TypedDict, total=False):
    """What may be said of the jobs of one call. All of it is checked before anything is stored."""

    #: what one job holds: one CPU where nothing is said
    resources: Resources | Mapping[str, Any]
    #: a name ("high", "background", ...) or 0 (most urgent) to 5
    priority: str | int
    #: how often a failed attempt is made again; or {"times": 3, "not_on": ["ValueError"], "max_elapsed": "1h",
    #: "on_oom": {"memory_factor": 2, "memory_max": "8GiB"}}
    retry: int | Mapping[str, Any]
    #: pauses between attempts: "first", "factor", "max", "jitter"
    backoff: Mapping[str, Any]
    #: for one attempt: "30s", "2m", or seconds
    timeout: str | float
    #: from when it could first have started to its entry: "10m", or seconds
    queue_timeout: str | float
    #: the longest that an attempt is silent (`context().progress`, checkpoints) before it is taken for stalled
    heartbeat_timeout: str | float
    #: what somebody has to approve before it starts: a text, or {"ask": ..., "by": [...], "timeout": "2d",
    #: "otherwise": "reject"}
    approval: str | Mapping[str, Any]
    #: environment variables of the attempt
    env: Mapping[str, str]
    #: a label; the function's name where nothing is said
    type: str
    #: "at_least_once", "at_most_once" or "exactly_once"
    guarantee: str
    #: "abandon", "cancel" or "wait": what becomes of jobs that it submits while it runs, when it is over
    children: str
    tags: Sequence[str]
    #: how long it is expected to run: "10m"
    run_time: str | float
    #: when it should have ended: a datetime with a time zone, or its text
    deadline: datetime | str
    #: when its room is wanted for a more urgent job: "requeue", "checkpoint", "cancel" or "never"
    preemption: str
    #: between asking it to make room and ending it
    grace: str | float
    #: licences held while it runs, units of rate limits used by its start, jobs at once by key
    licences: Mapping[str, int]
    rates: Mapping[str, int]
    concurrency: Mapping[str, int]
    #: on which nodes: {"labels": {"zone": "a"}, "near": "tag:cache", "strategy": "spread", ...}
    where: Mapping[str, Any]
    agent: bool
    #: jobs that follow its end, as documents: {"entry": "module:function"}, {"run": ...}, or a type with a handler
    on_failure: Any
    on_success: Any
    on_end: Any
    on_child_failure: Any
    #: who is told of its end: a URL, or {"url": ..., "states": ["failed", ...]}
    notify: Any
    results_to: Any
    #: a folder whose modules go along; the importing project's where nothing is said
    code: str | Path


_KNOWN = list(Options.__annotations__)

_TEMPLATES_MAX = 1_000
#: a function that was pickled by value, with what it closes over, may be of any size: larger ones are not kept
_KEPT_BYTES_MAX = 16 * 1024
_templates: dict[tuple[str, str], Spec] = {}
_specs: dict[tuple[str, str, bytes, str], tuple[str, Spec]] = {}


def hashed_spec_of(
    function: Callable[..., Any], options: Mapping[str, Any], namespace: str, code: str
) -> tuple[str, Spec]:
    """The template of a function's jobs, behind its hash; `code` is the hash of its bundle.

    Raises:
        InvalidSpec: the function cannot be pickled, an option is not known or has a value that it cannot have.

    """
    if not callable(function):
        raise InvalidSpec(f"expected a function to call, found {function!r}, a {type(function).__name__}")
    said, packed = {"type": label(function), **options}, pack_function(function)
    # most calls say what one before has said
    known = namespace, repr(said), packed, code
    found = _specs.get(known)
    if found is not None:
        return found
    spec = _with_function(_template(said, namespace), packed, code)
    found = spec_hash(spec), spec
    if len(packed) <= _KEPT_BYTES_MAX:
        if len(_specs) >= _TEMPLATES_MAX:
            _specs.clear()
        _specs[known] = found
    return found


def _with_function(template: Spec, packed: bytes, code: str) -> Spec:
    hooks = tuple(
        replace(hook, spec=replace(hook.spec, code=code)) if hook.spec.entry else hook for hook in template.hooks
    )
    return replace(template, entry="", function=packed, code=code, python=PYTHON, hooks=hooks)


def _template(options: dict[str, Any], namespace: str) -> Spec:
    """What the options say, checked. Checking takes half a millisecond, and most calls say what one before has said."""
    said = (namespace, repr(options))
    known = _templates.get(said)
    if known is None:
        if len(_templates) >= _TEMPLATES_MAX:
            _templates.clear()
        known = _templates[said] = lower_spec(_checked(options), namespace)
    return known


#: what a message may not say: its agent's process is there already
_OF_AGENTS = ("resources", "env", "where", "code", "agent", "preemption", "grace", "concurrency", "licences")


def message_spec(agent: str | To, method: str, options: Mapping[str, Any], namespace: str) -> Spec:
    """The template of messages to an agent, or to whoever is able.

    Raises:
        InvalidSpec: an option is not known, has a value that it cannot have, or is its agent's business.

    """
    for name in options:
        if name in _OF_AGENTS:
            raise InvalidSpec(f"{name}: expected it where the agent {agent} is registered, found it at a call")
    word = agent.role if isinstance(agent, To) else agent
    # as agents do, it has `agent_timeout_default` where it says nothing; it takes none of their places
    template = _template({"type": f"{word}.{method}".lstrip("."), "agent": True, **options}, namespace)
    return replace(template, **addressed(agent, method), demands=replace(template.demands, agent=False), python=PYTHON)


def check_names(options: Mapping[str, Any]) -> None:
    """Refuse options that nobody knows.

    Raises:
        InvalidSpec: with the nearest known name.

    """
    for name in options:
        if name not in _KNOWN:
            hint = near(name, _KNOWN) or f"; the options are {', '.join(_KNOWN)}"
            raise InvalidSpec(f"expected a known option, found {name!r}{hint}")


def _checked(options: dict[str, Any]) -> JobSpec:
    check_names(options)
    options.pop("code", None)
    if isinstance(held := options.get("resources"), Resources):
        options["resources"] = held.as_document()
    return checked(options)


def label(function: Callable[..., Any]) -> str:
    """The type of a function's jobs: its name."""
    name = getattr(function, "__name__", type(function).__name__)
    return "lambda" if name == "<lambda>" else str(name)
