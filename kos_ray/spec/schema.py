"""The schema of one job as people write it.

Every field is parsed once, here, to the model's own values; a field that is not known is refused with the nearest name.
`forms` brings other ways of writing a job here; `load` adds file, line and path to messages.
"""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, model_validator

from kos_ray.model.dependency import Conditions
from kos_ray.model.gang import GangMode
from kos_ray.model.job import NO_DEMANDS, After, Backoff, Children, Demands, Eviction, Guarantee, Retries
from kos_ray.model.resources import UNIT, Resources
from kos_ray.spec import fields
from kos_ray.spec.gang import check_shrinks, check_size
from kos_ray.spec.parse import MAX_COUNT, MAX_NAME, is_job_id, near, parse_name, parse_namespace
from kos_ray.spec.receiver import Receiver
from kos_ray.spec.scale import PRIORITIES
from kos_ray.spec.schedule import Scheduled
from kos_ray.spec.settings import MAX_RETRIES
from kos_ray.spec.strict import Strict
from kos_ray.spec.where import WhereSpec

__all__ = [
    "MAX_COUNT",
    "MAX_NAME",
    "MAX_RETRIES",
    "PRIORITIES",
    "BackoffSpec",
    "Common",
    "JobSpec",
    "ResourceSpec",
    "Strict",
    "is_job_id",
    "json_schema",
    "near",
    "parse_name",
    "parse_namespace",
]


class ResourceSpec(Strict):
    """What one item of a job holds while it runs; a job that says nothing holds one CPU."""

    cpu: fields.Amount = Field(default=10_000, description="CPUs, in steps of 1/10000; 1 where nothing is written.")
    gpu: fields.Amount = Field(default=0, description="GPUs, in steps of 1/10000.")
    memory: fields.Bytes = Field(default=0, description='Memory: "512MB", "1.5GiB", or bytes.')
    gpu_memory: fields.Bytes = Field(
        default=0, description="Memory of a GPU that must be free: so much of one GPU is held, unless `gpu` says more."
    )
    disk: fields.Bytes = Field(default=0, description="Disk of the node, as reserved by jobs that say so.")
    network: fields.BitRate = Field(default=0, description='Network of the node, such as "1Gbit", reserved likewise.')
    custom: fields.Custom = Field(default_factory=dict, description="Ray resources of your own, by name.")
    any: tuple["ResourceSpec", ...] = Field(
        default=(),
        description="Instead of all others: what would do, in order of preference, `[{gpu: 1}, {cpu: 8}]`.",
    )

    @model_validator(mode="after")
    def _chooses(self) -> "ResourceSpec":
        if "any" in self.model_fields_set:
            beside = sorted(self.model_fields_set - {"any"})
            if beside:
                raise ValueError(f"expected all resources inside of any, found {beside[0]} beside it")
            if any(one.gpu_memory for one in self.any):
                raise ValueError("expected no gpu_memory under any: which part of a GPU that is depends on the node")
            if len(self.any) < 2 or any(one.any for one in self.any):
                raise ValueError("expected a list of two or more under any, and no further any in it")
        return self

    @property
    def alternatives(self) -> tuple[Resources, ...]:
        """What would do as well as `lower`, in order of preference."""
        return tuple(one.lower() for one in self.any[1:])

    def lower(self) -> Resources:
        """The model's vector, under Ray's names; of several that would do the first."""
        if self.any:
            return self.any[0].lower()
        amounts = {"CPU": self.cpu, "GPU": self.gpu, "memory": self.memory * UNIT}
        amounts |= {"disk": self.disk * UNIT, "network": self.network * UNIT}
        return Resources.from_amounts(amounts | self.custom)


class BackoffSpec(Strict):
    """Pauses between attempts: `first`, then `factor` times longer each, up to `max`."""

    first: fields.Duration = Field(default=1_000, description="The first pause; 1s where nothing is written.")
    factor: fields.Factor = Field(default=2.0, description="How many times longer each further pause is.")
    max: fields.Duration = Field(default=300_000, description="The longest pause; 5m where nothing is written.")
    jitter: fields.Share = Field(
        default=0.2, description="The share of a pause that is drawn, so that jobs do not return at once."
    )

    @model_validator(mode="after")
    def _ordered(self) -> "BackoffSpec":
        if self.max < self.first:
            raise ValueError(f"expected max >= first, found max {self.max} ms and first {self.first} ms")
        return self

    def lower(self) -> Backoff:
        """The model's value."""
        return Backoff(first_ms=self.first, factor=self.factor, max_ms=self.max, jitter=self.jitter)


