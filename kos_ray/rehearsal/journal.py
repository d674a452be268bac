"""Reads a cluster's own journal: its nodes, its settings, and its jobs with the times that they really took.

What a rehearsal cannot have is left out: jobs that never ran, or had not ended yet; cancellations, holds, failures and
their retries; what waits for a parent's start only. A job takes the time of its last attempt; one that goes on from
checkpoints, of all that were stopped before as well. A gang takes the time of its longest member, and is one of members
alike: of a bundle, each shape is a gang of its own.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from kos_ray.journal import chain
from kos_ray.journal.codec import Frame
from kos_ray.journal.reader import JournalReader, connect_read_only
from kos_ray.journal.snapshots import FileSnapshots
from kos_ray.journal.store import DATABASE
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.dependency import Rule
from kos_ray.model.errors import InvalidSpec, JournalDamaged
from kos_ray.model.ids import JobKey, NodeId, SpecKey, item_id
from kos_ray.model.job import After, AttemptEnd, Eviction, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.rehearsal.workload import ENTRY, VirtualJob
from kos_ray.scheduler.snapshot import resumed
from kos_ray.scheduler.state import State

#: rules for which one parent is enough: whoever ended first let the job run
_ONE = (Rule.ONE_MET, Rule.ONE_SUCCESS, Rule.ONE_FAILED, Rule.ONE_DONE)
#: attempts that ran to an end of their own
_WHOLE = (AttemptEnd.SUCCEEDED, AttemptEnd.FAILED, AttemptEnd.TIMED_OUT, AttemptEnd.CRASHED, AttemptEnd.OUT_OF_MEMORY)


def is_journal(path: str) -> bool:
    """Whether a name is that of a state directory, or of the database in one."""
    return Path(path).name == DATABASE or (Path(path) / DATABASE).exists()


def read_frames(path: Path) -> Iterator[Frame]:
    """The frames of a journal, the first one first, each proved to follow the one before. Its scheduler may run.

    Raises:
        NotFound: there is none.
        JournalUnusable: it is of another version.
        JournalDamaged: a frame is not what its hash says.

    """
    with closing(connect_read_only(_directory(path))) as connection:
        yield from chain.remaining(connection)


def _directory(path: Path) -> Path:
    return path.parent if path.name == DATABASE else path


def read_beginning(path: Path) -> tuple[State, int]:
    """The state with which a journal's frames begin, and behind which event that is: 0 where none was removed."""
    path = _directory(path)
    with closing(JournalReader(path)) as reader:
        begin = reader.begin
        if begin is None:
            return State(), 0
        seq, state = resumed(FileSnapshots(path / "snapshots").load_base(reader))
        if seq != begin.seq:
            raise JournalDamaged(f"what stands for the events up to {begin.seq} cannot be read")
        return state, seq


def read_after(path: Path, seq: int) -> Iterator[Frame]:
    """The frames behind an event, each proved to follow the one before."""
    with closing(connect_read_only(path)) as connection:
        yield from chain.frames(connection, seq)


def read_nodes(path: Path) -> tuple[Node, ...]:
    """The nodes of a journal's cluster when it had the most.

    Raises:
        InvalidSpec: no node ever joined.

    """
    there: dict[NodeId, Node] = {id_: found.node for id_, found in read_beginning(path)[0].nodes.items()}
    most = tuple(there.values())
    for frame in read_frames(path):
        for event in frame.events:
            if isinstance(event, e.NodesJoined):
                there |= {node.id: node for node in event.nodes}
            elif isinstance(event, e.NodeLost):
                there.pop(event.node, None)
        if len(there) >= len(most):
            most = tuple(there.values())
    if not most:
        raise InvalidSpec(f"{path}: expected a journal in which nodes have joined, found none")
    return most


def read_last_policy(path: Path) -> Policy:
    """The settings that were in force when the journal ends."""
    policy = read_beginning(path)[0].policy
    for frame in read_frames(path):
        for event in frame.events:
            if isinstance(event, e.SchedulerStarted | e.PolicyChanged):
                policy = event.policy
    return policy


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalJobs:
    """The jobs of a journal as they came, gangs as one; and how many jobs were left out."""

    jobs: tuple[VirtualJob, ...]
    never_ran: int
    not_ended: int


def read_jobs(path: Path) -> JournalJobs:
    """The jobs of a journal that ran and ended.

    Raises:
        InvalidSpec: there are none.

    """
    found = _Jobs()
    for frame in read_frames(path):
        for event in frame.events:
            match event:
                case e.JobsSubmitted():
                    found.submitted(event, frame.now_us)
                case e.AttemptsEnded():
                    found.ended(event)
                case e.PriorityChanged():
                    found.bands |= dict.fromkeys(event.keys, event.band)
                case _:
                    pass  # nothing that a rehearsal could have
        for decision in frame.decisions:
            if isinstance(decision, d.Finish):
                found.over |= dict.fromkeys(decision.keys, frame.now_us)
    with closing(JournalReader(_directory(path))) as reader:  # a spec may have come with a frame that was removed
        for key in {row.spec for row in found.rows.values()} - found.specs.keys():
            found.specs[key] = _virtual(reader.spec(key))
    jobs = found.virtual()
    if not jobs:
        raise InvalidSpec(f"{path}: expected a journal with jobs that ran and ended, found none")
    never_ran = sum(not found.ran(key) for key in found.over)
    return JournalJobs(jobs=jobs, never_ran=never_ran, not_ended=len(found.rows) - len(found.over))


