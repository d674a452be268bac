"""What else than room decides on which nodes a job may start: labels, names, marks, and who else is there.

What a node has and a job asks for without regard to others is static (`matches`) and goes into the list of able nodes.
The rest changes from one start to the next and is asked where a node is considered (`Sites`). Anti-affinity holds both
ways: a job that wants to be apart from others keeps them away as well, as in Kubernetes.

Whom such rules name is known by *words* (`Neighbours`). Only words that some rule names are counted, so that jobs which
nobody names cost nothing; they are part of the class, so that whoever is alike for placement stays in one class.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import SlotKind, Spec
from kos_ray.model.node import GPU_MEMORY
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import UNIT
from kos_ray.model.where import Neighbours, Strategy, Where
from kos_ray.model.windows import NAMESPACE, NEVER_US, Windows
from kos_ray.scheduler.agents import host
from kos_ray.scheduler.fgd import gpus_of
from kos_ray.scheduler.fragments import Shape, workload
from kos_ray.scheduler.jobs import Job, JobClass
from kos_ray.scheduler.marks import closed_by, is_closed
from kos_ray.scheduler.queues import class_named, reclass
from kos_ray.scheduler.shares import paths
from kos_ray.scheduler.state import NodeState, State

_MANY = 1 << 30


# --- words


def full_word(namespace: str, word: str) -> str:
    """A word as it is counted: tags, types and names belong to a namespace."""
    return word if word.startswith("namespace:") else f"{namespace}\0{word}"


def words_of(state: State, spec: Spec, name: str = "") -> tuple[str, ...]:
    """The words by which some rule knows the jobs of a spec that have this name."""
    if not state.watched:
        return ()
    words = [f"type:{spec.type}", *(f"tag:{tag}" for tag in spec.tags)]
    if name:
        words.append(f"job:{name}")
    found = [full_word(spec.namespace, word) for word in words]
    found += [f"namespace:{part}" for part in paths(spec.namespace)]
    return tuple(sorted({word for word in found if word in state.watched}))


def named_by(spec: Spec) -> list[str]:
    """The words that the rules of a spec name."""
    return [full_word(spec.namespace, word) for rule in spec.where.jobs for word in rule.words]


def watch(state: State, spec: Spec, known: Iterable[tuple[str, str, int, int]] = ()) -> None:
    """A spec is known from now on: whoever its rules name is counted. `known`: see `JobsSubmitted.neighbours`."""
    fresh = {word for word in named_by(spec) if word not in state.watched}
    for word in named_by(spec):
        state.watched[word] = state.watched.get(word, 0) + 1
    if not fresh:
        return
    names: dict[JobKey, list[str]] = {}
    for namespace, name, first, count in known:
        word = full_word(namespace, f"job:{name}")
        if word in fresh:
            for key in range(first, first + count):
                names.setdefault(JobKey(key), []).append(word)
    for job in state.jobs.values():
        words = {*job.job_class.name.words, *words_of(state, job.entry.spec), *names.get(job.key, ())}
        if len(words) > len(job.job_class.name.words):
            _reword(state, job, tuple(sorted(words)))


def unwatch(state: State, spec: Spec) -> None:
    """A spec is forgotten."""
    for word in named_by(spec):
        state.watched[word] -= 1
        if not state.watched[word]:
            del state.watched[word]
            state.left.pop(word, None)


def _reword(state: State, job: Job, words: tuple[str, ...]) -> None:
    """The job is known by these words from now on."""
    stand_in(state, job, class_named(state, replace(job.job_class.name, words=words)))


def stand_in(state: State, job: Job, job_class: JobClass) -> None:
    """The job stands in another class from now on, wherever it is."""
    if job.node is not None:
        arrive(state, job.job_class, job.node, -1)
        arrive(state, job_class, job.node, 1)
    if job.key in state.nominated:
        job.job_class = job_class
    else:
        reclass(state, job, job_class)


def arrive(state: State, job_class: JobClass, node: NodeId, count: int) -> None:
    """Attempts of a class came to a node, or left it (negative)."""
    for word in job_class.name.words:
        _count(state.present, word, node, count)
        if count > 0 and word in state.watched:
            state.left.setdefault(word, {})[node] = None
    for rule in job_class.where.jobs:
        if rule.apart and not rule.weight:
            for word in words_named(job_class, rule):
                _count(state.shunned, (word, rule.by), node, count)


def _count(counts: dict[Any, dict[NodeId, int]], what: str | tuple[str, str], node: NodeId, change: int) -> None:
    there = counts.setdefault(what, {})
    there[node] = there.get(node, 0) + change
    if not there[node]:
        del there[node]
        if not there:
            del counts[what]


def words_named(job_class: JobClass, rule: Neighbours) -> Iterator[str]:
    """The words by which a rule of a class knows others."""
    return (full_word(job_class.kind.namespace, word) for word in rule.words)


def apart_from_its_own(job_class: JobClass) -> bool:
    """Whether no two jobs of a class may be near each other, or rather are not."""
    own = job_class.name.words
    rules = (rule for rule in job_class.where.jobs if rule.apart)
    return any(word in own for rule in rules for word in words_named(job_class, rule))


# --- static


def gpu_share(node: NodeState, where: Where) -> int:
    """The part of one GPU of a node that has as much memory as is asked for, as an amount; 0 where none is so large."""
    text = node.labels.get(GPU_MEMORY, "")
    size = int(text) if text.isdecimal() else 0
    return -(-where.gpu_memory * UNIT // size) if 0 < where.gpu_memory <= size else 0


def matches(node: NodeState, where: Where, kind: SlotKind) -> bool:
    """Whether a node's labels, name and GPUs are such that a kind of slot there is what is asked for."""
    if where.gpu_memory:
        share, held = gpu_share(node, where), gpus_of(kind.resources)
        if not share or (held < UNIT and held != share):
            return False
    if where.nodes and not named(node, where.nodes):
        return False
    if where.not_nodes and named(node, where.not_nodes):
        return False
    return all(found.weight or found.met(node.labels.get(found.label)) for found in where.labels)


