"""What people see: plain tables, reports and texts made of the readers' views.

Also what the ends of jobs call for: `signals.py` (who is told, which jobs follow), `outbox.py`, `webhook.py`.

Covers: times that a job waited and ran, the job table, the workflow report with its critical path, the status panel.
Does not cover: reading the journal (`journal`), drawing (`cli`, `server`); all else is a pure function of views.
May import: `model`, the journal's reader, `scheduler.explain`.
"""
