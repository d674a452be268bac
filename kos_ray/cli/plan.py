"""`kos plan FILE`: what a submission would come to, without doing it."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

from pathlib import Path
from typing import Annotated

import typer

from kos_ray.cli.output import emit, plain, say, show_table
from kos_ray.cli.shell import Address, Code, Json, Namespace, example, open_client
from kos_ray.observe.planned import plan_table

EXAMPLE = example(
    "kos plan configs/examples/workflow.yaml",
    "kos submit night.yaml --if-plan $(kos plan night.yaml --json | jq -r .hash)",
)


def plan(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="A YAML or JSON document; - is standard input.")],
    address: Address = None,
    namespace: Namespace = "default",
    code: Code = None,
    spread: Annotated[
        float, typer.Option("--spread", min=0, max=0.99, help="Run times may be off by this share of what is declared.")
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Show where and when each job would start, who would make room, what quota is left, and whether deadlines hold.

    Nothing is done. It is a forecast: run times count as declared, or else as measured, and nothing else arrives. A
    start is exact where all that runs before it is declared; `between` says how far it may move where it is not.
    """
    from kos_ray.spec.load import load_file
    from kos_ray.spec.lower import lower

    drafts = lower([load_file(file)], namespace=namespace)
    folders = [code] if code else [Path.cwd(), Path(file).parent]
    with open_client(address, namespace) as client:
        found = client.plan_drafts(drafts, code=folders, spread=spread)
    if as_json:
        jobs = [{**plain(job), "sure": job.sure} for job in found.jobs]
        emit({"hash": found.hash, "now_us": found.now_us, "seq": found.seq, "jobs": jobs})
        return
    show_table(plan_table(found))
    say(f"plan {found.hash}: kos submit {file} --if-plan {found.hash}")
