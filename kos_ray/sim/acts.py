"""What clients want of jobs while they live: cancel, hold, pause, release, another band. Said again until answered."""

from dataclasses import dataclass

from kos_ray.model.events import CancelRequested, HoldRequested, PriorityChanged, ReleaseRequested
from kos_ray.model.ids import JobKey
from kos_ray.sim.auditor import Auditor
from kos_ray.sim.network import Network
from kos_ray.sim.process import Process, Wish
from kos_ray.sim.world import MS_US, SECOND_US, World

#: longer than a message and its answer may take: whoever says a thing twice has not got the first answer any more
_AGAIN_US = 8 * SECOND_US


@dataclass(slots=True)
class Acts:
    """The wishes of one client that are not answered yet."""

    world: World
    network: Network
    auditor: Auditor
    name: str
    open: int = 0
    made: int = 0
    #: from a hold to the answer to its release
    holding: bool = False

    def cancel(self, keys: tuple[JobKey, ...]) -> None:
        """Ask for the end of jobs."""
        if keys:
            self.auditor.cancel_asked(keys)
            self._begin(CancelRequested(request_id=self._id(), keys=keys))

    def hold(self, keys: tuple[JobKey, ...], *, stop: bool) -> None:
        """Have jobs wait, and release them a while after that was acknowledged; one hold at a time."""
        if keys and not self.holding:
            self.holding = True
            self._begin(HoldRequested(request_id=self._id(), keys=keys, stop=stop))

    def change_band(self, keys: tuple[JobKey, ...], band: int) -> None:
        """Move jobs to another band."""
        if keys:
            self._begin(PriorityChanged(request_id=self._id(), keys=keys, band=band))

    def _release(self, keys: tuple[JobKey, ...]) -> None:
        self.auditor.released(keys)
        self._say(ReleaseRequested(request_id=self._id(), keys=keys), [])

    def _id(self) -> str:
        self.made += 1
        return f"{self.name}-act-{self.made}"

    def _begin(self, wish: Wish) -> None:
        self.open += 1
        self._say(wish, [])

    def _say(self, wish: Wish, answers: list[bool]) -> None:
        """Send a wish; `answers` is filled when it is answered."""
        if answers:
            return

        def arrive(process: Process) -> None:
            process.want(wish, lambda: self.network.answer(self._answered, wish, answers))

        self.network.to_scheduler(arrive, once=True)
        self.world.after(_AGAIN_US, self._say, wish, answers)

    def _answered(self, wish: Wish, answers: list[bool]) -> None:
        if answers:
            return
        answers.append(True)
        if isinstance(wish, HoldRequested):
            self.world.after(self.world.between(0, 2_000) * MS_US, self._release, wish.keys)
            return
        if isinstance(wish, ReleaseRequested):
            self.holding = False
        self.open -= 1
