"""The tiny language of the scenarios: what happens, in a line each, and what is decided, in a line each.

    node a cpu=4 mem=8 zone:z1    a node joins, labelled  lost a               it is lost
    cordon a note=disk            nothing starts there    uncordon a           something may again
    is a battery=30 free=5,20     how it is now: percent left, memory free on each GPU; silent=yes, silent=no
    pressed a memory=920 j:150    something is short there, and what attempts use of it; calm a memory=300
    open a 0s-10s 20s-60s         nothing starts at other times (ns:NAME for a namespace), nor what would outlive them
    drain a                       and it is emptied       label a zone:z2      what people call it (zone: takes it away)
    submit j cpu=1 band=3         a job                   submit j x3 cpu=1    an array: j.0, j.1, j.2
           once exactly (guarantees) queue=10s heartbeat=10s (its timeouts) oom=2x8 (then twice the memory, up to 8)
           single retries=2 backoff=100ms after=ok:p,any:q (or ok:p?not_ok:q; kinds: `After`)
           rule=one_success (over those after=) singleton=key at_most=2 max_failures=1
           in=team/a user=ann run=10s deadline=30s evict=checkpoint|cancel|never|shrink grace=1s
           of=parent (its child) children=cancel|wait
           licence=matlab:2 rate=tokens:100 key=db:1 agent tag=web
           on=zone:z1|z2,!slow,gpu (labels) prefer=5*disk:ssd node=a,b not_node=c
           apart=tag:web,zone/tag:db (on no node, in no zone with them) near=job:j prefer_near=5*tag:x data=5*job:j
           timeout=5s battery=30 gpu_memory=20 type=t (its name) args=5000 (bytes)
           strategy=pack|spread|fgd or=cpu:8+mem:4,cpu:16 (what would do as well)
           gang=4 (in gangs of 4) quorum=3 effort=best on_failure=abort|compensate bundle=b (its last job says gang=)
    enter j                       its code runs           end j failed ran=2ms how its attempt ends
    progress j                    it says how far it is   restart                    the scheduler is started anew
    cancel j   hold j   pause j   release j   band j 0    what people want
    wait 1s                       time goes on            policy discipline=fifo     other settings from now on
    advise p j:1 k:-5             the plug-in p answers   disable p                  it is found wanting

`policy:` of a scenario takes the fields of `Policy`; amounts in namespaces are written as "cpu=4 gpu=1".

Decisions are written as `launch j on a (2 slots)`, `a closes cpu=1 to 0 slots: idle`, `recall j on a: room_wanted`,
`stop j on a: cancelled_by_user`, `evict j on a for k: preempted` (`for k on b` where k is to run elsewhere),
`promote j` (`promote j to 3`: to that order), `missed j` (its deadline), `ready j: none`, `hold j: …`,
`retry j in 100ms: user_error`, `finish j failed: …`;
`let back j: node_calm` (where it was moved away from);
`keep no room for j` (it may not start where others made room);
of gangs as `start gang g`, `stop gang g: gang_restarted`, `end gang g: gang_ended`, `keep a,b for gang g`.
"""

import re
from dataclasses import replace
from typing import Any

from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.dependency import Rule, ended_as
from kos_ray.model.gang import GangMode, OnFailure
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import (
    After,
    AttemptEnd,
    Backoff,
    Children,
    Demands,
    Eviction,
    Guarantee,
    JobState,
    MoreMemory,
    SlotKind,
    Spec,
)
from kos_ray.model.node import Mark, Node
from kos_ray.model.policy import Against, Discipline, Model, Namespace, Policy, Rate
from kos_ray.model.reasons import Reason
from kos_ray.model.rebalance import Rebalance
from kos_ray.model.resources import UNIT, Resources
from kos_ray.model.where import Neighbours, Selector, Strategy, Where
from kos_ray.model.windows import Windows
from kos_ray.model.wire import from_plain
from kos_ray.scheduler import invariants
from kos_ray.scheduler.machine import recover, step
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.scheduler.state import State
from kos_ray.spec.rebalance import parse_rebalance

_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000}
_RESOURCES = {"cpu": "CPU", "gpu": "GPU", "mem": "memory", "disk": "disk", "net": "network"}


