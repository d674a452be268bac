"""What clients want: requests with all that their jobs will do, drawn before the history begins."""

from dataclasses import dataclass, field, replace

from kos_ray.model.dependency import Rule
from kos_ray.model.gang import GangMode, GangSpec, OnFailure
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import item_id
from kos_ray.model.job import NO_DEMANDS, After, Backoff, Demands, Eviction, Guarantee, Spec
from kos_ray.model.payload import inline
from kos_ray.model.protocol import Array
from kos_ray.model.resources import UNIT, Resources
from kos_ray.sim.code import Fate, Run
from kos_ray.sim.memory import maybe_raised, maybe_starving
from kos_ray.sim.setting import NAMESPACES, Setting
from kos_ray.sim.world import EPOCH_US, MS_US, SECOND_US, World

#: what may be asked of any job; only gangs with a least size shrink
_ANYBODYS = tuple(eviction for eviction in Eviction if eviction is not Eviction.SHRINK)

#: how many entries of exclusive work are long ones
_LONG = 0.4


@dataclass(slots=True)
class Plan:
    """One job as its client means it. `runs[n]` is what its n-th entry does, the last one for all that follow."""

    id: str
    array: "ArrayPlan"
    args: bytes
    runs: tuple[Run, ...]

    @property
    def endless(self) -> bool:
        """Whether it may run until somebody ends it."""
        return not self.array.spec.timeout_ms and any(run.fate is Fate.HANG for run in self.runs)


@dataclass(slots=True)
class ArrayPlan:
    """One array or single job, with its parents as plans."""

    id: str
    spec: Spec
    hash: str
    count: int
    name: str
    after: tuple[tuple["ArrayPlan | Plan", After], ...]
    inputs: tuple["ArrayPlan | Plan", ...]
    rule: Rule = Rule.ALL_MET
    singleton: str = ""
    at_most: int = 0
    max_failures: int = 0
    gang: GangSpec | None = None
    idempotency_key: str = ""
    refs: dict[str, str] = field(default_factory=dict)
    jobs: list[Plan] = field(default_factory=list)

    def message(self) -> Array:
        """The array as a client sends it."""
        return Array(
            id=self.id,
            count=self.count,
            spec=self.hash,
            args=tuple(job.args for job in self.jobs),
            name=self.name,
            after=tuple((self.refs[parent.id], int(kind)) for parent, kind in self.after),
            inputs=tuple(self.refs[parent.id] for parent in self.inputs),
            rule=int(self.rule),
            singleton=self.singleton,
            at_most=self.at_most,
            max_failures=self.max_failures,
            gang=self.gang,
            idempotency_key=self.idempotency_key,
        )


@dataclass(slots=True)
class RequestPlan:
    """One submission. `refusable` says why it must be refused, "" for a good one."""

    id: str
    at_us: int
    arrays: list[ArrayPlan]
    watched: bool
    refusable: str = ""
    #: it asks for what another request asks for, under the same idempotency keys
    twin: bool = False

    @property
    def jobs(self) -> list[Plan]:
        """All jobs, in the order of their keys."""
        return [job for array in self.arrays for job in array.jobs]