class Common(Strict):
    """What may be said of a job in whichever form it is written."""

    id: fields.Name = Field(default="", description="The job's name, unique in its namespace.")
    type: fields.JobType = Field(
        default="",
        description="A label of few values. Where nothing else says what to run, the job's handler is looked up by it.",
    )
    namespace: fields.Namespace = Field(
        default="", description="The tenant that it belongs to; processes are never shared."
    )
    priority: fields.Priority = Field(
        default=3,
        description="The band: a name (critical, high, normal, low, ...), 0 (most urgent) to 5, or a weight of the "
        "settings' `priorities`.",
    )
    resources: ResourceSpec = Field(
        default=ResourceSpec(), description="What each attempt holds; one CPU where nothing is said."
    )
    env: fields.Env = Field(default=(), description="Environment variables of the attempt.")
    after: fields.Parents = Field(
        default_factory=Conditions,
        description="Jobs to wait for: a list of names or ids (all must succeed), lists under ok, any, not_ok, started "
        "and corr, a rule over them, a singleton, or Slurm's text; see Dependencies.",
    )
    dependencies: fields.Parents = Field(
        default_factory=Conditions, description="The same as `after`; only one of both."
    )
    agent: fields.Flag = Field(
        default=False,
        description="It is an agent: counted by `max_concurrent_agents`, spared or not by `allow_agent_preemption`, "
        "with `agent_timeout_default` for its timeout, and started again by `reschedule_on_crash`.",
    )
    timeout: fields.Timeout = Field(
        default=None,
        validate_default=True,
        description='For one attempt: "30s", "2m", or seconds; 0 is no limit. Where nothing is written, the settings\' '
        "`job_timeout_default` (of agents, `agent_timeout_default`).",
    )
    retry: fields.Retry = Field(
        default_factory=Retries,
        description="How often a failed attempt is made again; or `times`, `not_on` (classes of exceptions after which "
        "it is not), `max_elapsed` (no attempt starts later than this after the job could first have started) and "
        "`on_oom` (after it ran out of memory: `memory_factor` times what it had, 2 where nothing is said, up to "
        "`memory_max`).",
    )
    queue_timeout: fields.Duration = Field(
        default=0,
        description="It is over, as failed, when its code has not been entered so long after it could first have "
        "started; 0 is no limit.",
    )
    heartbeat_timeout: fields.Duration = Field(
        default=0,
        description="An attempt is ended, as one that failed, when it has neither called `context().progress` nor "
        "saved a checkpoint for so long; 0 is no limit. For functions: a command cannot say how far it is.",
    )
    backoff: BackoffSpec = Field(default=BackoffSpec(), description="Pauses between attempts.")
    guarantee: fields.PromisedRuns = Field(
        default=Guarantee.AT_LEAST_ONCE,
        description="at_least_once; at_most_once (then no retry); or exactly_once: never two attempts at a time, and "
        "a token and fences for sinks, so that its effects happen once.",
    )
    approval: fields.Asked = Field(
        default=None,
        description="What somebody has to approve before it starts (`kos approve`, `kos reject`): a text, or `ask`, "
        "`by` (who may answer; anybody where nobody is named), `timeout` (from when it could start) and `otherwise` "
        "(reject or approve, when nobody has answered by then). It holds nothing while it waits.",
    )
    children: fields.ChildrenEnd = Field(
        default=Children.ABANDON,
        description="What becomes of jobs that it submits while it runs, when it is over: abandon (they go on), "
        "cancel, or wait (what waits for its end waits for theirs).",
    )
    tags: fields.Tags = Field(default=(), description="Words to find it by.")
    on_failure: fields.Hooks = Field(
        default=(),
        description="Jobs that are submitted when it has failed for good, or is lost: a job, the name of a type that "
        "has a handler, or a list; a function gets the event as its first argument, a command in KOS_EVENT.",
    )
    on_success: fields.Hooks = Field(default=(), description="The same when it has succeeded.")
    on_end: fields.Hooks = Field(default=(), description="The same when it is over, however.")
    on_child_failure: fields.Hooks = Field(
        default=(),
        description="The same when a job that it submitted has failed for good; where it says nothing, its own parent "
        "is looked at.",
    )
    fallback: fields.Hooks = Field(
        default=(),
        description="Types of jobs, in order: when its handler has failed for good, the next one gets its payload.",
    )
    notify: fields.Told = Field(
        default=(),
        description="Who is told of its end: a URL, or a mapping with url and states (failed and lost where none "
        "is named), or a list.",
    )
    results_to: fields.Sinks = Field(
        default=(), description="Where its result goes: file, webhook, agent or role with method, mailbox; or a list."
    )
    run_time: fields.Duration = Field(
        default=0,
        description="How long an attempt is expected to run. Believed for backfill and critical paths, not enforced.",
    )
    deadline: fields.Instant | None = Field(
        default=None, description="When it should have ended: orders jobs where the discipline is `deadline`."
    )
    preemption: fields.Gives = Field(
        default=Eviction.REQUEUE,
        description="When its room is wanted for a more urgent job: requeue, checkpoint (it saves its state and goes "
        "on from there), cancel, never, or shrink (a gang with min gives back first what is above that).",
    )
    grace: fields.Duration = Field(
        default=0, description="Between asking it to make room and ending it; the scheduler's where nothing is said."
    )
    licences: fields.Counts = Field(default=(), description="Licences of the cluster that it holds while it runs.")
    rates: fields.Counts = Field(default=(), description="Units of the cluster's rate limits that its start uses up.")
    concurrency: fields.Counts = Field(
        default=(), description="Of the jobs of a namespace with the same key, so many run at once: `{database: 2}`."
    )
    where: WhereSpec = Field(
        default=WhereSpec(), description="On which nodes it may start, and on which it would rather; see below."
    )
    idempotency_key: fields.IdempotencyKey = Field(
        default="",
        description="One key in a namespace is one job: submitted again with the same function or command, arguments "
        "and options, it is the job that is there; with others, it is refused.",
    )
    schedule: Annotated[
        Scheduled, Field(description="When it starts by itself: a rule, a list of rules, or a mapping; see schedule.")
    ] = None
    sender: fields.Text = Field(default="", description="Who handed it in: provenance, kept as the tag `sender:NAME`.")

    @property
    def demands(self) -> Demands:
        """What it needs that has no node."""
        if not (self.licences or self.rates or self.concurrency or self.agent):
            return NO_DEMANDS
        licences = tuple((name, count * UNIT) for name, count in self.licences)
        return Demands(licences=licences, rates=self.rates, concurrency=self.concurrency, agent=self.agent)

    @property
    def parents(self) -> tuple[tuple[str, After], ...]:
        """The jobs that are named under `after` or `dependencies`."""
        return self.waits_for.parents

    @property
    def waits_for(self) -> Conditions:
        """What is written under `after` or `dependencies`."""
        return self.after if self.after.given else self.dependencies

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Common":
        if self.after.given and self.dependencies.given:
            raise ValueError("expected either after or dependencies, found both; they mean the same")
        again = (Eviction.CHECKPOINT, Eviction.SHRINK)
        if self.guarantee is Guarantee.AT_MOST_ONCE and self.preemption in again:
            raise ValueError(
                "expected preemption cancel or never with at_most_once, whose code is never entered twice, "
                f"found {self.preemption.name.lower()}"
            )
        if self.retry.on_oom is not None and (self.resources.any or not self.resources.memory):
            found = "any" if self.resources.any else "nothing"
            raise ValueError(f"expected memory under resources with on_oom, which gives it more of it, found {found}")
        if self.guarantee is Guarantee.AT_MOST_ONCE and self.retry.times:
            raise ValueError(
                f"expected retry 0 with at_most_once, whose code is never entered twice, found {self.retry.times}"
            )
        return self


