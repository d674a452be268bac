"""`results_to`: where the result of a job goes when it has succeeded."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from kos_ray.model.job import Sink
from kos_ray.model.locks import NAME_MAX
from kos_ray.model.templates import fields
from kos_ray.spec.arguments import Input, pack
from kos_ray.spec.hooks import parse_hooks, parse_url
from kos_ray.spec.parse import near, parse_mapping, parse_text
from kos_ray.spec.units import describe

if TYPE_CHECKING:
    from kos_ray.spec.schema import JobSpec
    from kos_ray.spec.settings import Settings

SINKS_MAX = 16
KINDS = ("file", "webhook", "agent", "role", "mailbox")
#: what a file's name may be made of
FIELDS = ("id", "name", "type", "namespace", "date")
_MORE = {"file": (), "webhook": ("secret_file",), "mailbox": ()}


def parse_results_to(value: object, settings: "Settings") -> "tuple[Sink | JobSpec, ...]":
    """Sinks, each as a mapping with one of `KINDS`; one, or a list. A message to an agent is a job.

    Raises:
        ValueError: one is none.

    """
    items = value if isinstance(value, list | tuple) else [value]
    if len(items) > SINKS_MAX:
        raise ValueError(f"expected at most {SINKS_MAX} places for results, found {len(items)}")
    return tuple(_one(item, settings) for item in items)


def _one(item: object, settings: "Settings") -> "Sink | JobSpec":
    data = parse_mapping(item, f"a mapping with one of {', '.join(KINDS)}")
    kinds = [kind for kind in KINDS if kind in data]
    if len(kinds) != 1:
        hint = next((near(str(name), list(KINDS)) for name in data if near(str(name), list(KINDS))), "")
        raise ValueError(f"expected one of {', '.join(KINDS)}, found {describe(data)}{hint}")
    (kind,) = kinds
    if kind in ("agent", "role"):
        return _message(kind, dict(data), settings)
    for name in data:
        if name not in (kind, *_MORE[kind]):
            raise ValueError(f"{kind}: expected {', '.join((kind, *_MORE[kind]))}, found {describe(name)}")
    if kind == "file":
        return Sink(file=_template(data["file"]))
    if kind == "mailbox":
        return Sink(mailbox=_mailbox(data["mailbox"]))
    secret = parse_text(data["secret_file"], "a file on the head") if data.get("secret_file") else ""
    return Sink(url=parse_url(data["webhook"]), secret_file=secret)


def _message(kind: str, data: dict[str, Any], settings: "Settings") -> "JobSpec":
    """The job that takes a result to an agent; what else a message may say stands beside it."""
    whom = data.pop(kind)
    if "method" not in data:
        raise ValueError(f"{kind}: expected method beside it, the one that gets the result, found none")
    if kind == "role" and isinstance(whom, Mapping):
        raise ValueError(f"role: expected the role's name, found {describe(whom)}")
    (job,) = parse_hooks({**data, "to": whom if kind == "agent" else {"role": whom}}, settings)
    return job


def _mailbox(value: object) -> str:
    name = parse_text(value, "a mailbox's name")
    if len(name) > NAME_MAX:
        raise ValueError(f"mailbox: expected a name of 1 to {NAME_MAX} signs, found {len(name)}")
    return name


def _template(value: object) -> str:
    text = parse_text(value, "a path")
    try:
        found = fields(text)
    except ValueError as error:
        raise ValueError(f"file: expected a path such as reports/{{id}}.json, found {text!r}: {error}") from None
    wrong = [name for name in found if name not in FIELDS]
    if wrong:
        raise ValueError(
            f"file: expected {{{'}, {'.join(FIELDS)}}}, found {{{wrong[0]}}}{near(wrong[0], list(FIELDS))}"
        )
    if "id" not in found:
        raise ValueError(f"file: expected {{id}} in the path, so that no job writes over another's, found {text!r}")
    if ".." in PurePosixPath(text).parts:
        raise ValueError(f"file: expected a path without .., found {text!r}")
    return text


def lower_message(job: "JobSpec", sink: Sink) -> Sink:
    """The sink with its arguments: the result, and behind it what the document says."""
    return replace(sink, args=pack((Input(0), *job.args), job.kwargs))