class Workload:
    """Draws requests for each client; parents are always of the same client and namespace."""

    def __init__(self, world: World, setting: Setting) -> None:
        self._world = world
        self._setting = setting
        specs = [self._spec(number) for number in range(world.between(1, 6))]
        self._specs = [maybe_raised(world, spec, setting.nodes) for spec in specs]
        self._hashes = [spec_hash(spec) for spec in self._specs]
        self._count = 0
        self.requests: list[list[RequestPlan]] = [[] for _ in range(setting.clients)]
        self.plans: dict[str, Plan] = {}
        left = world.between(3, setting.jobs_max)
        while left > 0:
            client = world.between(0, setting.clients - 1)
            request = self._request(client, left)
            left -= len(request.jobs)
            self.requests[client].append(request)
            for job in request.jobs:
                self.plans[job.id] = job
            if world.chance(0.2):
                self.requests[client] += self._twins(request)
        if world.chance(0.3):
            self._add_refusable()

    # --- requests

    def _request(self, client: int, left: int) -> RequestPlan:
        self._count += 1
        at_us = int(self._world.random.random() * self._setting.busy_us)
        before = [request for request in self.requests[client] if request.at_us < at_us and not request.twin]
        earlier = [array for request in before for array in request.arrays]
        arrays: list[ArrayPlan] = []
        for _ in range(self._world.pick((1, 1, 2, 5))):
            if left <= 0:
                break
            array = self._array(f"r{self._count}-{len(arrays)}", left, arrays, earlier)
            arrays.append(array)
            left -= len(array.jobs)
        watched = self._world.chance(0.8)
        return RequestPlan(f"request-{self._count}", at_us, arrays, watched)

    def _twins(self, request: RequestPlan) -> list[RequestPlan]:
        """The same under idempotency keys several times, by requests of their own: together one job each."""
        world = self._world
        for array in request.arrays:
            array.idempotency_key = f"key of {array.id}"
        twins: list[RequestPlan] = []
        for _ in range(world.between(1, 3)):
            self._count += 1
            at_us = request.at_us + world.pick((0, 1, MS_US, world.between(0, self._setting.busy_us)))
            watched = world.chance(0.8)
            twins.append(RequestPlan(f"request-{self._count}", at_us, request.arrays, watched, twin=True))
        return twins

    def _add_refusable(self) -> None:
        """A request that must leave no trace: its name is taken, its parent unknown, or its numbers senseless."""
        world = self._world
        client = world.between(0, self._setting.clients - 1)
        self._count += 1
        array = self._array(f"r{self._count}-0", 1, [], [])
        why = world.pick(("unknown parent", "spec out of range"))
        if why == "unknown parent":
            stranger = ArrayPlan("nobody", array.spec, "", -1, "", (), ())
            array.after = ((stranger, After.OK),)
            array.refs["nobody"] = "nobody"
        else:
            array.spec = Spec(entry="m:f", band=9)
            array.hash = spec_hash(array.spec)
        at_us = int(world.random.random() * self._setting.busy_us)
        self.requests[client].append(
            RequestPlan(f"request-{self._count}", at_us, [array], watched=False, refusable=why)
        )

    def _array(self, id_: str, left: int, own: list[ArrayPlan], earlier: list[ArrayPlan]) -> ArrayPlan:
        world = self._world
        number = world.between(0, len(self._specs) - 1)
        spec = self._specs[number]
        count = -1 if world.chance(0.5) else min(left, world.pick((1, 3, 10, 40)))
        name = f"name-{id_}" if world.chance(0.2) else ""
        array = ArrayPlan(id_, spec, self._hashes[number], count, name, (), ())
        parents = [parent for parent in (*own, *earlier[-4:]) if parent.spec.namespace == spec.namespace]
        if parents and world.chance(0.6):
            self._depend(array, parents)
        if world.chance(0.15):
            array.singleton = world.pick(("a", "b"))
        if count > 1:
            array.at_most = world.pick((0, 0, 0, 1, 2, 5))
            array.max_failures = world.pick((0, 0, 0, 1, 2))
        if count > 1 and not (array.at_most or array.singleton or spec.demands.concurrency) and world.chance(0.5):
            array.gang = self._gang(spec, count)
        if array.gang is not None and array.gang.least and spec.guarantee is Guarantee.AT_LEAST_ONCE:
            array.spec = replace(spec, eviction=world.pick((spec.eviction, Eviction.SHRINK, Eviction.SHRINK)))
            array.hash = spec_hash(array.spec)
        for index in range(abs(count)):
            public_id = item_id(id_, None if count < 0 else index)
            args = inline(f"args of {public_id}".encode()) if world.chance(0.8) else b""
            runs = maybe_starving(world, spec, self._runs(spec))
            if self._setting.leases and spec.guarantee is Guarantee.EXACTLY_ONCE:
                runs = self._long(runs)
            array.jobs.append(Plan(public_id, array, args, runs))
        return array

    def _gang(self, spec: Spec, count: int) -> GangSpec | None:
        """Gangs of the items of an array: pairs or threes, where that many fit at once, whichever node is missing."""
        world = self._world
        size = next((size for size in (2, 3) if not count % size), 0)
        rooms = sorted(spec.resources.times_in(dict(node.amounts), size) for node in self._setting.nodes)
        licences = sum(amount for _, amount in spec.demands.licences) * size
        if not size or sum(rooms[:-1]) < size or licences > 2 * UNIT:
            return None
        if (spec.demands.agent and 0 < self._setting.policy.agents_max < size) or self._above_limit(spec, size):
            return None
        mode: GangMode = world.pick((GangMode.ALL, GangMode.ALL, *GangMode))
        least = world.between(1, size) if mode is GangMode.QUORUM else 0
        return GangSpec(size=size, least=least, mode=mode, on_failure=world.pick(tuple(OnFailure)))

    def _above_limit(self, spec: Spec, size: int) -> bool:
        """Whether a namespace may never use what so many jobs reserve."""
        limits = (found.limit for found in self._setting.policy.namespaces if found.name == spec.namespace)
        wanted = dict(spec.resources.amounts)
        return any(wanted.get(name, 0) * size > most for limit in limits for name, most in limit)

    def _depend(self, array: ArrayPlan, parents: list[ArrayPlan]) -> None:
        world = self._world
        after: list[tuple[ArrayPlan | Plan, After]] = []
        inputs: list[ArrayPlan | Plan] = []
        for _ in range(world.pick((1, 1, 2, 3))):
            whole: ArrayPlan = world.pick(parents)
            parent: ArrayPlan | Plan = whole
            if whole.count > 0 and world.chance(0.3):
                parent = world.pick(whole.jobs)
            array.refs[parent.id] = whole.name if parent is whole and whole.name else parent.id
            if world.chance(0.4):
                inputs.append(parent)
            if world.chance(0.7) or parent not in inputs:
                after.append((parent, self._kind(array, parent)))
        if not inputs and world.chance(0.4):
            array.rule = world.pick(tuple(Rule))
        array.after, array.inputs = tuple(after), tuple(inputs)

    def _kind(self, array: ArrayPlan, parent: ArrayPlan | Plan) -> After:
        kinds: tuple[After, ...] = (After.OK, After.OK, After.ANY, After.NOT_OK, After.STARTED)
        if isinstance(parent, ArrayPlan) and parent.count == array.count:
            kinds += (After.CORR,) * 4
        found: After = self._world.pick(kinds)
        return found

    # --- specs and what jobs do

    def _spec(self, number: int) -> Spec:
        world = self._world
        once = world.chance(0.4)
        return Spec(
            type=f"type{number}",
            namespace=world.pick(NAMESPACES),
            band=world.pick((0, 2, 3, 3, 3, 5)),
            resources=self._resources(),
            entry="module:function",
            single_use=world.chance(0.15),
            timeout_ms=world.pick((0, 100, 1_000)),
            retries=world.pick((0, 1, 3)),
            backoff=Backoff(first_ms=world.pick((0, 5, 200)), factor=2.0, max_ms=500, jitter=world.pick((0.0, 0.5))),
            guarantee=world.pick((Guarantee.AT_MOST_ONCE, Guarantee.EXACTLY_ONCE)) if once else Guarantee.AT_LEAST_ONCE,
            tags=(f"tag{number}",),
            run_ms=world.pick((0, 0, 5, 400)),
            deadline_us=world.pick((0, EPOCH_US, EPOCH_US + 2 * SECOND_US, EPOCH_US + 100_000 * SECOND_US)),
            eviction=world.pick((Eviction.REQUEUE, Eviction.REQUEUE, *_ANYBODYS)),
            grace_ms=world.pick((0, 0, 30)),
            demands=self._demands(),
        )

    def _demands(self) -> Demands:
        """Mostly nothing; never more than there is."""
        world = self._world
        if world.chance(0.7):
            return NO_DEMANDS
        return Demands(
            licences=world.pick(((), (("licence", world.between(1, 2) * UNIT),))),
            rates=world.pick(((), (("calls", world.between(1, 10)),))),
            concurrency=world.pick(((), (("key", 1),), (("key", 3),))),
            agent=world.chance(0.3),
        )

    def _resources(self) -> Resources:
        """A request that some node can meet when it is empty."""
        world = self._world
        whole = dict(world.pick(self._setting.nodes).as_units())
        cpus = world.pick((0, 0.5, 1, 1, 2, whole["CPU"]))
        units: dict[str, float] = {"CPU": min(cpus, whole["CPU"])}
        if world.chance(0.3):
            units["memory"] = whole["memory"] // world.pick((1, 2, 4))
        if "GPU" in whole and world.chance(0.3):
            units["GPU"] = 1
        return Resources.of(units)

    def _runs(self, spec: Spec) -> tuple[Run, ...]:
        return tuple(self._run(spec) for _ in range(self._world.pick((1, 1, 2, 3))))

    def _long(self, runs: tuple[Run, ...]) -> tuple[Run, ...]:
        """What exclusive work does: often long enough to need its lease more than once."""
        aside = self._world.aside
        return tuple(
            replace(run, run_us=aside.randint(500, 4_000) * MS_US) if aside.random() < _LONG else run for run in runs
        )

    def _run(self, spec: Spec) -> Run:
        world = self._world
        luck = world.random.random()
        shortest, longest = (10, 1_000) if hash_of(spec) % 3 else (2 * MS_US, 400 * MS_US)
        run_us = world.between(shortest, longest)
        looks_us = world.pick((0, 100, 20 * MS_US))
        if luck < 0.75:
            return Run(Fate.SUCCEED, run_us, looks_us)
        if luck < 0.87:
            return Run(Fate.FAIL, run_us, looks_us)
        if luck < 0.92:
            return Run(Fate.CRASH, run_us, looks_us)
        if luck < 0.95:
            return Run(Fate.UNPREPARED)
        return Run(Fate.HANG, looks_us=looks_us)


def hash_of(spec: Spec) -> int:
    """A number that is the same in every process."""
    return int(spec_hash(spec)[:8], 16)