def _more_memory(text: str) -> MoreMemory | None:
    """What is written as `oom=2x8`: twice the memory, up to 8."""
    factor, _, most = text.partition("x")
    return MoreMemory(thousandths=round(float(factor) * 1_000), most=int(most or 0)) if text else None


def _guarantee(words: list[str]) -> Guarantee:
    found = {"once": Guarantee.AT_MOST_ONCE, "exactly": Guarantee.EXACTLY_ONCE}
    return next((found[word] for word in words if word in found), Guarantee.AT_LEAST_ONCE)


class Play:
    """One scenario being played. Every step is checked against the invariants and against a fold of what happened."""

    def __init__(self, policy: dict[str, Any] | None = None) -> None:
        #: `lasting` is never taken from a snapshot, so it has all that is derived
        self.state, self.folded, self.lasting = State(), State(), State()
        self.now_us = 0
        self.keys: dict[str, JobKey] = {}
        self.arrays: dict[str, tuple[JobKey, int]] = {}
        self.specs: dict[Spec, SpecKey] = {}
        #: final states of jobs that the scheduler no longer holds
        self.finals: dict[JobKey, int] = {}
        #: and how rules count those of them of which the state alone does not tell it
        self.ended_as: dict[JobKey, int] = {}
        self.next_key = 1
        #: members of bundles that are not complete yet
        self.bundles: dict[str, list[e.JobsSubmitted]] = {}
        self.step([e.SchedulerStarted(epoch=1, version="0", policy=written(Policy(), policy or {}))])

    def do(self, lines: list[str]) -> list[str]:
        """Let these things happen together; what is decided."""
        events: list[e.Event] = []
        for line in lines:
            verb, *words = line.split()
            if verb == "wait":
                self.now_us += microseconds(words[0])
            else:
                event = getattr(self, f"_{verb}")(*words)
                events += [event] if event is not None else []
        return [self.tell(decision) for decision in self.step(events)]

    def step(self, events: list[e.Event]) -> list[d.Decision]:
        attempts = {key: job.attempt for key, job in self.state.jobs.items()}
        decisions = step(self.state, events, self.now_us)
        assert step(self.lasting, events, self.now_us) == decisions
        assert invariants.check(self.state) == []
        recover(self.folded, events, decisions, self.now_us)
        assert invariants.check(self.folded) == []
        shares = {name: gang.losses for name, gang in self.state.gangs.items()}
        assert shares == {name: gang.losses for name, gang in self.folded.gangs.items()}
        for decision in decisions:
            if isinstance(decision, d.Finish):
                self.finals.update(dict.fromkeys(decision.keys, decision.state))
                for key in decision.keys:
                    ended = ended_as(JobState(decision.state), decision.reason, attempts.get(key, 0))
                    self.ended_as[key] = int(ended)
        # A snapshot between any two steps loses nothing.
        self.state = state_from_plain(state_to_plain(self.state))
        return decisions

    # --- what happens

    def _node(self, name: str, *words: str) -> e.Event:
        labels = {"host": f"host-{name}"} | dict(word.split(":") for word in words if ":" in word)
        node = Node(NodeId(name), name, resources(words), labels=tuple(sorted(labels.items())), incarnation="1")
        return e.NodesJoined(nodes=(node,))

    def _open(self, name: str, *words: str) -> e.Event:
        scope = f"namespace:{name.removeprefix('ns:')}" if name.startswith("ns:") else f"node:{name}"
        spans = tuple(tuple(microseconds(part) for part in word.split("-")) for word in words)
        windows = Windows(scope=scope, text="written", open=spans, until_us=10**12) if words else Windows(scope=scope)
        return e.WindowsChanged(request_id="", windows=windows)

    def _is(self, name: str, *words: str) -> e.Event:
        now = dict(word.split("=") for word in words)
        free = tuple(int(amount) for amount in now.get("free", "").split(",") if amount)
        silent, retires = now.get("silent") == "yes", int(now.get("retires", 0))
        battery = int(now.get("battery", -1))
        return e.NodeCondition(node=NodeId(name), battery=battery, gpu_free=free, silent=silent, retires=retires)

    def _pressed(self, name: str, *words: str) -> e.Event:
        loads = dict(word.split("=") for word in words if "=" in word)
        said = [word.split(":") for word in words if ":" in word]
        return e.NodePressed(
            node=NodeId(name),
            kinds=tuple(loads),
            loads=tuple(map(int, loads.values())),
            keys=tuple(self.keys[job] for job, _ in said),
            attempts=tuple(self.job(job).attempt for job, _ in said),
            uses=tuple(tuple(map(int, shares.split(","))) for _, shares in said),
        )

    def _calm(self, name: str, *words: str) -> e.Event:
        loads = dict(word.split("=") for word in words)
        return e.NodeCalm(node=NodeId(name), kinds=tuple(loads), loads=tuple(map(int, loads.values())))

    def _mark(self, name: str, **changes: Any) -> e.Event:
        mark = replace(self.state.marks.get(name, Mark(name=name)), **changes)
        return e.NodesMarked(request_id="", marks=(mark,))

    def _cordon(self, name: str, note: str = "") -> e.Event:
        return self._mark(name, cordoned=True, note=note.removeprefix("note="))

    def _uncordon(self, name: str) -> e.Event:
        return self._mark(name, cordoned=False, draining=False)

    def _drain(self, name: str) -> e.Event:
        return self._mark(name, cordoned=True, draining=True)

    def _label(self, name: str, *words: str) -> e.Event:
        return self._mark(name, labels=tuple(sorted(tuple(word.split(":")) for word in words)))

    def _lost(self, name: str) -> e.Event:
        return e.NodeLost(node=NodeId(name), cause="it burnt down")

    def _submit(self, name: str, *words: str) -> e.Event | None:
        count = next((int(word[1:]) for word in words if re.fullmatch(r"x\d+", word)), -1)
        options = dict(word.split("=", 1) for word in words if "=" in word)
        spec = Spec(
            type=options.get("type", name),
            entry="module:function",
            band=int(options.get("band", 3)),
            resources=resources(words),
            single_use="single" in words,
            retries=int(options.get("retries", 0)),
            on_oom=_more_memory(options.get("oom", "")),
            heartbeat_ms=microseconds(options.get("heartbeat", "0s")) // 1_000,
            queue_ms=microseconds(options.get("queue", "0s")) // 1_000,
            backoff=Backoff(first_ms=microseconds(options.get("backoff", "100ms")) // 1_000, jitter=0.0),
            guarantee=_guarantee(words),
            namespace=options.get("in", "default"),
            run_ms=microseconds(options.get("run", "0s")) // 1_000,
            timeout_ms=microseconds(options.get("timeout", "0s")) // 1_000,
            deadline_us=self.now_us + microseconds(options["deadline"]) if "deadline" in options else 0,
            eviction=Eviction[options.get("evict", "requeue").upper()],
            grace_ms=microseconds(options.get("grace", "0s")) // 1_000,
            demands=replace(demands(options), agent="agent" in words),
            children=Children[options.get("children", "abandon").upper()],
            tags=tuple(text for text in options.get("tag", "").split(",") if text),
            where=where(options),
        )
        known = spec in self.specs
        spec_key = self.specs.setdefault(spec, SpecKey(len(self.specs) + 1))
        first = JobKey(self.next_key)
        self.next_key += abs(count)
        self.arrays[name] = (first, abs(count))
        names = [name] if count < 0 else [f"{name}.{i}" for i in range(count)]
        self.keys.update({text: JobKey(first + i) for i, text in enumerate(names)})
        dependencies = self._dependencies(first, abs(count), options)
        parents = [
            JobKey(key)
            for dependency in dependencies
            for start, number, _ in dependency.after
            for key in range(start, start + number)
        ]
        at_most, max_failures = int(options.get("at_most", 0)), int(options.get("max_failures", 0))
        limits = e.ArrayLimits(index=0, group=name, at_most=at_most, max_failures=max_failures)
        submitted = e.JobsSubmitted(
            request_id=name,
            first=first,
            ids=(name,),
            counts=(count,),
            specs=(spec_key,),
            args=(b"\0" * int(options.get("args", 0)),) * abs(count),
            new_specs=() if known else ((spec_key, spec),),
            names=((0, name),),
            neighbours=tuple(
                (spec.namespace, found, *self.arrays[found])
                for rule in spec.where.jobs
                for word in rule.words
                if (found := word.removeprefix("job:")) in self.arrays and found != name
            ),
            dependencies=dependencies,
            sender=options.get("user", ""),
            parent=self.keys[options["of"]] if "of" in options else JobKey(0),
            ended_parents=tuple((key, self.finals[key]) for key in parents if key in self.finals),
            ended_as=tuple((key, self.ended_as[key]) for key in parents if key in self.finals),
            limits=(limits,) if at_most or max_failures else (),
            gangs=self._gangs(name, first, abs(count), options),
        )
        return self._bundled(submitted, options)

    def _gangs(self, name: str, first: int, count: int, options: dict[str, str]) -> tuple[e.NewGang, ...]:
        if "gang" not in options or "bundle" in options:
            return ()
        size = int(options["gang"])
        return tuple(
            self._gang(name if size == count else f"{name}.{index}", ((first + index * size, size),), options)
            for index in range(count // size)
        )

    def _gang(self, name: str, ranges: tuple[tuple[int, int], ...], options: dict[str, str]) -> e.NewGang:
        mode = GangMode.QUORUM if "quorum" in options else GangMode.BEST_EFFORT if "effort" in options else GangMode.ALL
        whole = sum(count for _, count in ranges)
        least = {GangMode.ALL: whole, GangMode.BEST_EFFORT: 0}.get(mode, int(options.get("quorum", 0)))
        on_failure = OnFailure[options.get("on_failure", "replace").upper()]
        return e.NewGang(name=name, ranges=ranges, least=least, mode=mode, on_failure=on_failure)

    def _bundled(self, submitted: e.JobsSubmitted, options: dict[str, str]) -> e.JobsSubmitted | None:
        """One event of all the jobs of a bundle, when the last is there, which says what kind of gang it is."""
        name = options.get("bundle")
        if name is None:
            return submitted
        parts = self.bundles.setdefault(name, [])
        parts.append(submitted)
        if "gang" not in options:
            return None
        ranges = tuple((part.first, abs(part.counts[0])) for part in parts)
        return e.JobsSubmitted(
            request_id=name,
            first=parts[0].first,
            gangs=(self._gang(name, ranges, options),),
            **{
                column: tuple(value for part in parts for value in getattr(part, column))
                for column in ("ids", "counts", "specs", "args", "new_specs", "dependencies")
            },
        )

    def _dependencies(self, first: int, count: int, options: dict[str, str]) -> tuple[e.JobDependency, ...]:
        written = options.get("after", "")
        after = tuple(self._parent(text) for text in re.split("[,?]", written) if text)
        rule = Rule.ONE_MET if "?" in written else Rule[options.get("rule", "all_met").upper()]
        found = tuple(
            e.JobDependency(
                key=JobKey(first + index),
                after=tuple(self._of_item(parent, index) for parent in after),
                rule=int(rule),
                singleton=options.get("singleton", ""),
            )
            for index in range(count)
        )
        return found if found[0].waits else ()

    def _of_item(self, parent: tuple[int, int, int], index: int) -> tuple[int, int, int]:
        first, _, kind = parent
        return (first + index, 1, kind) if kind == After.CORR else parent

    def _parent(self, text: str) -> tuple[int, int, int]:
        kind, name = text.split(":")
        first, count = self.arrays[name] if name in self.arrays else (self.keys[name], 1)
        return first, count, int(After[kind.upper()])

    def _enter(self, name: str) -> e.Event:
        job = self.job(name)
        return e.AttemptsEntered(node=job.node, keys=(job.key,), attempts=(job.attempt,), entered_us=(self.now_us,))

    def _end(self, name: str, end: str = "succeeded", ran: str = "ran=1ms") -> e.Event:
        job = self.job(name)
        run_us = microseconds(ran.removeprefix("ran="))
        return e.AttemptsEnded(
            node=job.node,
            keys=(job.key,),
            attempts=(job.attempt,),
            ends=(int(AttemptEnd[end.upper()]),),
            entered_us=(1,),
            ended_us=(1 + run_us,),
            pids=(1,),
            results=(b"",),
        )

    def _progress(self, name: str) -> e.Event:
        job = self.job(name)
        return e.ProgressMade(node=job.node, keys=(job.key,), attempts=(job.attempt,), shares=(1,), texts=("",))

    def _restart(self) -> e.Event:
        return e.SchedulerStarted(epoch=self.state.epoch + 1, version="0", policy=self.state.policy)

    def _cancel(self, *names: str) -> e.Event:
        return e.CancelRequested(request_id="", keys=self.named(names))

    def _hold(self, *names: str) -> e.Event:
        return e.HoldRequested(request_id="", keys=self.named(names))

    def _pause(self, *names: str) -> e.Event:
        return e.HoldRequested(request_id="", keys=self.named(names), stop=True)

    def _release(self, *names: str) -> e.Event:
        return e.ReleaseRequested(request_id="", keys=self.named(names))

    def _band(self, name: str, band: str) -> e.Event:
        return e.PriorityChanged(request_id="", keys=self.named((name,)), band=int(band))

    def _policy(self, *words: str) -> e.Event:
        changes = dict(word.split("=", 1) for word in words)
        return e.PolicyChanged(request_id="", policy=written(self.state.policy, changes))

    def _advise(self, plugin: str, *words: str) -> e.Event:
        pairs = [word.split(":") for word in words]
        keys = tuple(self.keys[name] for name, _ in pairs)
        return e.RanksAdvised(plugin=plugin, keys=keys, ranks=tuple(int(rank) for _, rank in pairs))

    def _disable(self, plugin: str) -> e.Event:
        return e.PluginDisabled(plugin=plugin, why="it hung")

    # --- what is decided

    def tell(self, decision: Any) -> str:
        """A decision in a line."""
        if isinstance(decision, d.ResizeSlots):
            kind, reason = told_kind(decision.kind), told(decision.reason)
            return f"{decision.node} closes {kind} to {slots(decision.slots)}: {reason}"
        if isinstance(decision, d.StartGang | d.StopGang | d.KeepForGang):
            return _told_of_gang(decision)
        jobs = ",".join(self.name(key) for key in decision.keys)
        if isinstance(decision, d.Launch):
            return f"launch {jobs} on {decision.node} ({slots(decision.slots)})"
        if isinstance(decision, d.Recall | d.Stop):
            return f"{type(decision).__name__.lower()} {jobs} on {decision.node}: {told(decision.reason)}"
        if isinstance(decision, d.Evict):
            there = "" if decision.target == decision.node else f" on {decision.target}"
            wanted_by = self.name(decision.wanted_by)
            return f"evict {jobs} on {decision.node} for {wanted_by}{there}: {told(decision.reason)}"
        return self._tell_rest(decision, jobs)

    def _tell_rest(self, decision: Any, jobs: str) -> str:
        if isinstance(decision, d.RetryLater):
            parts = zip(decision.keys, decision.due_us, decision.reasons, strict=True)
            return "; ".join(f"retry {self.name(k)} in {(t - self.now_us) // 1_000}ms: {told(r)}" for k, t, r in parts)
        if isinstance(decision, d.RaiseMemory):
            return "; ".join(
                f"{self.name(k)} gets mem={a // UNIT}" for k, a in zip(decision.keys, decision.amounts, strict=True)
            )
        if isinstance(decision, d.Finish):
            return f"finish {jobs} {JobState(decision.state).name.lower()}: {told(decision.reason)}"
        if isinstance(decision, d.Promote | d.MarkMissed):
            verb = "missed" if isinstance(decision, d.MarkMissed) else "promote"
            return f"{verb} {jobs}" + (f" to {decision.order}" if getattr(decision, "order", -1) >= 0 else "")
        if isinstance(decision, d.KeepNoRoom):
            return f"keep no room for {jobs}"
        verb = {d.MakeReady: "ready", d.LetBack: "let back"}.get(type(decision), "hold")
        return f"{verb} {jobs}: {told(decision.reason)}"

    # --- names

    def job(self, name: str) -> Any:
        return self.state.jobs[self.keys[name]]

    def named(self, names: tuple[str, ...]) -> tuple[JobKey, ...]:
        return tuple(self.keys[name] for name in names)

    def name(self, key: int) -> str:
        return next(name for name, found in self.keys.items() if found == key)


def _told_of_gang(decision: d.StartGang | d.StopGang | d.KeepForGang) -> str:
    if isinstance(decision, d.StartGang):
        return f"start gang {decision.gang}"
    if isinstance(decision, d.KeepForGang):
        return f"keep {','.join(decision.nodes)} for gang {decision.gang}"
    return f"{'end' if decision.final else 'stop'} gang {decision.gang}: {told(decision.reason)}"


def resources(words: tuple[str, ...]) -> Resources:
    pairs = [word.split("=") for word in words if word.split("=")[0] in _RESOURCES]
    return Resources.of({_RESOURCES[name]: float(amount) for name, amount in pairs})


def demands(options: dict[str, str]) -> Demands:
    def pairs(name: str, unit: int) -> tuple[tuple[str, int], ...]:
        found = (text.split(":") for text in options.get(name, "").split(",") if text)
        return tuple((key, int(number) * unit) for key, number in found)

    return Demands(licences=pairs("licence", UNIT), rates=pairs("rate", 1), concurrency=pairs("key", 1))


def where(options: dict[str, str]) -> Where:
    """Where a job may run, as scenarios write it."""

    def texts(name: str) -> list[str]:
        return [text for text in options.get(name, "").split(",") if text]

    def rules(name: str, **more: Any) -> list[Neighbours]:
        found = []
        for text in texts(name):
            weight, _, rest = text.rpartition("*")
            by, _, word = rest.rpartition("/")
            found.append(Neighbours((word,), by=by, weight=int(weight or 0), **more))
        return found

    return Where(
        labels=tuple(selector(text) for text in [*texts("on"), *texts("prefer")]),
        nodes=tuple(texts("node")),
        not_nodes=tuple(texts("not_node")),
        jobs=(*rules("apart", apart=True), *rules("near"), *rules("prefer_near"), *rules("data", past=True)),
        strategy=Strategy[options.get("strategy", "default").upper()],
        battery=int(options.get("battery", 0)),
        gpu_memory=int(options.get("gpu_memory", 0)),
        alternatives=tuple(resources(tuple(text.replace(":", "=").split("+"))) for text in texts("or")),
    )


def selector(text: str) -> Selector:
    weight, _, rest = text.rpartition("*")
    label, _, values = rest.removeprefix("!").partition(":")
    found = tuple(value for value in values.split("|") if value)
    return Selector(label, found, negated=rest.startswith("!"), weight=int(weight or 0))


def written(policy: Policy, changes: dict[str, Any]) -> Policy:
    """A policy with changes as scenarios write them."""
    values: dict[str, Any] = {}
    for name, value in changes.items():
        if name == "discipline":
            values[name] = Discipline[value.upper()]
        elif name == "model":
            values[name] = Model[value.upper()]
        elif name == "plugin":
            values[name] = value
        elif name == "namespaces":
            values[name] = tuple(_namespace(settings) for settings in value)
        elif name == "rebalance":
            values[name] = from_plain(Rebalance, parse_rebalance(value))
        elif name == "strategy":
            values[name] = Strategy[value.upper()]
        elif name == "licences":
            values[name] = tuple((key, count * UNIT) for key, count in sorted(value.items()))
        elif name == "rates":
            values[name] = tuple(Rate(**rate) for rate in value)
        else:
            values[name] = tuple(value) if isinstance(value, list) else int(value)
    return replace(policy, **values)


def _namespace(settings: dict[str, Any]) -> Namespace:
    values: dict[str, Any] = dict(settings)
    for name in ("guaranteed", "limit", "borrow", "lend"):
        if name in values:
            pairs = (word.split("=") for word in values[name].split())
            values[name] = tuple(sorted((_RESOURCES[key], int(float(number) * UNIT)) for key, number in pairs))
    for name in ("within", "reclaim", "borrowing"):
        if name in values:
            values[name] = Against[values[name].upper()]
    if "strategy" in values:
        values["strategy"] = Strategy[values["strategy"].upper()]
    if "discipline" in values:
        values["discipline"] = Discipline[values["discipline"].upper()]
    if "model" in values:
        values["model"] = Model[values["model"].upper()]
    return Namespace(**values)


def microseconds(text: str) -> int:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return int(float(number) * _UNITS[unit])


def slots(count: int) -> str:
    return f"{count} slot" + "s" * (count != 1)


def told(reason: int) -> str:
    return Reason(reason).name.lower()


def told_kind(kind: SlotKind) -> str:
    short = {long: name for name, long in _RESOURCES.items()}
    return " ".join(f"{short[name]}={amount:g}" for name, amount in kind.resources.as_units().items()) or "nothing"
