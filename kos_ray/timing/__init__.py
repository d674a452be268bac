"""When things are due: instants in, instants out.

Covers: cron in three dialects, calendars and plain words, intervals, recurrence rules, the sun; time zones and their
changes; unions, exclusions, bounds and jitter. Instants are microseconds since 1970 (UTC).
Does not cover: what is done then, and what is done about what was missed.
May import: model.
"""