#: what a message may not say: its agent's process is there already
_OF_AGENTS = ("run", "entry", "resources", "env", "where", "agent", "preemption", "grace", "concurrency", "licences")


class JobSpec(Common):
    """One job, or one array of `count` jobs, as it is written."""

    run: fields.Run = Field(
        default=(), description="A command: a text for the shell, or a list of program and arguments."
    )
    entry: fields.Entry = Field(
        default="",
        description='A Python function, "module:function"; its module lies in the folder that it is submitted from, or '
        "every node can import it.",
    )
    to: Receiver = Field(
        default="",
        description="An agent that is to handle it: a name; or a mapping with role, capabilities, skills, models, "
        "config, fallback (roles, in order) and affinity: one that is able is chosen when the job is ready.",
    )
    method: fields.Text = Field(default="", description="Which of the agent's methods that is.")
    args: fields.Args = Field(
        default_factory=list, description="Its arguments; {from: job} at any depth stands for that job's result."
    )
    kwargs: fields.Kwargs = Field(default_factory=dict, description="Its named arguments.")
    count: fields.Count = Field(default=None, description="Makes it an array of so many jobs.")
    at_most: fields.AtMost = Field(default=None, description="Of an array, so many items run at once.")
    max_failures: fields.AtMost = Field(
        default=None,
        description="Of an array: when so many items have failed, those that have not started are cancelled.",
    )

    gang: fields.Gang = Field(
        default=None,
        description="Items that start together or not at all: `gang: 4` for gangs of four, or a mapping with size (all "
        "items where it is left out), mode (all, quorum, best_effort), min (of a quorum, so many at once) and "
        "on_failure (replace, abort, compensate). Without `count` the job is an array of that size.",
    )
    bundle: fields.Name = Field(
        default="",
        description="Jobs of a document with the same bundle are one gang, of different shapes; `gang` of one of them "
        "may say its mode and what happens on failure.",
    )

    _wishes: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _fits_together(self) -> "JobSpec":
        if self.to or self.method:
            self._is_a_message()
        elif bool(self.run) == bool(self.entry):
            found = "both" if self.run else "neither"
            raise ValueError(f'expected either run (a command) or entry ("module:function"), found {found}')
        if self.run and self.heartbeat_timeout:
            raise ValueError("expected no heartbeat_timeout for a command, which cannot say how far it is; use timeout")
        if self.run and (self.args or self.kwargs):
            raise ValueError("expected args and kwargs beside entry only; a command has its arguments in run")
        return self

    def _is_a_message(self) -> None:
        if not (self.to and self.method):
            raise ValueError(f"expected to (an agent) and method, found {'to' if self.to else 'method'} alone")
        for word in _OF_AGENTS:
            if word in self.model_fields_set and getattr(self, word):
                raise ValueError(f"{word}: expected it where the agent is registered, found it at a message")

    @model_validator(mode="after")
    def _limits_an_array(self) -> "JobSpec":
        for word, limit in (("at_most", self.at_most), ("max_failures", self.max_failures)):
            if limit is not None and self.size is None:
                raise ValueError(f"expected {word} of an array only (with count), found {limit} on a single job")
        return self

    @model_validator(mode="after")
    def _gang_is_whole(self) -> "JobSpec":
        if self.preemption is Eviction.SHRINK and not self.bundle:
            check_shrinks(self.gang)
        if self.gang is None and not self.bundle:
            return self
        if self.retry.on_oom is not None:
            raise ValueError("expected no on_oom with a gang, whose members stay alike, found both")
        best_effort = self.gang is not None and self.gang.mode is GangMode.BEST_EFFORT
        singleton = self.waits_for.singleton or self.waits_for.by_type
        if (self.at_most is not None or singleton) and not best_effort:
            word = "at_most" if self.at_most is not None else "singleton"
            raise ValueError(f"expected no {word} with a gang, whose members start together, found both")
        if self.bundle and self.idempotency_key:
            raise ValueError("expected no idempotency_key in a bundle, whose jobs are one, found both")
        if self.gang is not None and self.bundle and self.gang.size:
            raise ValueError(f"expected no size with a bundle, which is as large as its jobs, found {self.gang.size}")
        if self.gang is not None and not self.bundle:
            if self.size is None:
                raise ValueError("expected a size of the gang, or count, found neither")
            check_size(self.gang, self.size)
        return self

    @property
    def size(self) -> int | None:
        """How many items it has, None where it is a single job: a gang without a count has as many as its size."""
        if self.count is None and self.gang is not None and self.gang.size:
            return self.gang.size
        return self.count

    @property
    def wishes(self) -> tuple[str, ...]:
        """What was asked for and no room acts on yet; `lower` refuses a job that has any."""
        return self._wishes

    def wishing(self, wishes: Iterable[str]) -> "JobSpec":
        """A copy with wishes."""
        copy = self.model_copy()
        copy._wishes = tuple(wishes)  # noqa: SLF001 - of its own kind
        return copy


def json_schema() -> dict[str, Any]:
    """The JSON Schema of job documents, for editors; `configs/job.schema.json` is a copy."""
    from kos_ray.spec.editors import document_schema  # noqa: PLC0415 - the other forms build on this module

    return document_schema()