def named(node: NodeState, names: tuple[str, ...]) -> bool:
    """Whether one of these is a node's name, its id, or its host's name."""
    return node.node.name in names or node.node.id in names or (bool(node.node.host) and node.node.host in names)


# --- dynamic


class Sites:
    """The nodes of one pass, beside their room."""

    def __init__(self, state: State, now_us: int) -> None:
        self._state = state
        self._now_us = now_us
        #: when a window opens for which somebody waits
        self.opens_us: int | None = None
        #: jobs that rules name have started in this pass
        self.came = False
        strategies = {state.policy.strategy, *(found.strategy for found in state.policy.namespaces)}
        #: whether the order of nodes is left to best fit wherever a job does not say otherwise
        self._packs = strategies <= {Strategy.DEFAULT, Strategy.PACK}

    def times(self, node: NodeState, job_class: JobClass, kind: SlotKind, head: JobKey) -> int:
        """How many jobs of a class may start on a node in a row, in slots of a kind, as far as this goes.

        Where windows end, it is about the head alone: those behind it may be longer.
        """
        if job_class.agent:
            # a cordon is about what is new: an agent that is there is still to be heard
            return _MANY if host(self._state, kind) is node else 0
        if is_closed(node):
            return 0
        if self._packs and not job_class.special and not self._state.windows:
            return _MANY
        if not matches(node, job_class.where, kind) or self.refusal(node, job_class, head) is not Reason.NONE:
            return 0
        one = self.bounded(node, job_class) or self.chooses(job_class) or apart_from_its_own(job_class)
        return 1 if one else _MANY

    def bounded(self, node: NodeState, job_class: JobClass) -> bool:
        """Whether windows say when a class may use a node."""
        return bool(self._state.windows) and next(self._windows(node, job_class), None) is not None

    def _windows(self, node: NodeState, job_class: JobClass) -> Iterator[Windows]:
        yield from node.windows
        for part in paths(job_class.kind.namespace):
            found = self._state.windows.get(f"{NAMESPACE}{part}")
            if found is not None:
                yield found

    def _in_window(self, node: NodeState, job_class: JobClass, head: JobKey) -> bool:
        """Whether a job would end before a window does. If not, when another one opens is noted."""
        job = self._state.jobs[head]
        for windows in self._windows(node, job_class):
            end_us = windows.end_us(self._now_us)
            if not end_us or (end_us < NEVER_US and not self._over_by(job, end_us)):
                opens_us = windows.opens_us(self._now_us)
                if opens_us is not None:
                    self.opens_us = opens_us if self.opens_us is None else min(self.opens_us, opens_us)
                return False
        return True

    def _over_by(self, job: Job, end_us: int) -> bool:
        spec = job.entry.spec
        length_ms = spec.run_ms or spec.timeout_ms
        return self._now_us + length_ms * 1_000 <= end_us if length_ms else self._state.policy.unknown_length

    def refusal(self, node: NodeState, job_class: JobClass, head: JobKey) -> Reason:
        """Why the head of a class may not start on a node though it matches; NONE where it may."""
        if job_class.agent:
            return Reason.NONE if host(self._state, job_class.kind) is node else Reason.AGENT_AWAY
        return self._closed(node, job_class, head) or self._unwanted(node, job_class)

    def _closed(self, node: NodeState, job_class: JobClass, head: JobKey) -> Reason:
        if is_closed(node):
            return closed_by(node)
        if self._state.windows and not self._in_window(node, job_class, head):
            return Reason.WINDOW
        return Reason.NONE

    def _unwanted(self, node: NodeState, job_class: JobClass) -> Reason:
        if not job_class.special:
            return Reason.NONE
        where = job_class.where
        if 0 <= node.battery <= where.battery:
            return Reason.BATTERY
        if where.gpu_memory and node.gpu_free and max(node.gpu_free) < where.gpu_memory:
            return Reason.GPU_MEMORY
        return self._neighbours(node, job_class)

    @cached_property
    def workload(self) -> dict[Shape, int]:
        """What is typical here; see `fragments.py`."""
        return workload(self._state)

    def somebody_came(self) -> bool:
        """Whether jobs have started that others may want to be near to, since this was asked; and some do."""
        came, self.came = self.came, False
        return came and any(found.why is Reason.NEAR for found in self._state.classes.values())

    def chooses(self, job_class: JobClass) -> bool:
        """Whether the class would rather have one node than another for more than their room."""
        if self._packs and not job_class.special:
            return False
        return self.wishes(job_class) or self.strategy(job_class) not in (Strategy.DEFAULT, Strategy.PACK)

    def wishes(self, job_class: JobClass) -> bool:
        """Whether it says what it would rather have."""
        where = job_class.where
        return any(found.weight for found in where.labels) or any(rule.weight for rule in where.jobs)

    def strategy(self, job_class: JobClass) -> Strategy:
        """How a node is chosen for a class: as it says, or its namespace, or the one above, or the cluster."""
        if job_class.where.strategy is not Strategy.DEFAULT:
            return job_class.where.strategy
        for part in reversed(paths(job_class.kind.namespace)):
            settings = self._state.tree.settings.get(part)
            if settings is not None and settings.strategy is not Strategy.DEFAULT:
                return settings.strategy
        return self._state.policy.strategy

    def liked(self, node: NodeState, job_class: JobClass) -> int:
        """The sum of the weights of what a class would rather have and this node has."""
        found = sum(one.weight for one in job_class.where.labels if one.weight and one.met(node.labels.get(one.label)))
        return found + sum(
            rule.weight for rule in job_class.where.jobs if rule.weight and self._met(node, job_class, rule)
        )

    # --- neighbours

    def _neighbours(self, node: NodeState, job_class: JobClass) -> Reason:
        for rule in job_class.where.jobs:
            if not rule.weight and not self._met(node, job_class, rule):
                return Reason.APART if rule.apart else Reason.NEAR
        shunned = self._state.shunned
        if shunned:
            for (word, by), nodes in shunned.items():
                if word in job_class.name.words and self._touches(node, by, nodes):
                    return Reason.APART
        return Reason.NONE

    def keeps_apart(self, node: NodeState, job_class: JobClass, other: JobClass, there: NodeState) -> bool:
        """Whether a job of a class may not start on a node while one of another class runs there, or the other way."""
        for one, known in ((job_class, other), (other, job_class)):
            for rule in one.where.jobs:
                named = rule.apart and not rule.weight and any(w in known.name.words for w in words_named(one, rule))
                if named and self._touches(node, rule.by, (there.node.id,)):
                    return True
        return False

    def _met(self, node: NodeState, job_class: JobClass, rule: Neighbours) -> bool:
        counts = self._state.left if rule.past else self._state.present
        words = list(words_named(job_class, rule))
        if any(self._touches(node, rule.by, counts.get(word, ())) for word in words):
            return not rule.apart
        if rule.apart:
            return True
        # the first of those that want to be near each other may go anywhere
        return any(word in job_class.name.words for word in words) and not any(word in counts for word in words)

    def _touches(self, node: NodeState, by: str, nodes: Iterable[NodeId]) -> bool:
        """Whether a node is one of these, or has the same value of a label as one of them."""
        if not by:
            return node.node.id in nodes
        value = node.labels.get(by)
        others = (self._state.nodes.get(other) for other in nodes)
        return value is not None and any(other.labels.get(by) == value for other in others if other is not None)
