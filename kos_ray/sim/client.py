"""Clients: they submit, watch and poll, and say everything again until it is answered; see `client/`."""

from collections.abc import Callable

from kos_ray.model.errors import Refused
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState, Spec
from kos_ray.model.protocol import Accepted, Outcomes, Submit
from kos_ray.model.reasons import Reason
from kos_ray.sim.acts import Acts
from kos_ray.sim.auditor import Auditor, Outcome
from kos_ray.sim.network import Network
from kos_ray.sim.process import Process
from kos_ray.sim.workload import ArrayPlan, RequestPlan
from kos_ray.sim.world import MS_US, SECOND_US, World

#: a call that is not answered by then is made again
_CALL_US = 2 * SECOND_US
#: and a long poll, which may wait for 30 s
_POLL_US = 32 * SECOND_US


class Client:
    """One client with its requests, each made when it `may` be. `open` counts what it still waits for."""

    def __init__(
        self,
        world: World,
        network: Network,
        auditor: Auditor,
        name: str,
        requests: list[RequestPlan],
        may: Callable[[RequestPlan], bool] = lambda _: True,
    ) -> None:
        self.name = name
        self.outcomes: dict[JobKey, Outcome] = {}
        self.finished = 0
        self._world = world
        self._network = network
        self._auditor = auditor
        self._may = may
        self._unanswered: dict[str, RequestPlan] = {request.id: request for request in requests}
        self._acts = Acts(world, network, auditor, name)
        self._waiting: dict[JobKey, None] = {}
        self._accepted: dict[str, JobKey] = {}
        self._known_specs: set[str] = set()
        firsts = [request for request in requests if not request.twin]
        self._owner = {array.id: request.id for request in firsts for array in request.arrays}
        self._epoch = 0
        self._acked = 0
        #: which poll counts
        self._poll = 0
        for request in requests:
            world.after(request.at_us, self._submit, request)
        self._call_poll()

    @property
    def open(self) -> int:
        """Requests, wishes and jobs that are not over."""
        return len(self._unanswered) + self._acts.open + len(self._waiting)

    # --- submissions

    def _submit(self, request: RequestPlan) -> None:
        if request.id not in self._unanswered:
            return
        if self._may(request) and all(owner in self._accepted for owner in self._owners(request)):
            specs = {
                array.hash: array.spec
                for array in request.arrays
                if array.hash not in self._known_specs or self._world.chance(0.1)
            }
            self._send(request, specs)
        self._world.after(_CALL_US, self._submit, request)

    def _owners(self, request: RequestPlan) -> list[str]:
        """The requests whose jobs this one refers to."""
        parents = [parent for array in request.arrays for parent in (*(p for p, _ in array.after), *array.inputs)]
        arrays = [parent if isinstance(parent, ArrayPlan) else parent.array for parent in parents]
        owners = {self._owner[array.id]: None for array in arrays if array.id in self._owner}
        return [owner for owner in owners if owner != request.id]

    def _send(self, request: RequestPlan, specs: dict[str, Spec]) -> None:
        submit = Submit(
            request_id=request.id,
            arrays=tuple(array.message() for array in request.arrays),
            specs=tuple(specs.items()),
            watcher=self.name if request.watched else "",
            sender=self.name,
        )
        if not request.refusable:
            self._auditor.sent(request.jobs)

        epoch = self._epoch

        def arrive(process: Process) -> None:
            process.submit(submit, lambda answer: self._replied(request, answer, epoch))

        self._network.to_scheduler(arrive)

    def _replied(self, request: RequestPlan, answer: object, epoch: int) -> None:
        """The scheduler has answered; the answer may be lost, and outcomes may overtake it."""
        if isinstance(answer, Accepted) and not answer.unknown_specs:
            about = (request.id, request.refusable, answer)
            self._auditor.expect(not request.refusable, "a bad request was accepted", about)
            keys = _keys(request, answer)
            self._auditor.expect(len(keys) == len(request.jobs), "a request was cut", about)
            self._auditor.accepted(request.jobs, keys)
        self._network.answer(self._answered, request, answer, epoch)

    def _answered(self, request: RequestPlan, answer: object, epoch: int) -> None:
        if isinstance(answer, Refused):
            if "journal cannot write" in str(answer):
                return  # it is sent again when its time is over
            self._auditor.expect(bool(request.refusable), "a good request was refused", (request.id, str(answer)))
            self._unanswered.pop(request.id, None)
            return
        assert isinstance(answer, Accepted)
        if answer.unknown_specs:
            self._send(request, {array.hash: array.spec for array in request.arrays})
            return
        if self._unanswered.pop(request.id, None) is None:
            return
        self._accepted[request.id] = answer.first
        self._known_specs.update(array.hash for array in request.arrays)
        keys = _keys(request, answer)
        self._waiting.update(dict.fromkeys(key for key in keys if key not in self.outcomes))
        if request.watched and epoch != self._epoch:
            # A scheduler that is gone may have answered, and its successor been told what to watch before.
            self._watch(keys)
        elif not request.watched:
            self._world.after(self._world.between(0, 2 * SECOND_US), self._watch, keys)
        self._want(keys, request)

    def _want(self, keys: list[JobKey], request: RequestPlan) -> None:
        """Now and then something is wanted of jobs; those that would run for ever are cancelled for certain."""
        world = self._world
        endless = tuple(key for key, plan in zip(keys, request.jobs, strict=True) if plan.endless)
        world.after(world.between(0, 4 * SECOND_US), self._acts.cancel, endless)
        for act in (self._acts.cancel, self._hold, self._pause, self._change_band, self._change_band):
            if world.chance(0.1):
                some = tuple(key for key in keys if world.chance(0.5))
                world.after(world.between(0, 500 * MS_US), act, some)

    def storm(self, wishes: int) -> bool:
        """Want so many things of jobs in half a second; False where there are none."""
        live, world = list(self._waiting), self._world
        for _ in range(wishes if live else 0):
            act = world.pick((self._acts.cancel, self._hold, self._pause, self._change_band, self._change_band))
            some = tuple(key for key in live if world.chance(0.3))
            world.after(world.between(0, 500 * MS_US), act, some)
        return bool(live)

    def _hold(self, keys: tuple[JobKey, ...]) -> None:
        self._acts.hold(keys, stop=False)

    def _pause(self, keys: tuple[JobKey, ...]) -> None:
        self._acts.hold(keys, stop=True)

    def _change_band(self, keys: tuple[JobKey, ...]) -> None:
        self._acts.change_band(keys, self._world.between(0, 5))

    # --- outcomes

    def _watch(self, keys: list[JobKey]) -> None:
        """Watch jobs that were submitted without, until all of them are over or watched by a poll."""
        left = [key for key in keys if key not in self.outcomes]
        if left:
            self._network.to_scheduler(lambda process: process.watch(self.name, left))
            self._world.after(5 * SECOND_US, self._watch, left)

    def away(self) -> None:
        """The scheduler died: a poll that waits there fails."""
        self._poll += 1
        self._world.after(self._world.between(1, 200) * MS_US, self._poll_again, self._poll)

    def _call_poll(self) -> None:
        self._poll += 1
        poll, epoch, acked = self._poll, self._epoch, self._acked

        def arrive(process: Process) -> None:
            process.poll(
                self.name, epoch, acked, lambda found, now: self._network.answer(self._polled, poll, found, now)
            )

        self._network.to_scheduler(arrive)
        self._world.after(_POLL_US if self._network.process else _CALL_US, self._poll_again, poll)

    def _poll_again(self, poll: int) -> None:
        if poll == self._poll:
            self._call_poll()

    def _polled(self, poll: int, found: Outcomes, epoch: int) -> None:
        if poll != self._poll:
            return
        if epoch != self._epoch:
            self._watch_all(poll, list(self._waiting), epoch)
            return
        if found.number:
            self._take(found)
            self._acked = found.number
        self._call_poll()

    def _watch_all(self, poll: int, keys: list[JobKey], epoch: int) -> None:
        """Another scheduler: say again what is waited for, then poll it."""

        def arrive(process: Process) -> None:
            process.watch(self.name, keys)
            self._network.answer(self._watched, poll, frozenset(keys), epoch)

        self._network.to_scheduler(arrive)
        self._world.after(_CALL_US, self._poll_again, poll)

    def _watched(self, poll: int, keys: frozenset[JobKey], epoch: int) -> None:
        if poll != self._poll:
            return
        if not keys.issuperset(self._waiting):
            self._watch_all(poll, list(self._waiting), epoch)
            return
        self._epoch, self._acked = epoch, 0
        self._call_poll()

    def _take(self, found: Outcomes) -> None:
        errors = {index: message for index, _, message, _ in found.errors}
        for i, key in enumerate(found.keys):
            outcome = (JobState(found.states[i]), Reason(found.reasons[i]), found.results[i], errors.get(i, ""))
            self._auditor.delivered(key, outcome)
            if key not in self.outcomes:
                self.finished += 1
            self.outcomes[key] = outcome
            self._waiting.pop(key, None)


def _keys(request: RequestPlan, answer: Accepted) -> list[JobKey]:
    """The keys of a request's jobs: dense, but for those that were there before by their idempotency keys."""
    known = {index: first for index, first, _ in answer.known}
    keys: list[JobKey] = []
    fresh = answer.first
    for index, array in enumerate(request.arrays):
        first = known.get(index, fresh)
        keys += [JobKey(first + i) for i in range(len(array.jobs))]
        if index not in known:
            fresh = JobKey(fresh + len(array.jobs))
    return keys if fresh == answer.first + answer.job_count else []
