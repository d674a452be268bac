"""The messages of a world: to agents by name or by role, some of them asked for twice, drawn before its history."""

from collections.abc import Callable
from random import Random

from kos_ray.model.agents import Agent
from kos_ray.model.dispatch import To
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import item_id
from kos_ray.model.job import Backoff, Guarantee, Spec
from kos_ray.model.payload import inline
from kos_ray.sim.auditor import Auditor
from kos_ray.sim.code import Fate, Run
from kos_ray.sim.crew import METHOD, ROLES, Crew
from kos_ray.sim.setting import Setting
from kos_ray.sim.workload import ArrayPlan, Plan, RequestPlan
from kos_ray.sim.world import MS_US, World

_FATES = (*((Fate.SUCCEED,) * 30), *((Fate.FAIL,) * 2), Fate.CRASH, Fate.HANG, *((Fate.DECLINE,) * 3))


class Post:
    """Draws them; `requests` are those of one client."""

    def __init__(self, world: World, setting: Setting, crew: Crew) -> None:
        self._random = random = Random(f"post of {world.seed}")
        self._setting, self._crew = setting, crew
        self._agents = [member.agent for member in crew.members.values()]
        self._specs: dict[str, Spec] = {}
        self.requests: list[RequestPlan] = []
        self.plans: dict[str, Plan] = {}
        for number in range(random.choice((4, 10, 25)) if self._agents else 0):
            request = self._request(number)
            self.requests.append(request)
            self.plans.update((job.id, job) for job in request.jobs)
            if random.random() < 0.25:
                self._again(request)

    def known(self, request: RequestPlan) -> bool:
        """Whether those to whom a request is by name are registered, as far as their operators were told."""
        names = {array.spec.receiver for array in request.arrays if array.spec.receiver}
        return all(member.known for member in self._crew.members.values() if member.agent.name in names)

    def open_in(self, auditor: Auditor) -> Callable[[Agent], int]:
        """How many messages for an agent, by its name or a role, are not over."""

        def open_of(agent: Agent) -> int:
            specs = ((id_, plan.array.spec) for id_, plan in self.plans.items())
            mine = [id_ for id_, spec in specs if spec.receiver == agent.name or (spec.to and agent.roles)]
            return sum(auditor.stories[id_].outcome is None for id_ in mine)

        return open_of

    def _request(self, number: int) -> RequestPlan:
        random = self._random
        at_us = random.randint(0, self._setting.busy_us)
        spec = self._spec()
        count = random.choice((-1, -1, -1, 2, 4))
        array = ArrayPlan(f"m{number}", spec, spec_hash(spec), count, "", (), ())
        for index in range(abs(count)):
            public_id = item_id(array.id, index if count > 0 else None)
            runs = tuple(self._run() for _ in range(random.choice((1, 1, 2, 3))))
            array.jobs.append(Plan(public_id, array, inline(f"args of {public_id}".encode()), runs))
        return RequestPlan(f"message-{number}", at_us, [array], watched=random.random() < 0.8)

    def _again(self, request: RequestPlan) -> None:
        """The same under an idempotency key, by requests of their own: together one message each."""
        random = self._random
        for array in request.arrays:
            array.idempotency_key = f"key of {array.id}"
        for number in range(random.choice((1, 2))):
            at_us = request.at_us + random.choice((0, MS_US, random.randint(0, self._setting.busy_us)))
            twin = RequestPlan(f"{request.id}-again{number}", at_us, request.arrays, random.random() < 0.8, twin=True)
            self.requests.append(twin)

    def _spec(self) -> Spec:
        random, agent = self._random, self._random.choice(self._agents)
        by_role = random.random() < 0.35
        role = random.choice(ROLES)
        to = To(role=role, fallback=random.choice(((), tuple(other for other in ROLES if other != role))))
        once = random.random() < 0.15
        return Spec(
            type=f"{'' if by_role else agent.name}.{METHOD}",
            namespace=agent.namespace,
            band=random.choice((0, 3, 3, 5)),
            entry=METHOD,
            receiver="" if by_role else agent.name,
            to=to if by_role else None,
            timeout_ms=random.choice((0, 200, 1_000)),
            retries=random.choice((0, 1, 3)),
            backoff=Backoff(first_ms=random.choice((0, 5, 200)), factor=2.0, max_ms=500, jitter=0.5),
            guarantee=Guarantee.AT_MOST_ONCE if once else Guarantee.AT_LEAST_ONCE,
        )

    def _run(self) -> Run:
        random = self._random
        run_us = random.choice((10, MS_US, 30 * MS_US, 300 * MS_US))
        looks_us = random.choice((0, 20 * MS_US))
        fate = random.choice(_FATES)
        if fate is Fate.HANG:
            return Run(fate, looks_us=looks_us)
        return Run(fate, run_us, looks_us, again_ms=random.choice((-1, 0, 50)))
