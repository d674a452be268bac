"""Options of a call in Python: keywords that mean what the fields of a job mean."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from kos_ray.model.dispatch import To
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import Spec
from kos_ray.spec.explain import problems
from kos_ray.spec.lower import lower_spec
from kos_ray.spec.receiver import parse_to
from kos_ray.spec.schema import JobSpec, near

#: what a job may say of its children
_OF_CHILDREN = (
    *("resources", "priority", "retry", "backoff", "timeout", "queue_timeout", "heartbeat_timeout", "env", "type"),
    *("guarantee", "tags", "approval"),
    *("run_time", "deadline", "preemption", "grace", "licences", "rates", "concurrency", "namespace", "sender"),
    *("children", "where", "agent"),
)


def checked(options: Mapping[str, Any]) -> JobSpec:
    """The options as a job that stands for any function.

    Raises:
        InvalidSpec: an option is not known or has a value that it cannot have.

    """
    try:
        return JobSpec.model_validate({"entry": "module:function", **options})
    except ValidationError as error:
        found = [(".".join(map(str, place)), text) for place, text in problems(error, options, JobSpec)]
        raise InvalidSpec("\n".join(f"{place}: {text}" if place else text for place, text in found)) from None


def of_child(options: Mapping[str, Any], parent: Spec) -> Spec:
    """The template of a child without its function: namespace, sender and code are the parent's unless given.

    Raises:
        InvalidSpec: see `checked`.

    """
    for name in options:
        if name not in _OF_CHILDREN:
            hint = near(name, list(_OF_CHILDREN)) or f"; the options are {', '.join(_OF_CHILDREN)}"
            raise InvalidSpec(f"expected a known option, found {name!r}{hint}")
    given = dict(options)
    as_document = getattr(given.get("resources"), "as_document", None)
    if as_document is not None:
        given["resources"] = as_document()
    if "sender" not in given:
        senders = [tag.partition(":")[2] for tag in parent.tags if tag.startswith("sender:")]
        given |= {"sender": senders[0]} if senders else {}
    return lower_spec(checked(given), parent.namespace)


def whoever(role: str, said: Mapping[str, Any]) -> To:
    """Who may be chosen for a message; see `spec.receiver`.

    Raises:
        InvalidSpec: nobody could be meant.

    """
    try:
        return parse_to({**({"role": role} if role else {}), **said})
    except ValueError as error:
        raise InvalidSpec(str(error)) from None
