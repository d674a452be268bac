"""What follows the end of a job: jobs that are submitted then, and who is told."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kos_ray.model.job import JobState
from kos_ray.spec.misfit import Misfit
from kos_ray.spec.parse import near, parse_mapping, parse_run, parse_text
from kos_ray.spec.units import describe

if TYPE_CHECKING:
    from kos_ray.spec.schema import JobSpec
    from kos_ray.spec.settings import Settings

#: fields of a job by when its hooks are submitted
HOOKS = {
    "on_failure": "failure",
    "on_success": "success",
    "on_end": "end",
    "on_child_failure": "child_failure",
    "fallback": "fallback",
}
#: what a hook cannot have: it is one job, without a name, that waits for nobody
_NOT = ("id", "after", "dependencies", "count", "gang", "bundle", "at_most", "max_failures", "schedule")
HOOKS_MAX = 16
_STATES = tuple(state.name.lower() for state in JobState if state.final)
_NOTIFY = ("url", "command", "states", "secret_file")


def parse_hooks(value: object, settings: "Settings") -> tuple["JobSpec", ...]:
    """Jobs, each as a document or as the name of a type that has a handler; one, or a list of them.

    Raises:
        ValueError: one is no job, or has what a hook cannot have.

    """
    from kos_ray.spec.forms import read_job, recognise  # noqa: PLC0415 - it builds on the schema

    found = []
    for item in value if isinstance(value, list | tuple) else [value]:
        data = {"type": item} if isinstance(item, str) else item
        if not isinstance(data, Mapping):
            raise ValueError(f"expected a job, or the type of one, found {describe(item)}")  # noqa: TRY004
        wrong = [name for name in _NOT if name in data]
        if wrong:
            raise ValueError(f"expected one job that waits for nobody, found {wrong[0]}")
        try:
            job, wishes = read_job(data, recognise(data), settings)
        except Misfit as error:
            raise ValueError(f"{'.'.join(error.path)}: {error}") from None
        if wishes:
            raise ValueError(f"not supported yet: {wishes[0].what}")
        found.append(job)
    if len(found) > HOOKS_MAX:
        raise ValueError(f"expected at most {HOOKS_MAX} jobs, found {len(found)}")
    return tuple(found)


def arguments(job: "JobSpec") -> str:
    """The arguments of a hook as text.

    Raises:
        ValueError: JSON has no such value.

    """
    try:
        return json.dumps([list(job.args), dict(job.kwargs)], allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected arguments that JSON has, found others: {error}") from None


def parse_notify(value: object, *, commands: bool) -> tuple[dict[str, Any], ...]:
    """Who is told: a URL, or a mapping with url or command, states and secret_file; one, or a list of them.

    Raises:
        ValueError: it is none.

    """
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(_one(item, commands=commands) for item in items)


def _one(item: object, *, commands: bool) -> dict[str, Any]:
    data = {"url": item} if isinstance(item, str) else parse_mapping(item, "a URL, or a mapping with url or command")
    for name in data:
        if name not in _NOTIFY:
            raise ValueError(f"expected {', '.join(_NOTIFY)}, found {describe(name)}{near(str(name), list(_NOTIFY))}")
    if ("url" in data) == ("command" in data):
        raise ValueError("expected either url or command")
    found: dict[str, Any] = {}
    if "command" in data:
        if not commands:
            raise ValueError("expected url: only settings name commands, which run on the head; see on_failure")
        found["command"] = parse_run(data["command"])
    else:
        found["url"] = parse_url(data["url"])
    if "states" in data:
        found["states"] = _states(data["states"])
    if data.get("secret_file"):
        found["secret_file"] = parse_text(data["secret_file"], "a file on the head")
    return found


def parse_url(value: object) -> str:
    """A URL of HTTP.

    Raises:
        ValueError: it is none.

    """
    text = parse_text(value, "a URL")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"expected a URL such as https://host/path, found {describe(value)}")
    return text


def _states(value: object) -> tuple[str, ...]:
    states = [value] if isinstance(value, str) else value
    if not isinstance(states, list | tuple) or not states:
        raise ValueError(f"expected states, found {describe(value)}")
    for state in states:
        if state not in _STATES:
            raise ValueError(f"states: expected {', '.join(_STATES)}, found {describe(state)}")
    return tuple(states)
