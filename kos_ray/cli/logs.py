"""`kos logs`, and the output of jobs as it comes."""

from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, Annotated

import typer

from kos_ray.cli.output import emit, say
from kos_ray.cli.shell import Address, Exit, JobRef, Json, Namespace, example, fail, open_client
from kos_ray.model.errors import NotFound
from kos_ray.model.views import JobView
from kos_ray.observe.tables import final

if TYPE_CHECKING:
    from kos_ray.client import Client

EXAMPLE = example("kos logs averages/prepare", "kos logs train-3 -f", "kos logs train-3 --attempt 1")
#: between two looks at a job that goes on
_PAUSE_S = 0.3


def logs(
    job: JobRef,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print more as it comes, until the job ends.")] = False,
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="The last one if not given.")] = None,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Print what a job printed."""
    if follow and as_json:
        raise fail("expected either --follow or --json, which is one document", Exit.USAGE)
    if follow and attempt:
        raise fail("expected either --follow, which shows every attempt, or --attempt", Exit.USAGE)
    with open_client(address, namespace) as client:
        if follow:
            stream(client, job)
            return
        text = client.logs(job, attempt)
    if as_json:
        emit({"job": job, "attempt": attempt, "text": text})
        return
    typer.echo(text, nl=False)


def stream(client: "Client", ref: str) -> JobView:
    """Prints a job's output as it comes, attempt after attempt; how the job stands when it has ended."""
    printed = _Printed(client, ref)
    while True:
        view = client.wait([ref], _PAUSE_S)[0]
        printed.more(view)
        if final(view):
            return view


class _Printed:
    """What was printed so far of a job's current attempt."""

    def __init__(self, client: "Client", ref: str) -> None:
        self._client = client
        self._ref = ref
        self._attempt = 0
        self._begin()

    def more(self, view: JobView) -> None:
        """Print what is new."""
        if not view.attempt:
            return
        while self._attempt < view.attempt:
            if self._attempt:
                self._rest(ended=True)
                say(f"--- attempt {self._attempt + 1} of {self._ref}")
            self._attempt += 1
            self._begin()
        self._rest(ended=final(view))

    def _begin(self) -> None:
        self._length = 0
        #: keeps half of a character that is still being written
        self._decoder = getincrementaldecoder("utf-8")(errors="replace")

    def _rest(self, *, ended: bool) -> None:
        try:
            data = self._client.log_bytes(self._ref, self._attempt, self._length)
        except NotFound:
            return  # it was sent to a node, and taken back before it ran
        self._length += len(data)
        typer.echo(self._decoder.decode(data, final=ended), nl=False)
