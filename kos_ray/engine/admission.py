"""From a client's request to an event: names resolved, specs numbered, everything checked before anything is kept."""

from dataclasses import dataclass, field

from kos_ray.engine.conditions import check_conditions, check_pairs, limits_of
from kos_ray.engine.gangs import gangs_of
from kos_ray.engine.neighbours import named_jobs
from kos_ray.engine.ports import Known
from kos_ray.model.dependency import Ended, ended_as, plainly
from kos_ray.model.errors import Refused
from kos_ray.model.events import JobDependency, JobsSubmitted
from kos_ray.model.ids import JobKey, SpecKey, split_item_id
from kos_ray.model.job import BANDS, After, JobState, Spec
from kos_ray.model.protocol import Accepted, Array, Submit
from kos_ray.scheduler.state import State

#: jobs in one request; a client splits larger maps
JOBS_PER_REQUEST_MAX = 20_000
#: retries that a job may ask for
RETRIES_MAX = 1_000
#: with so many retries, a pause still is a number
BACKOFF_FACTOR_MAX = 100


@dataclass(slots=True)
class Admission:
    """Admits the requests of one tick. What it has admitted, later requests of the same tick can refer to."""

    state: State
    journal: Known
    python: str
    next_key: JobKey
    next_spec: SpecKey
    #: hash -> key of specs used lately, over many ticks; the engine owns it
    spec_keys: dict[str, SpecKey]
    #: what the present request's plan rests on may have changed
    stale: bool = False
    requests: dict[str, Accepted] = field(default_factory=dict)
    #: (namespace, id or name) -> (first, count) of this tick's arrays
    arrays: dict[tuple[str, str], tuple[JobKey, int]] = field(default_factory=dict)
    new_specs: dict[SpecKey, Spec] = field(default_factory=dict)
    #: ids of this tick's arrays: they are unique in all namespaces
    ids: set[str] = field(default_factory=set)

    def admit(self, submit: Submit) -> tuple[Accepted, JobsSubmitted | None]:
        """The answer, and the event where there is something new.

        Raises:
            Refused: with the reason; nothing was kept.

        """
        known = self.requests.get(submit.request_id) or self._accepted_before(submit.request_id)
        if known:
            return known, None
        if self.stale:
            return Accepted(stale=True), None
        if submit.parent:
            self._check_parent(submit)
        specs, unknown = self._specs(submit)
        if unknown:
            return Accepted(unknown_specs=unknown), None
        event = self._event(submit, specs)
        # Only now: the keys of a refused request's specs are free again, for others.
        self.spec_keys.update({hash_: key for hash_, (key, _) in specs.items()})
        self.next_spec = max([self.next_spec, *(SpecKey(key + 1) for key, _ in event.new_specs)])
        self.next_key = JobKey(event.first + event.job_count)
        for key, spec in event.new_specs:
            self.new_specs[key] = spec
        accepted = Accepted(first=event.first, job_count=event.job_count, epoch=self.state.epoch)
        self.requests[submit.request_id] = accepted
        return accepted, event

    def _check_parent(self, submit: Submit) -> None:
        job = self.state.jobs.get(submit.parent)
        if job is None or job.attempt != submit.parent_attempt or job.node is None:
            raise Refused(
                f"submit: attempt {submit.parent_attempt} of the job that asks is over for the scheduler (its node "
                "counts as lost, or another attempt has taken its place); expected the current one: end this one"
            )

    def _accepted_before(self, request_id: str) -> Accepted | None:
        found = self.journal.request(request_id)
        return Accepted(first=found[0], job_count=found[1], epoch=self.state.epoch) if found else None

    # --- specs

    def _specs(self, submit: Submit) -> tuple[dict[str, tuple[SpecKey, Spec]], tuple[str, ...]]:
        """Keys and specs by hash; and the hashes that nobody knows."""
        given = dict(submit.specs)
        next_spec = self.next_spec
        found: dict[str, tuple[SpecKey, Spec]] = {}
        unknown: list[str] = []
        for array in submit.arrays:
            if array.spec in found:
                continue
            entry = self._known_spec(array.spec)
            if entry is None and array.spec in given:
                self._check_spec(given[array.spec])
                entry = next_spec, given[array.spec]
                next_spec = SpecKey(next_spec + 1)
            if entry is None:
                unknown.append(array.spec)
            else:
                found[array.spec] = entry
        return found, tuple(unknown)

    def _known_spec(self, hash_: str) -> tuple[SpecKey, Spec] | None:
        key = self.spec_keys.get(hash_)
        if key is not None:
            entry = self.state.specs.get(key)
            if entry is not None:
                return key, entry.spec
            if key in self.new_specs:
                return key, self.new_specs[key]
        return self.journal.spec_by_hash(hash_)

    def _check_spec(self, spec: Spec) -> None:
        if spec.python and spec.python != self.python:
            raise Refused(
                f"this code was packed by Python {spec.python}, the cluster runs Python {self.python}: "
                "submit from the cluster's Python version"
            )
        if not 0 <= spec.band < len(BANDS):
            raise Refused(f"band: expected 0 to {len(BANDS) - 1}, found {spec.band}")
        if not 0 <= spec.retries <= RETRIES_MAX:
            raise Refused(f"retries: expected 0 to {RETRIES_MAX}, found {spec.retries}")
        if not (spec.function or spec.entry or spec.command):
            raise Refused("a job needs a function, an entry point or a command; found none")
        if spec.timeout_ms < 0:
            raise Refused(f"timeout: expected 0 or more milliseconds, found {spec.timeout_ms}")
        backoff = spec.backoff
        if min(backoff.first_ms, backoff.max_ms) < 0 or not 1 <= backoff.factor <= BACKOFF_FACTOR_MAX:
            raise Refused(f"backoff: expected pauses of 0 or more and a factor of 1 to {BACKOFF_FACTOR_MAX}: {backoff}")
        if not 0 <= backoff.jitter <= 1:
            raise Refused(f"backoff: expected a jitter of 0 to 1, found {backoff.jitter}")
        names = [name for name, _ in spec.resources.amounts]
        if names != sorted(set(names)) or any(amount <= 0 for _, amount in spec.resources.amounts):
            raise Refused(
                f"resources: expected positive amounts, in the order of names, found {spec.resources.amounts}"
            )

    # --- arrays

    def _event(self, submit: Submit, specs: dict[str, tuple[SpecKey, Spec]]) -> JobsSubmitted:
        job_count = sum(abs(array.count) for array in submit.arrays)
        if not 0 < job_count <= JOBS_PER_REQUEST_MAX:
            raise Refused(f"a request holds 1 to {JOBS_PER_REQUEST_MAX} jobs, found {job_count}: split it")
        ids = [array.id for array in submit.arrays]
        if not all(ids) or len(set(ids)) < len(ids) or not self.ids.isdisjoint(ids):
            raise Refused("every array needs an id of its own")
        own: dict[tuple[str, str], tuple[JobKey, int]] = {}
        key = self.next_key
        for array in submit.arrays:
            if array.count == 0 or array.count < -1 or len(array.args) != abs(array.count):
                raise Refused(f"array {array.id}: {array.count} jobs with {len(array.args)} arguments")
            self._name(array, specs[array.spec][1].namespace, key, own)
            key = JobKey(key + abs(array.count))
        dependencies: list[JobDependency] = []
        ended: dict[JobKey, tuple[JobState, Ended]] = {}
        key = self.next_key
        for array in submit.arrays:
            count = abs(array.count)
            check_conditions(array)
            if array.after or array.inputs or array.rule or array.singleton:
                namespace = specs[array.spec][1].namespace
                dependencies += self._dependencies(array, namespace, range(key, key + count), own, ended)
            key = JobKey(key + count)
        self.arrays.update(own)
        self.ids.update(ids)
        new_specs = tuple(
            (key, spec) for key, spec in specs.values() if key not in self.state.specs and key not in self.new_specs
        )
        neighbours, ran_on = named_jobs(self.state, self.journal, (spec for _, spec in new_specs))
        return JobsSubmitted(
            request_id=submit.request_id,
            first=self.next_key,
            ids=tuple(ids),
            counts=tuple([array.count for array in submit.arrays]),
            specs=tuple([specs[array.spec][0] for array in submit.arrays]),
            args=submit.arrays[0].args
            if len(submit.arrays) == 1
            else tuple([args for array in submit.arrays for args in array.args]),
            new_specs=new_specs,
            neighbours=neighbours,
            ran_on=ran_on,
            names=tuple((i, array.name) for i, array in enumerate(submit.arrays) if array.name),
            dependencies=tuple(dependencies),
            ended_parents=tuple([(key, int(state)) for key, (state, _) in ended.items()]),
            ended_as=tuple([(key, int(how)) for key, (state, how) in ended.items() if how is not plainly(state)]),
            limits=limits_of(submit.arrays),
            gangs=gangs_of(submit.arrays, self.next_key, {hash_: spec for hash_, (_, spec) in specs.items()}),
            sender=submit.sender,
            parent=submit.parent,
        )

    def _name(self, array: Array, namespace: str, key: JobKey, own: dict[tuple[str, str], tuple[JobKey, int]]) -> None:
        """Note an array under its id and its name, which nobody else may have."""
        for text in (array.id, array.name):
            place = (namespace, text)
            if not text:
                continue
            if place in own or place in self.arrays or self.journal.resolve(namespace, text):
                raise Refused(
                    f"the name {text!r} is taken in namespace {namespace!r}: "
                    "choose another one, or use the job that has it"
                )
            own[place] = (key, array.count)

    def _dependencies(
        self,
        array: Array,
        namespace: str,
        keys: range,
        own: dict[tuple[str, str], tuple[JobKey, int]],
        ended: dict[JobKey, tuple[JobState, Ended]],
    ) -> list[JobDependency]:
        """One record for each job of the array; parents that are over get their state noted in `ended`."""
        after: list[tuple[int, int, int]] = []
        pairs: list[JobKey] = []
        inputs = [self._resolve(ref, namespace, array, own) for ref in array.inputs]
        for ref, kind in array.after:
            first, count = self._resolve(ref, namespace, array, own)
            if kind == After.CORR:
                check_pairs(array, ref, count)
                pairs.append(first)
            else:
                after.append((first, abs(count), After(kind)))
            self._note_ended(range(first, first + abs(count)), ended)
        covered = {(first, count) for first, count, kind in after if kind == After.OK}
        missing = [place for place in inputs if (place[0], abs(place[1])) not in covered]
        for first, count in dict.fromkeys(missing):
            after.append((first, abs(count), After.OK))
            self._note_ended(range(first, first + abs(count)), ended)
        if any(first + count > keys[0] for first, count in (*(e[:2] for e in after), *((f, len(keys)) for f in pairs))):
            raise Refused(
                f"job {array.name or array.id} depends on itself or on a job behind it: "
                "in a request, parents come first"
            )
        return [
            JobDependency(
                key=JobKey(key),
                after=(*after, *((first + index, 1, int(After.CORR)) for first in pairs)),
                inputs=tuple(inputs),
                rule=array.rule,
                singleton=array.singleton,
            )
            for index, key in enumerate(keys)
        ]

    def _resolve(
        self, ref: str, namespace: str, array: Array, own: dict[tuple[str, str], tuple[JobKey, int]]
    ) -> tuple[JobKey, int]:
        """First key and count of an id or a name, of this request, of this tick or of the journal."""
        for known in (own, self.arrays):
            if (namespace, ref) in known:
                return known[namespace, ref]
            base, index = split_item_id(ref)
            first, count = known.get((namespace, base), (JobKey(0), 0))
            if index is not None and index < count:
                return JobKey(first + index), -1
        found = self.journal.resolve(namespace, ref)
        if found is None:
            raise Refused(
                f"job {array.name or array.id} depends on {ref!r}: there is no such job in namespace {namespace!r}"
            )
        return found

    def _note_ended(self, parents: range, ended: dict[JobKey, tuple[JobState, Ended]]) -> None:
        """Note the ends of parents that the scheduler no longer holds."""
        gone = [
            JobKey(key)
            for key in parents
            if key < self.state.next_key and key not in self.state.jobs and key not in ended
        ]
        if gone:
            for key, (state, reason, attempt) in self.journal.ends(gone).items():
                ended[key] = state, ended_as(state, reason, attempt)
