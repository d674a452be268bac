"""Results as they come: `for found in client.results(type="scan"): ...`."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kos_ray.client.negotiating import Negotiating
from kos_ray.model.ids import JobKey
from kos_ray.model.views import EventView, JobView

#: records of the journal that one question brings, and seconds between two questions when there is nothing new
_PAGE = 1_000
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Result:
    """The end of one job. `seq` is its place in the journal, where `results(since=seq)` goes on.

    Jobs that ended together share one: it begins with them, this one among them. Ids of jobs tell what was dealt with.
    """

    seq: int
    job: JobView
    _client: Any

    @property
    def value(self) -> Any:
        """What the job has returned.

        Raises:
            JobFailed: it has not succeeded.

        """
        return self._client.job(self.job.id).result()


class Following(Negotiating):
    """The part of a client that follows what comes of jobs."""

    def results(
        self,
        *,
        type: str = "",  # noqa: A002 - what people call it
        agent: str = "",
        since: int | None = None,
        follow: bool = True,
    ) -> Iterator[Result]:
        """The jobs of this namespace as they end, in the order of the journal, and each once.

        Of one `type`, or the messages that were sent to one agent by its name, or all. From the record `since` on (0:
        from the beginning; None: from this call on). Jobs that ended together are one record. Whoever keeps the `seq`
        of the last one that was dealt with, and goes on from it, misses none after a crash, and gets all of that record
        again: each at least once, under the same job id. Without `follow` it ends with what there is.

        Raises:
            ClusterUnreachable: nobody has answered for long.

        """
        # a question brings what is behind a place
        place = self._client.status().seq if since is None else max(0, since - 1)
        return self._behind(place, type, agent, follow)

    def _behind(self, place: int, type_: str, agent: str, follow: bool) -> Iterator[Result]:
        while True:
            page = self._client.events(place, _PAGE)
            for record in page:
                if record.kind == "Finish":
                    yield from self._of_record(record, type_, agent)
            if page:
                place = page[-1].seq
            elif not follow:
                return
            else:
                time.sleep(_PAUSE_S)

    def _of_record(self, record: EventView, type_: str, agent: str) -> Iterator[Result]:
        keys: list[JobKey] = list(record.detail["keys"])  # type: ignore[call-overload]
        for start in range(0, len(keys), _PAGE):
            for view in self._client._views(keys[start : start + _PAGE]):
                wanted = type_ in ("", view.type) and agent in ("", view.receiver)
                if view.namespace == self.namespace and wanted:
                    yield Result(record.seq, view, self._client)
