"""A whole workflow once more: what did not succeed, and what waited for that, under a name of its own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from kos_ray.model.ids import split_item_id
from kos_ray.model.job import JobState
from kos_ray.model.views import JobView
from kos_ray.spec.lower import Draft

#: what one part of a workflow was submitted as: the fields of its draft, by the id of the job or array
Again = Callable[[str], dict[str, Any]]


def parts_of(views: Sequence[JobView], *, from_failed: bool) -> dict[str, str]:
    """The jobs and arrays of a workflow by id, with their names, parents first; or those that did not succeed.

    An array counts as one: whoever waited for all of it needs all of it again.
    """
    parts: dict[str, str] = {}
    for view in sorted(views, key=lambda one: one.key):
        array, index = split_item_id(view.id)
        state = JobState[view.state.upper()]
        if not from_failed or (state.final and state is not JobState.SUCCEEDED):
            parts.setdefault(array, view.name if index is None else view.name.rpartition(".")[0])
    return parts


def workflow_drafts(old: str, new: str, parts: dict[str, str], again: Again) -> list[Draft]:
    """Drafts of parts of the workflow `old` for the workflow `new`; parents not among them count as they ended."""
    names = {array: f"{new}/{name.removeprefix(f'{old}/')}" for array, name in parts.items()}
    drafts = []
    for array, name in names.items():
        fields = again(array)
        after = tuple((_renamed(ref, names), kind) for ref, kind in fields.pop("after"))
        inputs = tuple(_renamed(ref, names) for ref in fields.pop("inputs"))
        drafts.append(Draft(**fields, name=name, after=after, inputs=inputs))
    return drafts


def with_tag(draft: Draft, tag: str) -> Draft:
    """The draft with one tag more."""
    return replace(draft, spec=replace(draft.spec, tags=(*draft.spec.tags, tag)))


def _renamed(ref: str, names: dict[str, str]) -> str:
    array, index = split_item_id(ref)
    if array not in names:
        return ref
    return names[array] if index is None else f"{names[array]}.{index}"
