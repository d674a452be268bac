"""Whose turn it is: first by order (band, or overdue), then the account that had the least, then its own discipline."""

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heapreplace

from kos_ray.model.ids import JobKey
from kos_ray.model.job import SlotKind
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.jobs import OVERDUE, JobClass
from kos_ray.scheduler.models import order_now
from kos_ray.scheduler.queues import first_ready, place_in_class, rank
from kos_ray.scheduler.shares import WHOLE, standing, step_of
from kos_ray.scheduler.state import State

_Place = tuple[int, JobKey]
_LAST: _Place = (1 << 62, JobKey(1 << 62))
_MANY = 1 << 30
#: so much of the cluster an account may have more than the next one after a turn: on a large one several jobs start at
#: once, on a small one it is less than a job
_AHEAD = WHOLE // 2_000
#: the one account of those that have waited too long: they go in the order in which they became overdue
_ALL = ""


class Turn:
    """The head of a class, or one job for which room is being made, and how far the class may go on."""

    __slots__ = ("at_most", "before", "head", "job_class", "kind", "nominated")

    def __init__(self, job_class: JobClass, head: JobKey, *, nominated: bool = False) -> None:
        self.job_class = job_class
        self.head = head
        #: of those that would do, the one that is being tried
        self.kind = job_class.kind
        #: jobs of the class have their turn as long as they stand before this in it
        self.before = _LAST
        #: and so many of them, so that no account runs ahead of another
        self.at_most = _MANY
        self.nominated = nominated


class _Group:
    """The classes of one account in one order, as a heap of `(place of the head, number, class, nominated)`."""

    __slots__ = ("account", "entries", "order", "share_changes")

    def __init__(self, order: int, account: str) -> None:
        #: how often shares had changed when its place was found
        self.share_changes = -1
        self.order = order
        self.account = account
        self.entries: list[tuple[_Place, int, JobClass, bool]] = []


#: `(order, standing of the account, its oldest head, number, group)`
_Entry = tuple[int, tuple[int, ...], JobKey, int, _Group]


#: the heads of all classes in one order
Heads = Sequence[tuple[JobClass, JobKey]]


