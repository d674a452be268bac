"""From a client's request to an event: names resolved, specs numbered, everything checked before anything is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kos_ray.engine.conditions import check_conditions, check_pairs, limits_of
from kos_ray.engine.gangs import gangs_of
from kos_ray.engine.keyed import KeyedArray, Keys, has_keys, known_arrays, payload_of
from kos_ray.engine.neighbours import named_jobs
from kos_ray.engine.ports import Known
from kos_ray.engine.specs import check_spec
from kos_ray.model.agents import agent_key
from kos_ray.model.dependency import Ended, ended_as, plainly
from kos_ray.model.errors import Refused
from kos_ray.model.events import JobDependency, JobsSubmitted
from kos_ray.model.ids import JobKey, SpecKey, split_item_id
from kos_ray.model.job import After, JobState, Spec
from kos_ray.model.protocol import Accepted, Array, Submit
from kos_ray.scheduler.state import State

#: jobs in one request; a client splits larger maps
JOBS_PER_REQUEST_MAX = 20_000
#: (namespace, id or name) -> (first, count) of an array
_Places = dict[tuple[str, str], tuple[JobKey, int]]
#: keys and specs by hash
_Specs = Mapping[str, tuple[SpecKey, Spec]]


def _taken(place: tuple[str, str]) -> Refused:
    return Refused(
        f"the name {place[1]!r} is taken in namespace {place[0]!r}: choose another one, or use the job that has it"
    )


def _with_known(accepted: Accepted, known: Mapping[int, KeyedArray]) -> Accepted:
    there = tuple([(index, owner.first, owner.id) for index, owner in known.items()])
    return replace(accepted, known=there) if there else accepted


@dataclass(slots=True)
class Admission:
    """Admits the requests of one tick. What it has admitted, later requests of the same tick can refer to."""

    state: State
    journal: Known
    python: str
    next_key: JobKey
    #: hash -> key of specs used lately, over many ticks; the engine owns it
    spec_keys: dict[str, SpecKey]
    #: what the present request's plan rests on may have changed
    stale: bool = False
    requests: dict[str, Accepted] = field(default_factory=dict)
    #: those of this tick
    arrays: _Places = field(default_factory=dict)
    new_specs: dict[SpecKey, Spec] = field(default_factory=dict)
    #: ids of this tick's arrays: they are unique in all namespaces
    ids: set[str] = field(default_factory=set)
    #: idempotency keys of this tick's arrays
    keys: Keys = field(default_factory=dict)
    #: agents that get messages in this tick, and those that are removed in it
    addressed: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    #: the key of the next new spec once there was one: most requests have none
    _next_spec: SpecKey | None = None

    def judged(self, submit: Submit) -> tuple[Accepted | Refused, JobsSubmitted | None]:
        """See `admit`; with the refusal as the answer."""
        try:
            return self.admit(submit)
        except Refused as refused:
            return refused, None
        except Exception as error:  # noqa: BLE001 - one request that makes no sense must not end everybody's scheduler
            return Refused(f"what was submitted makes no sense: {type(error).__name__}: {error}"), None

    def admit(self, submit: Submit) -> tuple[Accepted, JobsSubmitted | None]:
        """The answer, and the event where there is something new.

        Raises:
            Refused: with the reason; nothing was kept.

        """
        before = self.requests.get(submit.request_id) or self._accepted_before(submit.request_id)
        keyed = has_keys(submit)
        if before and not keyed:
            return before, None
        if not before and self.stale:
            return Accepted(stale=True), None
        if not before and submit.parent:
            self._check_parent(submit)
        specs, unknown = self._specs(submit)
        if unknown:
            return Accepted(unknown_specs=unknown), None
        known = self._known_by_key(submit, specs, before) if keyed else {}
        if before or (keyed and len(known) == len(submit.arrays)):
            return _with_known(before or Accepted(epoch=self.state.epoch), known), None
        event = self._event(submit, specs, known) if submit.singles is None else self._singles(submit, specs)
        for key, _ in event.new_specs:
            # one that the scheduler had forgotten stands here again, under the key that it has always had
            self._next_spec = max(self._next_spec or self.journal.next_spec_key, SpecKey(key + 1))
        self.next_key = JobKey(event.first + event.job_count)
        for key, spec in event.new_specs:
            self.new_specs[key] = spec
        # Only now, and those alone that have their keys: one of a refused request or of a job that was there before is
        # nobody's, and its key is free for others.
        for hash_, (key, _) in specs.items():
            if key in self.state.specs or key in self.new_specs:
                self.spec_keys[hash_] = key
        accepted = Accepted(first=event.first, job_count=event.job_count, epoch=self.state.epoch)
        self.requests[submit.request_id] = accepted
        return _with_known(accepted, known), event

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

    def _known_by_key(self, submit: Submit, specs: _Specs, before: Accepted | None) -> dict[int, KeyedArray]:
        """Those arrays of a request, by index, that are there already by their idempotency keys."""
        own = range(before.first, before.first + before.job_count) if before else range(0)
        return known_arrays(submit, {hash_: spec for hash_, (_, spec) in specs.items()}, self.journal, self.keys, own)

    # --- specs

    def _specs(self, submit: Submit) -> tuple[dict[str, tuple[SpecKey, Spec]], tuple[str, ...]]:
        """Keys and specs by hash; and the hashes that nobody knows."""
        given = dict(submit.specs)
        next_spec = self._next_spec
        found: dict[str, tuple[SpecKey, Spec]] = {}
        unknown: list[str] = []
        for hash_ in submit.singles.hashes if submit.singles else [array.spec for array in submit.arrays]:
            if hash_ in found:
                continue
            entry = self._known_spec(hash_)
            if entry is None and hash_ in given:
                check_spec(given[hash_], self.python)
                key = next_spec or self.journal.next_spec_key
                entry = key, given[hash_]
                next_spec = SpecKey(key + 1)
            if entry is None:
                unknown.append(hash_)
            else:
                self._check_receiver(entry[1])
                found[hash_] = entry
        return found, tuple(unknown)

    def _check_receiver(self, spec: Spec) -> None:
        if not spec.receiver:
            return
        key = agent_key(spec.namespace, spec.receiver)
        if key in self.removed or key not in self.state.agents.by_key:
            raise Refused(
                f"there is no agent {spec.receiver!r} in namespace {spec.namespace!r}; see `kos agent ls`, or register "
                "it first"
            )
        self.addressed.add(key)

    def _known_spec(self, hash_: str) -> tuple[SpecKey, Spec] | None:
        key = self.spec_keys.get(hash_)
        if key is not None:
            entry = self.state.specs.get(key)
            if entry is not None:
                return key, entry.spec
            if key in self.new_specs:
                return key, self.new_specs[key]
        return self.journal.spec_by_hash(hash_)

    # --- arrays

    def _event(self, submit: Submit, specs: _Specs, known: Mapping[int, KeyedArray]) -> JobsSubmitted:
        """What is new in a request: all but the arrays that are `known`, on which others may depend."""
        own: _Places = {}
        for index, owner in known.items():
            array = submit.arrays[index]
            for text in (array.id, *([array.name] if array.name else [])):
                own[specs[array.spec][1].namespace, text] = (owner.first, array.count)
        if known:
            arrays = tuple([array for index, array in enumerate(submit.arrays) if index not in known])
            submit = replace(submit, arrays=arrays)
            specs = {array.spec: specs[array.spec] for array in arrays}
        ids = [array.id for array in submit.arrays]
        self._check_ids(submit, ids)
        self._name_all(submit.arrays, specs, own)
        dependencies, ended = self._waits(submit.arrays, specs, own)
        self.arrays.update(own)
        self.ids.update(ids)
        new_specs, neighbours, ran_on = self._new_specs(specs)
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
            dependencies=dependencies,
            ended_parents=tuple([(key, int(state)) for key, (state, _) in ended.items()]),
            ended_as=tuple([(key, int(how)) for key, (state, how) in ended.items() if how is not plainly(state)]),
            limits=limits_of(submit.arrays),
            gangs=gangs_of(submit.arrays, self.next_key, {hash_: spec for hash_, (_, spec) in specs.items()}),
            sender=submit.sender,
            parent=submit.parent,
            keyed=self._keyed(submit, specs, own) if has_keys(submit) else (),
        )

    def _singles(self, submit: Submit, specs: _Specs) -> JobsSubmitted:
        """The same of single jobs in columns: nobody asks for more than their ids."""
        singles = submit.singles
        assert singles is not None
        count = len(singles.ids)
        if submit.arrays or not count == len(singles.specs) == len(singles.args):
            raise Refused(
                f"singles: expected columns of one length, and no arrays; found {count} ids, {len(singles.specs)} "
                f"specs, {len(singles.args)} arguments and {len(submit.arrays)} arrays"
            )
        self._check_ids(submit, singles.ids)
        if not set(singles.specs) <= set(range(len(singles.hashes))):
            raise Refused(f"singles: expected specs 0 to {len(singles.hashes) - 1}, found {set(singles.specs)}")
        of = [specs[hash_] for hash_ in singles.hashes]
        places = [(of[index][1].namespace, id_) for index, id_ in zip(singles.specs, singles.ids, strict=True)]
        if not self.arrays.keys().isdisjoint(places):
            raise _taken(next(place for place in places if place in self.arrays))
        self._check_free(places)
        self.arrays.update({place: (JobKey(key), -1) for key, place in enumerate(places, self.next_key)})
        self.ids.update(singles.ids)
        new_specs, neighbours, ran_on = self._new_specs(specs)
        return JobsSubmitted(
            request_id=submit.request_id,
            first=self.next_key,
            ids=singles.ids,
            counts=(-1,) * count,
            specs=tuple([of[index][0] for index in singles.specs]),
            args=singles.args,
            new_specs=new_specs,
            neighbours=neighbours,
            ran_on=ran_on,
            sender=submit.sender,
            parent=submit.parent,
        )

    def _new_specs(self, specs: _Specs) -> tuple[tuple[tuple[SpecKey, Spec], ...], Any, Any]:
        """Those specs that nobody had before, and what is to be known of the jobs that they name."""
        new = tuple(
            [(key, spec) for key, spec in specs.values() if key not in self.state.specs and key not in self.new_specs]
        )
        return new, *named_jobs(self.state, self.journal, [spec for _, spec in new])

    def _check_ids(self, submit: Submit, ids: Sequence[str]) -> None:
        if not 0 < submit.job_count <= JOBS_PER_REQUEST_MAX:
            raise Refused(f"a request holds 1 to {JOBS_PER_REQUEST_MAX} jobs, found {submit.job_count}: split it")
        if not all(ids) or len(set(ids)) < len(ids) or not self.ids.isdisjoint(ids):
            raise Refused("every array needs an id of its own")

    def _keyed(self, submit: Submit, specs: _Specs, own: _Places) -> tuple[tuple[int, str, str], ...]:
        """The new idempotency keys, which are taken from here on."""
        found: list[tuple[int, str, str]] = []
        for index, array in enumerate(submit.arrays):
            if array.idempotency_key:
                namespace = specs[array.spec][1].namespace
                owner = KeyedArray(own[namespace, array.id][0], payload_of(array), array.id)
                self.keys[namespace, array.idempotency_key] = owner
                found.append((index, array.idempotency_key, owner.payload))
        return tuple(found)

    def _name_all(self, arrays: Sequence[Array], specs: _Specs, own: _Places) -> None:
        """Number the arrays, and add their ids and names to `own`: nobody else may have them."""
        theirs = frozenset(own)
        key = self.next_key
        for array in arrays:
            if array.count == 0 or array.count < -1 or len(array.args) != abs(array.count):
                raise Refused(f"array {array.id}: {array.count} jobs with {len(array.args)} arguments")
            self._name(array, specs[array.spec][1].namespace, key, own)
            key = JobKey(key + abs(array.count))
        self._check_free([place for place in own if place not in theirs])

    def _name(self, array: Array, namespace: str, key: JobKey, own: _Places) -> None:
        """Note an array under its id and its name, which nobody else of this tick may have."""
        for text in (array.id, array.name):
            place = (namespace, text)
            if not text:
                continue
            if place in own or place in self.arrays:
                raise _taken(place)
            own[place] = (key, array.count)

    def _check_free(self, places: Sequence[tuple[str, str]]) -> None:
        """Nobody else may have these names; all of a request are looked for at once."""
        for place in self.journal.taken(places):
            raise _taken(place)

    def _waits(
        self, arrays: Sequence[Array], specs: _Specs, own: _Places
    ) -> tuple[tuple[JobDependency, ...], dict[JobKey, tuple[JobState, Ended]]]:
        """What jobs of a request wait for, and how those of their parents ended that are over."""
        found: list[JobDependency] = []
        ended: dict[JobKey, tuple[JobState, Ended]] = {}
        key = self.next_key
        for array in arrays:
            count = abs(array.count)
            check_conditions(array)
            if array.after or array.inputs or array.rule or array.singleton:
                keys = range(key, key + count)
                found += self._dependencies(array, specs[array.spec][1].namespace, keys, own, ended)
            key = JobKey(key + count)
        return tuple(found), ended

    def _dependencies(
        self, array: Array, namespace: str, keys: range, own: _Places, ended: dict[JobKey, tuple[JobState, Ended]]
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

    def _resolve(self, ref: str, namespace: str, array: Array, own: _Places) -> tuple[JobKey, int]:
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
