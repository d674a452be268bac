"""The command line's table of contents, and its entry point."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import sys
from typing import Annotated

import typer

from kos_ray.cli import (
    act,
    agent_snapshots,
    agents,
    approve,
    audit,
    cluster,
    demo,
    dlq,
    doctor,
    documents,
    event,
    events,
    explain,
    graph,
    history,
    imports,
    jobs,
    journal,
    listing,
    locks,
    logs,
    mailboxes,
    node,
    notify,
    oneoff,
    plan,
    scheduler,
    schedules,
    settings,
    sim,
    top,
)
from kos_ray.cli.shell import new_app, run_guarded

app = new_app("kos: durable jobs, priorities and explanations inside a live Ray cluster.")
app.command(epilog=cluster.UP_EXAMPLE)(cluster.up)
app.command(epilog=cluster.DOWN_EXAMPLE)(cluster.down)
app.command(epilog=cluster.STATUS_EXAMPLE)(cluster.status)
app.command(epilog=jobs.SUBMIT_EXAMPLE)(jobs.submit)
app.command(epilog=plan.EXAMPLE)(plan.plan)
# what follows the command's or the function's name belongs to it
_ALL_WORDS = {"ignore_unknown_options": True, "allow_interspersed_args": False}
app.command("run", epilog=oneoff.EXAMPLE, context_settings=_ALL_WORDS)(oneoff.run_job)
app.command("ls", epilog=listing.EXAMPLE)(listing.list_jobs)
app.command(epilog=jobs.GET_EXAMPLE)(jobs.get)
app.command(epilog=logs.EXAMPLE)(logs.logs)
app.command(epilog=explain.EXAMPLE)(explain.explain)
app.command(epilog=jobs.RESULT_EXAMPLE)(jobs.result)
app.command(epilog=jobs.WAIT_EXAMPLE)(jobs.wait)
app.command(epilog=act.CANCEL_EXAMPLE)(act.cancel)
app.command(epilog=act.HOLD_EXAMPLE)(act.hold)
app.command(epilog=act.RELEASE_EXAMPLE)(act.release)
app.command(epilog=act.PAUSE_EXAMPLE)(act.pause)
app.command(epilog=act.RESUME_EXAMPLE)(act.resume)
app.command(epilog=act.REPRIORITISE_EXAMPLE)(act.reprioritise)
app.command(epilog=act.RERUN_EXAMPLE)(act.rerun)
app.command(epilog=approve.APPROVE_EXAMPLE)(approve.approve)
app.command(epilog=approve.REJECT_EXAMPLE)(approve.reject)
app.command(epilog=approve.APPROVALS_EXAMPLE)(approve.approvals)
app.command(epilog=events.EXAMPLE)(events.events)
app.command(epilog=history.EXAMPLE)(history.history)
app.command(epilog=graph.EXAMPLE)(graph.graph)
app.command(epilog=top.NODES_EXAMPLE)(top.nodes)
app.command(epilog=top.TOP_EXAMPLE)(top.top)
app.command(epilog=documents.INIT_EXAMPLE)(documents.init)
app.command(epilog=documents.VALIDATE_EXAMPLE)(documents.validate)
app.command(epilog=documents.SCHEMA_EXAMPLE)(documents.schema)
app.add_typer(imports.app, name="import")
app.add_typer(dlq.app, name="dlq")
app.add_typer(notify.app, name="notify")
app.add_typer(journal.app, name="journal")
app.add_typer(audit.app, name="audit")
app.add_typer(settings.app, name="config")
app.add_typer(node.app, name="node")
app.add_typer(event.app, name="event")
app.add_typer(schedules.app, name="schedule")
agents.app.command(epilog=agent_snapshots.SNAPSHOT_EXAMPLE)(agent_snapshots.snapshot)
agents.app.command(epilog=agent_snapshots.SNAPSHOTS_EXAMPLE)(agent_snapshots.snapshots)
agents.app.command(epilog=agent_snapshots.ROLLBACK_EXAMPLE)(agent_snapshots.rollback)
app.add_typer(agents.app, name="agent")
app.add_typer(locks.app, name="lock")
app.add_typer(mailboxes.app, name="mailbox")
app.command("signal", epilog=mailboxes.SIGNAL_EXAMPLE)(mailboxes.signal)
app.add_typer(scheduler.app, name="scheduler")
app.add_typer(sim.app, name="sim")
app.command(epilog=doctor.EXAMPLE)(doctor.doctor)
app.command(epilog=demo.EXAMPLE)(demo.demo)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"kos_ray {version('kos_ray')}")
        raise typer.Exit


@app.callback(
    epilog="\b\nExit codes:\n  0  done\n  1  the job failed, or the answer is no\n  2  wrong usage or bad input\n"
    "  3  no cluster answers\n  4  no such job"
)
def _root(
    _asked: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


def run() -> None:
    """The entry point of `kos`."""
    sys.exit(run_guarded(lambda: app(prog_name="kos")))