class Turns:
    """All turns of one pass. Accounts' shares change as jobs start: a turn is computed anew when it comes up."""

    def __init__(
        self, state: State, now_us: int, idle: Callable[[SlotKind], bool], sleep: Callable[[Heads], bool]
    ) -> None:
        """`sleep` is asked before the first turn of each order: whether nothing can be done for any of its heads."""
        self._state = state
        self._now_us = now_us
        self._idle = idle
        self._sleep = sleep
        #: by account and what a start adds, as long as shares stay what they are
        self._standings: dict[tuple[str, int], tuple[int, ...]] = {}
        self._changes = state.share_changes
        groups: dict[tuple[int, str], _Group] = {}
        for number, job_class in enumerate(state.classes.values()):
            head = first_ready(state, job_class)
            if head is not None:
                self._group(groups, job_class).entries.append(
                    (place_in_class(job_class, head), number, job_class, False)
                )
        for key in state.nominated:
            job = state.jobs[key]
            place = (rank(state, job) if job.job_class.ranked else 0, key)
            self._group(groups, job.job_class).entries.append((place, -key, job.job_class, True))
        self._shared = len(groups) > 1
        orders: dict[int, list[_Entry]] = {}
        for number, group in enumerate(groups.values()):
            heapify(group.entries)
            orders.setdefault(group.order, []).append(self._entry(group, number))
        #: those that come up later, the last first
        self._later = [orders[order] for order in sorted(orders, reverse=True)]
        #: the groups of the present order, a heap
        self._groups: list[_Entry] = []

    def _group(self, groups: dict[tuple[int, str], _Group], job_class: JobClass) -> _Group:
        order = order_now(self._state, job_class, self._now_us)
        name = (order, _ALL if order == OVERDUE else job_class.account)
        found = groups.get(name)
        if found is None:
            found = groups[name] = _Group(*name)
        return found

    def _entry(self, group: _Group, number: int) -> _Entry:
        place, _, job_class, _ = group.entries[0]
        group.share_changes = self._state.share_changes
        # ranks of two disciplines have nothing to do with each other: of equal accounts the older head goes first
        if not self._shared or group.order == OVERDUE:
            return (group.order, (), place[1], number, group)
        # A slot that is there already costs nothing more: that keeps two accounts from changing slots all the time.
        more = 0 if self._idle(job_class.kind) else step_of(self._state, job_class.kind.resources)
        return (group.order, self._standing(group.account, more), place[1], number, group)

    def _standing(self, account: str, more: int) -> tuple[int, ...]:
        if self._changes != self._state.share_changes:
            self._standings.clear()
            self._changes = self._state.share_changes
        found = self._standings.get((account, more))
        if found is None:
            found = self._standings[account, more] = standing(self._state, account, self._now_us, more)
        return found

    def next(self) -> Turn | None:
        """The first turn; the same again until `placed` or `pass_over` is told."""
        while self._groups or self._begin_order():
            *was, number, group = self._groups[0]
            if group.share_changes != self._state.share_changes:
                entry = self._entry(group, number)
                if tuple(was) != entry[:3]:
                    heapreplace(self._groups, entry)
                    continue
            place, _, job_class, nominated = group.entries[0]
            return Turn(job_class, place[1], nominated=nominated)
        return None

    def _begin_order(self) -> bool:
        """Go on with the next order in which something can be done; False: there is none."""
        while self._later and not self._groups:
            groups = self._later.pop()
            if not self._all_sleep(groups):
                heapify(groups)
                self._groups = groups
        return bool(self._groups)

    def _all_sleep(self, groups: list[_Entry]) -> bool:
        entries = [entry for *_, group in groups for entry in group.entries]
        if any(nominated for *_, nominated in entries):
            return False
        return self._sleep([(job_class, place[1]) for place, _, job_class, _ in entries])

    def bound(self, turn: Turn) -> None:
        """Tell the turn that is next how far it may go on."""
        _, mine, *_, group = self._groups[0]
        turn.before = min((entry[0] for entry in group.entries[1:3]), default=_LAST)
        turn.at_most = 1 if turn.nominated else self._at_most(group, mine)

    def _at_most(self, group: _Group, mine: tuple[int, ...]) -> int:
        """How many starts it takes to come up to the next account, and a little ahead of it."""
        rivals = [entry[1] for entry in self._groups[1:3] if entry[0] == group.order]
        if not rivals or not mine:
            return _MANY
        rival = min(rivals)
        gap = next((theirs - own for own, theirs in zip(mine, rival, strict=False) if own != theirs), 0)
        step = step_of(self._state, group.entries[0][2].kind.resources)
        return max(1, (gap + _AHEAD) // step) if step else _MANY

    def placed(self) -> None:
        """Jobs of the turn were started, or set aside: the class goes on with its next head, if it has one."""
        _, _, _, number, group = self._groups[0]
        _, class_number, job_class, nominated = group.entries[0]
        head = None if nominated else first_ready(self._state, job_class)
        if head is None:
            self._drop(group)
        else:
            heapreplace(group.entries, (place_in_class(job_class, head), class_number, job_class, False))
            heapreplace(self._groups, self._entry(group, number))

    def pass_over(self) -> None:
        """Nothing can be done for the turn: its class waits for another pass."""
        self._drop(self._groups[0][4])

    def _drop(self, group: _Group) -> None:
        heappop(group.entries)
        if group.entries:
            heapreplace(self._groups, self._entry(group, self._groups[0][3]))
        else:
            heappop(self._groups)


def turns_of(state: State, why: Reason, now_us: int) -> list[Turn]:
    """Turns of the classes that wait for this reason, by order and by their heads."""
    heads = [
        (order_now(state, found, now_us), head, number)
        for number, found in enumerate(state.classes.values())
        if found.why is why and (head := first_ready(state, found)) is not None
    ]
    classes = list(state.classes.values())
    return [Turn(classes[number], head) for _, head, number in sorted(heads)]
