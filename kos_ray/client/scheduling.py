"""Schedules: jobs that start by themselves."""

import getpass
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, Unpack

import msgpack

from kos_ray.client.calls import Call
from kos_ray.client.options import label
from kos_ray.client.submitting import Submitter
from kos_ray.model.errors import InvalidSpec, NotFound
from kos_ray.model.occasion import Trigger
from kos_ray.model.schedule import HOUR_US, CatchUp, Overlap, Schedule, schedule_key
from kos_ray.model.wire import to_plain
from kos_ray.spec.lower import Draft
from kos_ray.spec.parse import parse_name
from kos_ray.spec.units import parse_milliseconds


class Terms(TypedDict, total=False):
    """When a schedule fires, and what becomes of its fires; see docs/schedules.md."""

    #: instead of rules: names of events, and conditions on their data
    on: str | Sequence[str]
    where: str | Sequence[str]
    #: what more than one event must say, and how often at most: "count 3 within 1m"
    given: str | Sequence[str]
    #: an IANA time zone or +HH:MM; UTC where nothing is said
    tz: str
    dst: str
    #: dates, words for days, or cron expressions that are left out
    without: Sequence[str]
    start: datetime | None
    end: datetime | None
    max_fires: int
    #: lengths of time: "30s", or seconds
    jitter: str | float
    window: str | float
    #: names as of `Overlap` and `CatchUp`, in small letters
    overlap: str
    catch_up: str
    pause_on_failure: bool


class Scheduling(Submitter):
    """The part of a client that is about schedules."""

    def schedule(
        self,
        function: Callable[..., Any],
        rule: str | Sequence[str],
        *,
        name: str = "",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        replace: bool = False,
        options: Mapping[str, Any] | None = None,
        **terms: Unpack[Terms],
    ) -> dict[str, Any]:
        """Have a call start by itself whenever a rule, or any of several, says so: one job for each such instant.

        `name` is unique in the namespace, the function's own where none is given; the same again changes nothing, and
        with `replace` another one takes its place. `options` are those of `submit`. The job's name is `NAME@INSTANT`.
        What comes back has `next_us`, the first fire.

        Raises:
            InvalidSpec, Refused: nothing was stored; the message says why.

        """
        call = Call(function, tuple(args), kwargs, **dict(options or {}))
        return self.schedule_draft(self._draft(call), rule, name=name or label(function), replace=replace, **terms)

    def schedule_draft(
        self,
        draft: Draft,
        rule: str | Sequence[str],
        *,
        name: str,
        code: Sequence[Path] = (),
        replace: bool = False,
        **terms: Unpack[Terms],
    ) -> dict[str, Any]:
        """The same for a job that `spec.lower` made of a document; `code` as in `submit_drafts`.

        Raises:
            InvalidSpec, Refused: nothing was stored; the message says why.

        """
        if draft.count >= 0 or draft.inputs or draft.gang or draft.rule or draft.singleton:
            raise InvalidSpec(
                "a schedule starts one job, which may wait for others by name only; found an array, a rule, a "
                "singleton, or a result among its arguments"
            )
        draft = self._with_code([draft], code)[0]
        schedule = _schedule(draft, (rule,) if isinstance(rule, str) else tuple(rule), name, terms)
        return self._wish("set", name, draft.spec.namespace, schedule=to_plain(schedule), replace=replace)

    def apply_drafts(
        self, drafts: Sequence[Draft], *, code: Sequence[Path] = (), replace: bool = False
    ) -> list[dict[str, Any]]:
        """Set the schedules that `spec.lower` found in documents, one after another, each under its draft's name.

        What comes back has `name`, `rules`, `timezone` and `next_us` of each.

        Raises:
            InvalidSpec, Refused: those before it were set; the message says which one was not, and why.

        """
        found = []
        for draft in drafts:
            spec = draft.schedule
            if spec is None:
                raise InvalidSpec(f"{draft.name or draft.spec.type}: expected a schedule, found a job that has none")
            answer = self.schedule_draft(draft, spec.when, name=draft.name, code=code, replace=replace, **spec.terms())
            found.append({"name": draft.name, "rules": list(spec.when), "timezone": spec.tz, **answer})
        return found

    def schedules(self) -> list[dict[str, Any]]:
        """All schedules of all namespaces as they stand: rules, `next_us`, `paused`, `live` jobs, and so on."""
        return list(msgpack.unpackb(self._call(lambda: self._connection.ask_scheduler("schedules"))))

    def get_schedule(self, name: str) -> dict[str, Any]:
        """One of this namespace.

        Raises:
            NotFound: there is none of that name.

        """
        for one in self.schedules():
            if (one["namespace"], one["name"]) == (self.namespace, name):
                return one
        raise NotFound(f"there is no schedule {name!r} in namespace {self.namespace!r}; see `kos schedule ls`")

    def pause_schedule(self, name: str, note: str = "") -> None:
        """Skip its fires until it is resumed."""
        self._wish("pause", name, note=note)

    def resume_schedule(self, name: str, note: str = "") -> None:
        """Let it go on; what was skipped stays skipped."""
        self._wish("resume", name, note=note)

    def remove_schedule(self, name: str) -> None:
        """Take it away; jobs that it has started go on."""
        self._wish("remove", name)

    def trigger_schedule(self, name: str) -> dict[str, Any]:
        """Start its job now, whatever pause and overlap say: the job's `name`."""
        return self._wish("trigger", name)

    def backfill_schedule(self, name: str, from_us: int, to_us: int, *, dry_run: bool = False) -> dict[str, Any]:
        """Start what it would have started in a stretch of the past and has not, in the lowest band.

        The instants are in `fires`; those that have a job already in `there`. With `dry_run` nothing is started.
        """
        return self._wish("backfill", name, from_us=from_us, to_us=to_us, dry_run=dry_run)

    def _wish(self, verb: str, name: str, namespace: str = "", **fields: Any) -> dict[str, Any]:
        key = schedule_key(namespace or self.namespace, name)
        if verb != "set":
            self.get_schedule(name)
        plain = {"request_id": uuid.uuid4().hex, "verb": verb, "key": key, "by": getpass.getuser(), **fields}
        packed = msgpack.packb(plain)
        return dict(msgpack.unpackb(self._call(lambda: self._connection.ask_scheduler("schedule", packed))))


