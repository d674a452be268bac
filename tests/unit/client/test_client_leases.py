"""The thread that is heard of for all leases of a process: how often, for which, and until when."""

import threading

from kos_ray.client.leases import Keeper, Lease
from kos_ray.model.errors import ClusterUnreachable


class Heard:
    """A scheduler that hears, and one test that waits for that."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.gone: list[str] = []
        self.away = False
        self._changed = threading.Condition()

    def renew(self, tickets: list[str]) -> list[str]:
        with self._changed:
            self.asked.append(tickets)
            self._changed.notify_all()
        if self.away:
            raise ClusterUnreachable("it is away")
        return self.gone

    def until(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) >= count, 30)


def test_all_leases_are_renewed_together_until_there_are_none() -> None:
    heard = Heard()
    keeper = Keeper(heard.renew)
    first, second = Lease("a", 0.6), Lease("b", 60)
    keeper.keep(first)
    keeper.keep(second)
    began = first.heard_s
    heard.until(2)
    assert heard.asked[0] == ["a", "b"]
    assert first.heard_s > began
    thread = keeper._thread
    assert thread is not None
    assert keeper.drop_all() == ["a", "b"]
    thread.join(30)
    assert not thread.is_alive()


def test_coming_and_going_of_others_makes_no_heartbeats() -> None:
    heard = Heard()
    keeper = Keeper(heard.renew)
    keeper.keep(Lease("a", 600))
    for number in range(100):
        keeper.keep(Lease(f"{number}", 600))
        keeper.drop(f"{number}")
    keeper.drop_all()
    assert heard.asked == []


def test_what_is_not_his_any_more_is_lost_and_a_silent_scheduler_takes_nothing_away() -> None:
    heard = Heard()
    heard.away = True
    keeper = Keeper(heard.renew)
    mine, other = Lease("mine", 6), Lease("other", 60)
    keeper.keep(mine)
    keeper.keep(other)
    heard.until(1)
    heard.away, heard.gone = False, ["other"]
    heard.until(len(heard.asked) + 2)
    assert other.lost
    assert not other.left_s
    assert not mine.lost
    keeper.drop_all()
