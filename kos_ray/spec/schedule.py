"""When jobs of documents start by themselves: the field `schedule` of a job, and documents with `kind: schedule`."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.schedule import FOREIGN, HOUR_US, CatchUp, Overlap
from kos_ray.spec import parse
from kos_ray.spec.misfit import Misfit
from kos_ray.spec.parse import one_of
from kos_ray.spec.strict import Strict
from kos_ray.spec.units import parse_milliseconds
from kos_ray.timing.conditions import read_given
from kos_ray.timing.cron import DIALECTS
from kos_ray.timing.occasions import check_name, read_condition
from kos_ray.timing.rules import read_calendar, read_rule

if TYPE_CHECKING:
    from kos_ray.spec.schema import JobSpec

#: what a job cannot have that a schedule starts: it is one job, and what it waits for is there when it is made
_NOT = ("count", "gang", "bundle", "at_most", "max_failures", "idempotency_key")
_OVERLAPS = [overlap.name.lower() for overlap in Overlap]
_CATCH_UPS = [catch_up.name.lower() for catch_up in CatchUp]


def _texts(value: object) -> tuple[str, ...]:
    """One text or a list of them; YAML reads dates and instants itself."""
    items = value if isinstance(value, list | tuple) else [value]
    if not items:
        raise ValueError("expected a rule such as 'every weekday at 9am', found an empty list")
    form = "a rule as text, such as 'every weekday at 9am'"
    return tuple(item.isoformat() if isinstance(item, date) else parse.parse_text(item, form) for item in items)


def _as_mapping(value: object) -> object:
    """A rule, or several, stand for a schedule that says nothing else."""
    return value if value is None or isinstance(value, Mapping | ScheduleSpec) else {"when": value}


_RULES = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_Texts = Annotated[tuple[str, ...], BeforeValidator(_texts), WithJsonSchema(_RULES)]
_Length = Annotated[
    int, BeforeValidator(parse_milliseconds), WithJsonSchema({"type": ["string", "number"], "examples": ["30s", "1h"]})
]
_Instant = Annotated[
    Any, BeforeValidator(parse.parse_instant), WithJsonSchema({"type": "string", "format": "date-time"})
]
_Flag = Annotated[bool, BeforeValidator(parse.parse_flag), WithJsonSchema({"type": "boolean"})]
_Name = Annotated[str, BeforeValidator(parse.parse_name), WithJsonSchema({"type": "string", "maxLength": 200})]
_Zone = Annotated[
    str, BeforeValidator(lambda value: parse.parse_text(value, "a time zone")), WithJsonSchema({"type": "string"})
]
_Fires = Annotated[
    int | None,
    BeforeValidator(parse.integer_between(1, 1_000_000_000)),
    WithJsonSchema({"type": "integer", "minimum": 1}),
]


class ScheduleSpec(Strict):
    """When a job starts, and what becomes of its fires; docs/schedules.md says what each word means."""

    when: _Texts = Field(default=(), description="Cron, plain English, RRULE:..., an instant; or a list: any of them.")
    on: _Texts = Field(
        default=(), description="Instead of `when`: names of events for which it starts, such as `file.*`."
    )
    where: _Texts = Field(
        default=(), description="All of these hold for the event: `size > 1000`, `path ~ *.csv`, `text says hello`."
    )
    given: _Texts = Field(
        default=(),
        description="What more than one event must say: `becomes temp > 30`, `count 3 within 1m`; see Events.",
    )
    name: _Name = Field(default="", description="The schedule's name; the job's `id` where nothing is written.")
    tz: _Zone = Field(
        default="", description="An IANA time zone, or +HH:MM; else that of the agent that is sent a message, or UTC."
    )
    dst: Annotated[str, BeforeValidator(one_of(*DIALECTS)), WithJsonSchema({"enum": list(DIALECTS)})] = Field(
        default="vixie", description="Whose cron, and what it does when clocks change."
    )
    without: _Texts = Field(default=(), description="Dates, words for days, or cron expressions that are left out.")
    start: Annotated[_Instant | None, Field(description="It fires from here on.")] = None
    end: Annotated[_Instant | None, Field(description="And up to here.")] = None
    max_fires: _Fires = Field(default=None, description="So often in all.")
    jitter: _Length = Field(default=0, description="Each fire starts up to so much later.")
    window: _Length = Field(default=HOUR_US // 1_000, description="What was missed longer ago never starts.")
    overlap: Annotated[str, BeforeValidator(one_of(*_OVERLAPS)), WithJsonSchema({"enum": _OVERLAPS})] = Field(
        default="", description="A fire while a job of the schedule is live: skip, of events allow_all."
    )
    catch_up: Annotated[str, BeforeValidator(one_of(*_CATCH_UPS)), WithJsonSchema({"enum": _CATCH_UPS})] = Field(
        default="latest", description="Which of the fires start that were missed."
    )
    pause_on_failure: _Flag = Field(default=False, description="It is paused when a job of it fails.")

    def terms(self) -> dict[str, Any]:
        """What `Client.schedule_draft` is told besides the rules."""
        plain = self.model_dump(exclude={"kind", "job", "when", "name", "jitter", "window", "max_fires"})
        plain = {word: said for word, said in plain.items() if said not in ("", ())}
        lengths = {"jitter": self.jitter / 1_000, "window": self.window / 1_000}
        return {**plain, **lengths, "max_fires": self.max_fires or 0}


class ScheduleDocument(ScheduleSpec):
    """A schedule with its job, as a document of its own: `kind: schedule`."""

    kind: Annotated[str, BeforeValidator(one_of("schedule")), WithJsonSchema({"const": "schedule"})] = Field(
        description="What the document is."
    )
    job: Any = Field(description="The job that it starts, in any of the forms.")


#: the field `schedule` of a job
Scheduled = Annotated[
    ScheduleSpec | None,
    BeforeValidator(_as_mapping),
]


def is_schedule(data: object) -> bool:
    """Whether a document is a schedule of its own."""
    return isinstance(data, Mapping) and data.get("kind") == "schedule"


def check_schedule(spec: ScheduleSpec) -> None:
    """Refuse what cannot be, and what nobody can read.

    Raises:
        Misfit: with the field.

    """
    if bool(spec.when) == bool(spec.on):
        found = "both" if spec.when else "neither"
        raise Misfit((), f"expected either when (a rule) or on (an event), found {found}")
    for word in ("where", "given"):
        if getattr(spec, word) and not spec.on:
            raise Misfit((word,), f"expected {word} beside on, found no event that it is about")
    if spec.on and (spec.jitter or spec.start or spec.end or spec.without):
        raise Misfit((), "expected no jitter, start, end or without beside on, which has no times")
    readers: dict[str, Callable[[str], object]] = {
        "on": check_name,
        "where": read_condition,
        "when": lambda text: read_rule(text, timezone=spec.tz or "UTC", dialect=spec.dst),
        "without": lambda text: read_calendar(text, spec.tz or "UTC"),
    }
    for field, read in readers.items():
        for text in getattr(spec, field):
            if field == "when" and text.startswith(FOREIGN):
                continue  # only where the scheduler runs can it be asked
            try:
                read(text)
            except InvalidSpec as error:
                raise Misfit((field,), str(error).partition("\n")[0]) from None
    try:
        read_given(spec.given, len(spec.on))
    except InvalidSpec as error:
        raise Misfit(("given",), str(error)) from None


def check_starts_alone(job: "JobSpec") -> None:
    """Refuse a job that no schedule can start.

    Raises:
        Misfit: with the field.

    """
    for field in _NOT:
        if getattr(job, field):
            raise Misfit((field,), f"expected one job that a schedule starts, found {field}")
    waits_for = job.waits_for
    if waits_for.singleton or waits_for.by_type or waits_for.rule:
        raise Misfit(("after",), "expected jobs to wait for by name in a schedule's job, found a rule or a singleton")
