"""Negotiation among agents: offer, bid, award, as in the contract net (Smith, "The contract net protocol", 1980).

All that is said is messages to agents, so it is durable and in the journal, each under an idempotency key of the
negotiation: whoever goes on with it after a crash finds the same bids and the same award.
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kos_ray.client.barriers import Meeting
from kos_ray.client.job import Job
from kos_ray.client.locking import milliseconds
from kos_ray.model.errors import InvalidSpec, JobFailed, NotFound

_NO_BID = "no bid by the deadline"


@dataclass(frozen=True, slots=True)
class Bid:
    """What an agent would do it for; `said` is all that its `bid` returned."""

    agent: str
    cost: float
    said: Any = None


@dataclass(frozen=True, slots=True)
class Award:
    """How a negotiation ended. `winner` is "" where nobody got it: then `declined` says why, agent by agent."""

    winner: str
    bid: Bid | None
    #: all bids, the best first
    bids: tuple[Bid, ...]
    #: agents that made none, and why
    declined: Mapping[str, str] = field(default_factory=dict)
    #: the message that tells the winner, whose result is the work's; None where it has no method `award`
    job: Job | None = None

    def result(self, timeout: float | None = None) -> Any:
        """What the winner's `award(task, bid)` returned.

        Raises:
            NotFound: nobody won, or the winner has no such method.
            JobFailed: it did not end well.

        """
        if self.job is None:
            raise NotFound(
                f"nobody works on it: {self.declined}" if not self.winner else f"{self.winner} has no `award`"
            )
        return self.job.result(timeout)


class Negotiating(Meeting):
    """The part of a client that is about it."""

    def negotiate(
        self,
        task: Any,
        *,
        among: Sequence[str] = (),
        role: str = "",
        deadline: str | float = "5s",
        arbiter: str | Callable[[Any, Sequence[Bid]], str | None] | None = None,
        key: str = "",
    ) -> Award:
        """Offer a task to agents, by name or by role, take their bids until the deadline, and award it to one.

        Each is sent `bid(task)`, which returns its cost (a number, or a mapping with `cost`), None where it declines.
        The lowest cost wins, of equals the first by name; or whom the `arbiter` names: a callable of the task and the
        bids, or an agent, by its method `arbitrate(task, bids)`. The winner is sent `award(task, bid)`, the others
        `reject(task, bid)`, where they have these methods.

        With the same `key` it is the same negotiation: it goes on where it was, with the bids that were made. Where
        whoever asks dies before the award, and nobody goes on, there is none: no bid binds beyond its deadline.

        Raises:
            NotFound: there is none of these agents.

        """
        known = {one["name"]: one for one in self.agents() if one["namespace"] == self.namespace}
        names = sorted(dict.fromkeys(among) if among else [name for name, one in known.items() if role in one["roles"]])
        missing = [name for name in names if name not in known]
        if missing or not names:
            raise NotFound(f"there is no agent {', '.join(missing) or f'with role {role!r}'}; see `kos agent ls`")
        said = _Said(self, task, key or uuid.uuid4().hex, known)
        bids, declined = said.bids(names, milliseconds("deadline", deadline) / 1_000)
        winner = said.chosen(bids, arbiter)
        if bids and winner is None:
            declined |= dict.fromkeys((bid.agent for bid in bids), "the arbiter chose nobody")
        for bid in bids:
            if winner is None or bid.agent != winner.agent:
                said.tell(bid.agent, "reject", bid.said)
        job = said.tell(winner.agent, "award", winner.said) if winner is not None else None
        return Award(winner.agent if winner is not None else "", winner, tuple(bids), declined, job)


class _Said:
    """What one negotiation says, each message once."""

    def __init__(self, client: Negotiating, task: Any, key: str, agents: Mapping[str, Mapping[str, Any]]) -> None:
        self._client = client
        self._task = task
        self._key = key
        self._agents = agents

    def tell(self, agent: str, method: str, *args: Any, **options: Any) -> Job | None:
        """Send a message, where the agent has the method."""
        if method not in self._agents[agent]["methods"]:
            return None
        return self._client._message(
            agent, method, (self._task, *args), {}, idempotency_key=f"{self._key}/{method}/{agent}", **options
        )

    def bids(self, names: Sequence[str], seconds: float) -> tuple[list[Bid], dict[str, str]]:
        """What was bid within so many seconds, the best first, and who made no bid, and why."""
        ends = time.monotonic() + seconds
        asked = {name: self.tell(name, "bid", timeout=seconds) for name in names}
        found: list[Bid] = []
        declined: dict[str, str] = {}
        for name, job in asked.items():
            if job is None:
                declined[name] = "it has no method bid"
                continue
            try:
                bid = _bid_of(name, job.result(max(0.0, ends - time.monotonic())))
            except TimeoutError:
                job.cancel()
                declined[name] = _NO_BID
            except (JobFailed, InvalidSpec) as error:
                declined[name] = str(error)
            else:
                found += [bid] if bid is not None else []
                declined |= {} if bid is not None else {name: "it declined"}
        return sorted(found, key=lambda bid: (bid.cost, bid.agent)), declined

    def chosen(
        self, bids: Sequence[Bid], arbiter: str | Callable[[Any, Sequence[Bid]], str | None] | None
    ) -> Bid | None:
        """Whose bid is taken.

        Raises:
            InvalidSpec: the arbiter names somebody who made none.

        """
        if not bids or arbiter is None:
            return bids[0] if bids else None
        if callable(arbiter):
            name = arbiter(self._task, bids)
        else:
            plain = [{"agent": bid.agent, "cost": bid.cost, "said": bid.said} for bid in bids]
            key = f"{self._key}/arbitrate/{arbiter}"
            name = self._client._message(arbiter, "arbitrate", (self._task, plain), {}, idempotency_key=key).result()
        if name is None:
            return None
        by_name = {bid.agent: bid for bid in bids}
        if name not in by_name:
            raise InvalidSpec(f"arbiter: expected one of {', '.join(by_name)}, or None, found {name!r}")
        return by_name[name]


def _bid_of(agent: str, said: Any) -> Bid | None:
    """What an agent's `bid` has returned.

    Raises:
        InvalidSpec: it is no bid.

    """
    if said is None or said is False:
        return None
    cost = said.get("cost") if isinstance(said, Mapping) else said
    if isinstance(cost, bool) or not isinstance(cost, int | float) or cost != cost:  # noqa: PLR0124 - no number
        raise InvalidSpec(f"expected a cost, or a mapping with one, found {said!r}")
    return Bid(agent, float(cost), said)
