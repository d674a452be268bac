"""The one place where every way of writing a job becomes the house's own `JobSpec`.

`recognise` tells the forms apart by their fields; `read_job` validates and normalises. What a form asks for and no room
acts on yet becomes a wish: the job is valid, and `lower` refuses it by name. Nothing is passed over in silence.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import model_validator

from kos_ray.spec.arguments import find_references
from kos_ray.spec.explain import field_names
from kos_ray.spec.foreign import TASK_TYPES, HandedJob, Handoff, KlpTask, Registration, Task, UnifiedJob
from kos_ray.spec.misfit import Misfit
from kos_ray.spec.parse import near
from kos_ray.spec.schema import Common, JobSpec, Strict
from kos_ray.spec.settings import Settings

Path = tuple[str, ...]
#: the environment variable in which a command finds the payload, as JSON
PAYLOAD = "KOS_PAYLOAD"
#: an environment holds texts of 128 KiB at most
MAX_PAYLOAD_BYTES = 100_000

#: forms with what people call them, and the fields that no other form has
MARKERS: dict[type[Strict], tuple[str, tuple[str, ...]]] = {
    JobSpec: ("a job of kos_ray", ("run", "entry", "to", "method", "args", "kwargs", "count")),
    Handoff: ("a job_handoff", ("job_id", "payload_hash")),
    KlpTask: ("a klp/task", ("kind", "origin", "target", "task")),
    Task: ("a task", ("action", "run_at", "repeat", "requires_trust")),
    UnifiedJob: (
        "a UnifiedJob",
        ("scope", "status", "created", "data", "requirements", "network", "execution"),
    ),
    Registration: ("an agent's registration", ("agent_id", "capabilities", "exec_env", "entry_point")),
    HandedJob: ("a job with a payload", ("payload", "role", "receiver")),
}
_COMMON = tuple(field_names(Common))


@dataclass(frozen=True, slots=True)
class Wish:
    """Something asked for that no room acts on yet: where it stands, and what it is."""

    path: Path
    what: str


class Dispatched(JobSpec):
    """A job for somebody else: it may say nothing of what to run here, and always has wishes."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Dispatched":
        return self


def recognise(data: Mapping[str, Any]) -> type[Strict]:
    """The form that a document is written in.

    Raises:
        Misfit: it has fields of two forms.

    """
    found = [
        (form, next(name for name in names if name in data))
        for form, (_, names) in MARKERS.items()
        if names_in(form, data)
    ]
    # a note of a handoff names its receiver as well
    if {form for form, _ in found} == {Handoff, HandedJob} and "receiver" in data:
        found = [entry for entry in found if entry[0] is Handoff]
    if len(found) > 1:
        words = " and ".join(f"{name} ({MARKERS[form][0]})" for form, name in found)
        raise Misfit((found[1][1],), f"expected the fields of one form, found {words}")
    if found:
        return found[0][0]
    kind = data.get("type")
    if kind == "job_handoff":
        return Handoff
    if isinstance(kind, str) and kind in TASK_TYPES:
        return Task
    # without anything to run, a type is a handler's; a typo in the name of what to run is better told as such
    return HandedJob if "type" in data and not _typo(data) else JobSpec


def names_in(form: type[Strict], data: Mapping[str, Any]) -> bool:
    """Whether a document has a field that only this form has."""
    return any(name in data for name in MARKERS[form][1])


def _typo(data: Mapping[str, Any]) -> bool:
    known = field_names(HandedJob)
    strange = [name for name in data if name not in known]
    return any(near(name, ["entry", "run"]) and not near(name, known) for name in strange)


def read_job(data: Mapping[str, Any], form: type[Strict], settings: Settings) -> tuple[JobSpec, tuple[Wish, ...]]:
    """The house's job that a document of this form means, with what cannot be done yet.

    Raises:
        pydantic.ValidationError: a field is wrong.
        Misfit: nothing can run it.

    """
    parsed = form.model_validate(data, context=settings)
    if isinstance(parsed, JobSpec):
        return parsed, ()
    if isinstance(parsed, KlpTask):
        house, wishes = _of_task(data["task"], parsed.task)
        house["sender"] = parsed.origin
        wishes = [*_wishes(data, ("kind", "origin", "target", "signature")), *(_under("task", wish) for wish in wishes)]
    elif isinstance(parsed, Task):
        house, wishes = _of_task(data, parsed)
    elif isinstance(parsed, Handoff):
        house, wishes = {"type": parsed.type}, [Wish(("type",), "type: job_handoff"), *_wishes(data, tuple(data))]
    elif isinstance(parsed, Registration):
        house, wishes = _of_registration(data, parsed)
    elif isinstance(parsed, UnifiedJob):
        house, wishes = _of_unified(data, parsed, settings)
    else:
        house, wishes = _of_handed(data, settings)
    kind = Dispatched if wishes else JobSpec
    return kind.model_validate(house, context=settings), tuple(wishes)


def _common(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in _COMMON if name in data}


def _wishes(data: Mapping[str, Any], names: Sequence[str], above: Path = ()) -> list[Wish]:
    """A wish for each of these fields that is there."""
    return [Wish((*above, name), ".".join((*above, name))) for name in names if name in data and name != "type"]


def _under(name: str, wish: Wish) -> Wish:
    return Wish((name, *wish.path), f"{name}.{wish.what}")


