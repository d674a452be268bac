"""Which jobs are meant: the filters of `kos ls`, and `--where` of the commands that act on many."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kos_ray.cli.shell import Exit, fail
from kos_ray.model.job import JobState
from kos_ray.model.views import JobView
from kos_ray.observe.tables import FINAL_STATES

if TYPE_CHECKING:
    from kos_ray.client import Client

STATES = tuple(state.name.lower() for state in JobState)
LIVE_STATES = tuple(state for state in STATES if state not in FINAL_STATES)
#: jobs that one question to the reader brings
_PAGE = 1_000
_WORDS = "state=, type=, tag=, namespace=, priority=, name~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a job must have to be meant; what is not given is not asked for."""

    state: str | None = None
    band: int | None = None
    type: str | None = None
    tag: str | None = None
    namespace: str | None = None
    #: how its name, or its array's id, begins
    prefix: str = ""

    def question(self, limit: int, before: int | None) -> dict[str, Any]:
        """The arguments of `client.jobs`; what is not asked for is left out."""
        more = {"tag": self.tag, "prefix": self.prefix, "before_key": before}
        return {
            "state": self.state,
            "type": self.type,
            "namespace": self.namespace,
            "limit": limit,
            **{name: value for name, value in more.items() if value},
        }


def checked_state(state: str | None) -> str | None:
    """A state's name, or the end of the command."""
    if state is not None and state not in STATES:
        raise fail(f"--state: expected one of {', '.join(STATES)}, found {state!r}", Exit.USAGE)
    return state


def checked_band(priority: str | None) -> int | None:
    """The band that a name, a number from 0 to 5 or a weight of the settings stands for, or the end of the command."""
    if priority is None:
        return None
    from kos_ray.spec.fields import band_of
    from kos_ray.spec.settings import current

    try:
        return band_of(int(priority) if priority.isdecimal() else priority, current())
    except ValueError as error:
        raise fail(f"priority: {error}", Exit.USAGE) from None


def parse_where(text: str) -> Filters:
    """The filters in `state=failed,name~train/`, or the end of the command."""
    found: dict[str, str] = {}
    for part in (part.strip() for part in text.split(",")):
        name, sign, value = part.partition("~" if part.startswith("name~") else "=")
        known = name in ("state", "type", "tag", "namespace", "priority") if sign == "=" else name == "name"
        if not sign or not known or not value:
            raise fail(f"--where: expected filters out of {_WORDS}, found {part!r}", Exit.USAGE)
        if name in found:
            raise fail(f"--where: expected {name} once, found it twice", Exit.USAGE)
        found[name] = value
    return Filters(
        state=checked_state(found.get("state")),
        band=checked_band(found.get("priority")),
        type=found.get("type"),
        tag=found.get("tag"),
        namespace=found.get("namespace"),
        prefix=found.get("name", ""),
    )


def find(client: "Client", filters: Filters, limit: int, before: int | None = None) -> list[JobView]:
    """At most `limit` jobs that have what is asked for, newest first; `before` is the last key of the page before."""
    found: list[JobView] = []
    for view in _walk(client, filters, limit, before):
        found.append(view)
        if len(found) == limit:
            break
    return found


def find_live(client: "Client", filters: Filters, touched: Sequence[str] = LIVE_STATES) -> list[JobView]:
    """All jobs that have what is asked for; where no state is, those in the states that can be touched."""
    states = (filters.state,) if filters.state else touched
    found = [view for state in states for view in _walk(client, _with_state(filters, state), _PAGE, None)]
    # a job that moves between two questions is answered twice
    return sorted({view.key: view for view in found}.values(), key=lambda view: -view.key)


def _with_state(filters: Filters, state: str) -> Filters:
    return Filters(
        state=state,
        band=filters.band,
        type=filters.type,
        tag=filters.tag,
        namespace=filters.namespace,
        prefix=filters.prefix,
    )


def _walk(client: "Client", filters: Filters, limit: int, before: int | None) -> Iterator[JobView]:
    """Page after page. The reader knows no bands: they are looked at here, so a page brings enough to choose from."""
    size = limit if filters.band is None else max(limit, _PAGE)
    while True:
        page = client.jobs(**filters.question(size, before))
        yield from (view for view in page if filters.band in (None, view.band))
        if len(page) < size:
            return
        before = page[-1].key