def _schedule(draft: Draft, rules: tuple[str, ...], name: str, terms: Terms) -> Schedule:
    try:
        parse_name(name)
        return Schedule(
            name=name,
            namespace=draft.spec.namespace,
            rules=rules,
            spec=draft.spec,
            args=draft.args[0],
            without=tuple(terms.get("without", ())),
            # the scheduler knows the agents
            timezone=terms.get("tz") or ("" if draft.spec.receiver else "UTC"),
            dst=terms.get("dst", "vixie"),
            start_us=_us(terms.get("start")),
            end_us=_us(terms.get("end")),
            fires_max=terms.get("max_fires", 0),
            jitter_us=_length(terms, "jitter", 0),
            window_us=_length(terms, "window", HOUR_US),
            on=_trigger(terms),
            # each event has its job, unless somebody wants it otherwise
            overlap=Overlap[
                _known("overlap", terms.get("overlap") or ("allow_all" if terms.get("on") else "skip"), Overlap)
            ],
            catch_up=CatchUp[_known("catch_up", terms.get("catch_up", "latest"), CatchUp)],
            pause_on_failure=terms.get("pause_on_failure", False),
            after=tuple((ref, int(kind)) for ref, kind in draft.after),
        )
    except ValueError as error:
        raise InvalidSpec(f"schedule {name}: {error}") from None


def _trigger(terms: Terms) -> Trigger | None:
    if not terms.get("on"):
        if terms.get("where") or terms.get("given"):
            raise InvalidSpec("expected where and given beside the events that they are about (`on`), found no event")
        return None
    return Trigger(
        events=_texts(terms["on"]), where=_texts(terms.get("where", ())), given=_texts(terms.get("given", ()))
    )


def _texts(said: str | Sequence[str]) -> tuple[str, ...]:
    return (said,) if isinstance(said, str) else tuple(said)


def _known(what: str, word: str, kind: type[Overlap] | type[CatchUp]) -> str:
    if word.upper() not in kind.__members__:
        raise InvalidSpec(f"{what}: expected one of {', '.join(kind.__members__).lower()}, found {word!r}")
    return word.upper()


def _length(terms: Terms, what: str, default: int) -> int:
    found = terms.get(what)
    return default if found is None else parse_milliseconds(found) * 1_000


def _us(at: datetime | None) -> int:
    if at is None:
        return 0
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1e6)