def _of_handed(data: Mapping[str, Any], settings: Settings) -> tuple[dict[str, Any], list[Wish]]:
    if data.get("receiver") or data.get("role"):
        to = data.get("receiver") or {"role": data["role"]}
        house = _common(data) | {"to": to, "method": data["type"], "args": [data.get("payload", {})]}
        house.pop("type")
    else:
        house = _common(data) | _handled(data, "payload", settings, wanted=True)
    if isinstance(data.get("fallback"), str | list | tuple) and data["fallback"]:
        house["fallback"] = _next_receiver(data)
    return house, []


def _next_receiver(data: Mapping[str, Any]) -> Any:
    """The job for the next of the fallback receivers: with the same payload, and with the rest of them."""
    first, *rest = [data["fallback"]] if isinstance(data["fallback"], str) else data["fallback"]
    if not isinstance(first, str):
        return data["fallback"]
    # it has all that the first one had, but its name, its times, and what that one waited for
    own = ("id", "after", "dependencies", "fallback", "schedule")
    same = {name: value for name, value in data.items() if name not in own}
    return same | {"type": first} | ({"fallback": rest} if rest else {})


def _of_task(data: Mapping[str, Any], task: Task) -> tuple[dict[str, Any], list[Wish]]:
    wishes = [Wish(("type",), "type: external")] if task.type == "external" else []
    if task.type in ("external", "reaction", "stream"):
        wishes += _wishes(data, ("run_at",))
    if task.requires_trust:
        wishes.append(Wish(("requires_trust",), "requires_trust"))
    house = _common(data) | {"entry": f"{task.action.module}:{task.action.function}", "args": task.action.args}
    # the type says when it runs; as a label, the function's name says more
    house.pop("type")
    if task.schedule is not None and (task.type != "once" or task.run_at):
        raise Misfit(("schedule",), f"expected the times of a task in one place, found type {task.type} and schedule")
    if task.type == "cron":
        house["schedule"] = {"when": task.repeat} | ({"start": task.run_at} if task.run_at else {})
    elif task.type in ("reaction", "stream"):
        if not (task.on or task.id):
            raise Misfit(("type",), f"expected on (names of events), or an id, with type {task.type}, found neither")
        overlap = "allow_all" if task.type == "reaction" else "buffer_all"
        house["schedule"] = {"on": list(task.on) or task.id, "overlap": overlap}
    elif task.type == "once" and task.run_at and task.run_at > datetime.now(UTC):
        house["schedule"] = {"when": task.run_at.isoformat()}
    return house, wishes


def _of_unified(data: Mapping[str, Any], job: UnifiedJob, settings: Settings) -> tuple[dict[str, Any], list[Wish]]:
    wishes = [] if job.scope == "local" else [Wish(("scope",), f"scope: {job.scope}")]
    needs = data.get("requirements", {})
    wishes += _wishes(
        needs, [name for name in ("capabilities", "security", "reputation") if needs.get(name)], ("requirements",)
    )
    wishes += _wishes(data.get("network") or {}, tuple(data.get("network") or ()), ("network",))
    house = _common(data) | _handled(data, "data", settings, wanted=not wishes)
    if "resources" in needs:
        house["resources"] = needs["resources"]
    if job.created is not None:
        house["tags"] = [*job.tags, f"created:{job.created.isoformat()}"]
    return house, wishes


def _of_registration(data: Mapping[str, Any], agent: Registration) -> tuple[dict[str, Any], list[Wish]]:
    house: dict[str, Any] = {"id": agent.agent_id, "run": [agent.entry_point], "agent": True}
    house |= {name: data[name] for name in ("namespace", "priority", "tags") if name in data}
    house["resources"] = {name: data[name] for name in ("cpu", "gpu", "memory") if name in data}
    # it is no job; `kos agent register` takes it
    told = Wish(("agent_id",), "agent_id in a document of jobs: `kos agent register FILE` takes an agent")
    return house, [told, *_wishes(data, ("capabilities", "exec_env"))]


def _handled(data: Mapping[str, Any], name: str, settings: Settings, *, wanted: bool) -> dict[str, Any]:
    """What the handler of the job's type makes of its payload: entry and args, or a command and its environment."""
    handler = settings.handlers.get(data["type"])
    if handler is None and wanted:
        known = sorted(settings.handlers)
        hint = near(data["type"], known) or f"; there are handlers for {', '.join(known) or 'no type'}"
        raise Misfit(
            ("type",),
            f"expected run, entry, or a handler (`handlers` of the settings) for {data['type']!r}, found none{hint}",
        )
    content = data.get(name, {})
    if handler is None:
        return {}
    if isinstance(handler, str):
        return {"entry": handler, "args": [content]}
    return {"run": list(handler), "env": {**data.get("env", {}), PAYLOAD: _as_text(content, name)}}


def _as_text(content: Any, name: str) -> str:
    if next(find_references([content]), None) is not None:
        raise Misfit((name,), "expected no {from: job} in the payload of a command, found one; use a Python handler")
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Misfit((name,), f"expected values that JSON has for a command, found another: {error}") from None
    if len(text.encode()) > MAX_PAYLOAD_BYTES or "\0" in text:
        raise Misfit((name,), f"expected at most {MAX_PAYLOAD_BYTES} bytes for a command, found {len(text.encode())}")
    return text


def known_forms() -> Iterator[tuple[str, type[Strict]]]:
    """What people call each form, and its schema."""
    for form, (words, _) in MARKERS.items():
        yield words, form