@dataclass(frozen=True, slots=True)
class _Row:
    """One job as it was submitted."""

    name: str
    spec: SpecKey
    at_us: int
    user: str


@dataclass(slots=True)
class _Jobs:
    """What frames say of jobs, by key."""

    specs: dict[SpecKey, Spec] = field(default_factory=dict)
    rows: dict[JobKey, _Row] = field(default_factory=dict)
    after: dict[JobKey, e.JobDependency] = field(default_factory=dict)
    #: the gang of its members
    gangs: dict[JobKey, str] = field(default_factory=dict)
    bands: dict[JobKey, int] = field(default_factory=dict)
    #: how long the last attempt ran that came to an end of its own, and those that were stopped
    whole_us: dict[JobKey, int] = field(default_factory=dict)
    stopped_us: dict[JobKey, list[int]] = field(default_factory=dict)
    #: when they ended
    over: dict[JobKey, int] = field(default_factory=dict)

    def submitted(self, event: e.JobsSubmitted, now_us: int) -> None:
        self.specs |= {key: _virtual(spec) for key, spec in event.new_specs}
        key = event.first
        for id_, count, spec in zip(event.ids, event.counts, event.specs, strict=True):
            for index in range(abs(count)):
                name = item_id(id_, None if count < 0 else index)
                self.rows[key] = _Row(name, spec, now_us, event.sender)
                key = JobKey(key + 1)
        self.after |= {dependency.key: dependency for dependency in event.dependencies if dependency.after}
        for gang in event.gangs:
            members = (JobKey(member) for first, count in gang.ranges for member in range(first, first + count))
            self.gangs |= dict.fromkeys(members, gang.name)

    def ended(self, event: e.AttemptsEnded) -> None:
        for key, end, entered_us, ended_us in zip(
            event.keys, event.ends, event.entered_us, event.ended_us, strict=True
        ):
            if not entered_us or key in self.over:
                continue
            ran_us = max(1, ended_us - entered_us)
            if end in _WHOLE:
                self.whole_us[key] = ran_us
            elif end == AttemptEnd.STOPPED:
                self.stopped_us.setdefault(key, []).append(ran_us)

    def ran(self, key: JobKey) -> bool:
        """Whether it is known how long a job ran."""
        return key in self.whole_us or key in self.stopped_us

    def virtual(self) -> tuple[VirtualJob, ...]:
        """Those that ran and ended, gangs as one job, as they came."""
        together: dict[tuple[str, SpecKey] | JobKey, list[JobKey]] = {}
        for key in sorted(self.over):
            if self.ran(key):
                gang = self.gangs.get(key)
                together.setdefault((gang, self.rows[key].spec) if gang else key, []).append(key)
        number_of = {key: number for number, keys in enumerate(together.values()) for key in keys}
        start_us = min((row.at_us for row in self.rows.values()), default=0)
        return tuple(self._job(keys, number_of, start_us) for keys in together.values())

    def _job(self, keys: list[JobKey], number_of: dict[JobKey, int], start_us: int) -> VirtualJob:
        first = keys[0]
        row = self.rows[first]
        spec = self.specs[row.spec]
        deadline_us = max(1, spec.deadline_us - row.at_us) if spec.deadline_us else 0
        return VirtualJob(
            name=row.name,
            at_us=row.at_us - start_us,
            run_us=max(self._run_us(key, spec) for key in keys),
            spec=replace(spec, band=self.bands.get(first, spec.band), deadline_us=0),
            user=row.user,
            after=tuple(sorted({number_of[parent] for parent in self._parents(first) if parent in number_of})),
            members=len(keys),
            deadline_us=deadline_us,
        )

    def _run_us(self, key: JobKey, spec: Spec) -> int:
        whole_us, stopped_us = self.whole_us.get(key, 0), self.stopped_us.get(key, [])
        if spec.eviction is Eviction.CHECKPOINT:
            return whole_us + sum(stopped_us)
        return whole_us or max(stopped_us)

    def _parents(self, key: JobKey) -> list[JobKey]:
        """The jobs for whose end a job waited."""
        dependency = self.after.get(key)
        if dependency is None:
            return []
        parents = [
            JobKey(parent)
            for first, count, kind in dependency.after
            if kind != After.STARTED
            for parent in range(first, first + count)
        ]
        if dependency.rule in _ONE:
            return sorted(parents, key=lambda parent: (self.over.get(parent, 1 << 62), parent))[:1]
        return [] if dependency.rule == Rule.ALWAYS else parents


def _virtual(spec: Spec) -> Spec:
    """A spec without what only matters to whoever runs it."""
    return replace(spec, entry=ENTRY, function=b"", command=(), env=())
