"""`kos schedule`: when things start by themselves. What is about a rule alone needs no cluster."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

from calendar import monthrange
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from kos_ray.cli.output import emit, now_us, on_terminal, say
from kos_ray.cli.shell import Exit, Json, example, new_app
from kos_ray.model.errors import InvalidSpec

if TYPE_CHECKING:
    from kos_ray.timing.rules import Rule

app = new_app("When jobs start by themselves: rules that are read, shown and tried, and the cluster's schedules.")

#: what `validate` prints of a rule, and what `calendar` says of a day
_SHOWN, _OF_DAY = 5, 3

Expression = Annotated[
    str, typer.Argument(metavar="EXPR", help="Cron, plain English (every weekday at 9am), or RRULE:FREQ=...")
]
Zone = Annotated[
    str, typer.Option("--tz", metavar="ZONE", help="An IANA time zone or +HH:MM; else that of --after, else UTC.")
]
After = Annotated[str, typer.Option("--after", metavar="TIME", help="ISO 8601; now where it is not given.")]
Dst = Annotated[
    str,
    typer.Option("--dst", help="Whose cron, and what it does when clocks change: vixie, robfig or temporal."),
]


@app.callback()
def _group() -> None:
    """When jobs start by themselves: rules that are read, shown and tried, and the cluster's schedules."""


@app.command(epilog=example("kos schedule validate '0 9 * * MON-FRI'", "kos schedule validate 'every weekday at 9am'"))
def validate(
    expression: Expression, timezone: Zone = "", after: After = "", dst: Dst = "vixie", as_json: Json = False
) -> None:
    """Check a rule: point at what is wrong (exit code 2), or say it in English with its next five fires."""
    from kos_ray.timing.describe import described

    try:
        rule, after_us, timezone = _read(expression, timezone, after, dst)
        english = described(expression, dialect=dst)
    except InvalidSpec as error:
        if not as_json:
            raise
        emit({"valid": False, "error": str(error), "fires": []})
        raise typer.Exit(Exit.USAGE) from None
    found = _fires(rule, after_us, _SHOWN, timezone)
    if as_json:
        emit({"valid": True, "error": None, "fires": found})
        return
    typer.echo(english)
    _show(found)


@app.command("next", epilog=example("kos schedule next '30 2 * * *' --tz Europe/Berlin --after 2026-03-28 --count 3"))
def next_fires(
    expression: Expression,
    timezone: Zone = "",
    after: After = "",
    count: Annotated[int, typer.Option("--count", "-c", min=1, max=100_000, help="So many.")] = _SHOWN,
    dst: Dst = "vixie",
    as_json: Json = False,
) -> None:
    """Print the next fires of a rule after an instant, with the zone's offset."""
    rule, after_us, timezone = _read(expression, timezone, after, dst)
    found = _fires(rule, after_us, count, timezone)
    if as_json:
        emit({"expression": expression, "timezone": timezone, "dst": dst, "fires": found})
        return
    _show(found)


@app.command(epilog=example("kos schedule describe '0 9 * * 1-5'", "kos schedule describe '0 12 * * 5L' --json"))
def describe(expression: Expression, dst: Dst = "vixie", as_json: Json = False) -> None:
    """Say a rule in English."""
    from kos_ray.timing.describe import described

    english = described(expression, dialect=dst)
    emit({"expression": expression, "description": english}) if as_json else typer.echo(english)


@app.command("calendar", epilog=example("kos schedule calendar 'last friday of the month at noon' --month 2026-03"))
def show_calendar(
    expression: Expression,
    month: Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="Else the present one.")] = "",
    timezone: Zone = "UTC",
    dst: Dst = "vixie",
    as_json: Json = False,
) -> None:
    """Show a month with the days on which a rule fires, and at what times."""
    from kos_ray.timing.describe import fires_by_day, local, month_of
    from kos_ray.timing.rules import read_rule

    rule = read_rule(expression, timezone=timezone, dialect=dst)
    first = month_of(month) if month else local(now_us(), timezone).date().replace(day=1)
    days = {
        day: [local(at_us, timezone).strftime("%H:%M:%S").removesuffix(":00") for at_us in fires]
        for day, fires in fires_by_day(rule, first, timezone, most=_OF_DAY + 1).items()
    }
    if as_json:
        plain = {
            day.isoformat(): {"first": times[:_OF_DAY], "more": len(times) > _OF_DAY} for day, times in days.items()
        }
        emit({"expression": expression, "timezone": timezone, "month": first.strftime("%Y-%m"), "days": plain})
        return
    for line in _month_lines(first, days):
        typer.echo(line)


def _month_lines(first: date, days: dict[date, list[str]]) -> list[str]:
    """The month's page, with a star (on a terminal: in reverse) at days that have fires; below it, their times."""
    lines = [
        first.strftime("%B %Y").center(28).rstrip(),
        "".join(f"{name:>4}" for name in ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"]),
    ]
    week = "    " * first.weekday()
    for number in range(monthrange(first.year, first.month)[1]):
        day = first + timedelta(days=number)
        cell = f"{day.day:>3}" + ("*" if day in days else " ")
        week += typer.style(cell, reverse=True) if day in days and on_terminal() else cell
        if day.weekday() == 6:
            lines.append(week.rstrip())
            week = ""
    lines += [week.rstrip()] if week.strip() else []
    lines += ["", *_times_lines(days)]
    return lines


def _times_lines(days: dict[date, list[str]]) -> list[str]:
    """One line for all days with the same times."""
    same: dict[str, list[date]] = {}
    for day, times in days.items():
        text = ", ".join(times[:_OF_DAY]) + (" ..." if len(times) > _OF_DAY else "")
        same.setdefault(text, []).append(day)
    found = [f"{text}  on {', '.join(str(day.day) for day in dates)}" for text, dates in same.items()]
    return found or ["no fires in this month"]


def _read(expression: str, timezone: str, after: str, dst: str) -> "tuple[Rule, int, str]":
    """The rule, the instant behind which its fires are wanted, and the zone in which they are told."""
    from kos_ray.timing.describe import instant
    from kos_ray.timing.rules import read_rule

    after_us, timezone = instant(after, timezone) if after else (now_us(), timezone or "UTC")
    return read_rule(expression, timezone=timezone, dialect=dst), after_us, timezone


def _fires(rule: "Rule", after_us: int, count: int, timezone: str) -> list[str]:
    from kos_ray.timing.describe import local
    from kos_ray.timing.rules import fires

    return [local(at_us, timezone).isoformat() for at_us in fires(rule, after_us, count)]


def _show(found: list[str]) -> None:
    for line in found:
        typer.echo(line)
    if not found:
        say("it never fires after that")
