"""The schemas of jobs as other systems write them; `forms` tells them apart and makes house jobs of them.

- `HandedJob`: a job handed from one agent to another, with a payload for the handler of its type.
- `Task`: an action with a time or an occasion; `KlpTask` is one packed for another agent, `Handoff` the note about one.
- `UnifiedJob`: a job that may run here or in a network of agents.
- `Registration`: an agent that wants to be known and started.

State that a system gives a job on its way (who runs it, its progress, its result) is refused on submit.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from kos_ray.spec import fields, parse
from kos_ray.spec.parse import integer_between, number_between, one_of, parse_text
from kos_ray.spec.receiver import Receiver
from kos_ray.spec.schema import Common, ResourceSpec, Strict
from kos_ray.spec.units import describe

TASK_TYPES = ("cron", "once", "stream", "reaction", "external")
SCOPES = ("local", "network", "hybrid")
EXEC_ENVS = ("docker", "systemd", "subprocess", "sandbox")
#: what `execution` holds before anything has run
_FRESH: dict[str, Any] = {"progress": 0, "logs": []}


def _parse_path(value: object) -> str:
    return parse_text(value, "a program such as /app/start.sh")


def _parse_identity(value: object) -> Any:
    """An agent's identity: a name, or a mapping of what is known of it."""
    return value if isinstance(value, dict) and value else parse.parse_actor(value)


def _parse_fresh(value: object) -> Any:
    """`execution` of a job that has not run: anything else is a result, and nobody can wish for one."""
    found = parse.parse_mapping(value, "a mapping")
    known = ["assignedTo", "startTime", "progress", "logs", "result", "failureReason", "acceptedFrom"]
    for name, content in found.items():
        if name not in known:
            raise ValueError(f"expected a known field, found {name!r}{parse.near(name, known)}")
        if name not in _FRESH or isinstance(content, bool) or content != _FRESH[name]:
            raise ValueError(f"expected no results on submit, found {name} {describe(content)}: it is made by running")
    return found


def _parse_pending(value: object) -> str:
    if value != "pending":
        raise ValueError(f"expected pending on submit, found {describe(value)}: a status is made by running")
    return "pending"


_Packet = Annotated[str, BeforeValidator(one_of("klp/task")), WithJsonSchema({"enum": ["klp/task"]})]
_Note = Annotated[str, BeforeValidator(one_of("job_handoff")), WithJsonSchema({"enum": ["job_handoff"]})]
_TaskType = Annotated[str, BeforeValidator(one_of(*TASK_TYPES)), WithJsonSchema({"enum": list(TASK_TYPES)})]
_Scope = Annotated[str, BeforeValidator(one_of(*SCOPES)), WithJsonSchema({"enum": list(SCOPES)})]
_ExecEnv = Annotated[str, BeforeValidator(one_of(*EXEC_ENVS)), WithJsonSchema({"enum": list(EXEC_ENVS)})]
_Seconds = Annotated[
    int | None,
    BeforeValidator(integer_between(1, 315_360_000)),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 315_360_000}),
]
_Hops = Annotated[
    int | None,
    BeforeValidator(integer_between(0, 1_000)),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 1_000}),
]
_Module = Annotated[
    str,
    BeforeValidator(lambda value: parse.parse_dotted(value, "a module such as reports.daily")),
    WithJsonSchema({"type": "string"}),
]
_Function = Annotated[
    str,
    BeforeValidator(lambda value: parse.parse_dotted(value, "a function's name")),
    WithJsonSchema({"type": "string"}),
]
_Identity = Annotated[
    Any, BeforeValidator(_parse_identity), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})
]
_Signature = Annotated[
    str, BeforeValidator(lambda value: parse_text(value, "a signature as text")), WithJsonSchema({"type": "string"})
]
_Reputation = Annotated[
    float | None, BeforeValidator(number_between(0, 1_000_000)), WithJsonSchema({"type": "number", "minimum": 0})
]


class HandedJob(Common):
    """A job with a payload for the handler of its type."""

    type: fields.JobType = Field(description="Which handler gets the payload; see `handlers` of the settings.")
    payload: Any = Field(
        default_factory=dict, description="The handler's one argument; {from: job} stands for a result."
    )
    receiver: Receiver = Field(
        default="",
        description="The agent that is to handle it, by its method of the job's type: a name, or a mapping as of `to`.",
    )
    role: fields.Text = Field(default="", description="What the agent that is to handle it must be.")

    @model_validator(mode="after")
    def _has_one_target(self) -> "HandedJob":
        if self.receiver and self.role:
            raise ValueError("expected either receiver or role, found both; they name the same: who is to run it")
        return self


class Action(Strict):
    """What a task calls."""

    module: _Module = Field(
        description="The module, in the folder that it is submitted from, or one that every node can import."
    )
    function: _Function = Field(description="The function in it.")
    args: fields.Args = Field(default_factory=list, description="Its arguments.")


class Task(Common):
    """An action, now, at a time, again and again, or on an occasion."""

    type: _TaskType = Field(
        description="once runs it at `run_at`, or now; cron at all times that `repeat` names; reaction for each event "
        "that `on` names (the task's id where nothing is said), stream for one after another. external is not "
        "supported yet."
    )
    run_at: Annotated[
        fields.Instant | None,
        Field(description="When it is to run (now where that is over); of type cron, from when on."),
    ] = None
    repeat: fields.Cron = Field(default="", description="When it is to run again and again, for type cron.")
    on: fields.Names = Field(default=(), description="Events that it is for, of type reaction and stream.")
    action: Action = Field(description="What is called.")
    requires_trust: fields.Flag = Field(
        default=False, description="Whether it needs elevated rights. true is not supported yet."
    )

    @model_validator(mode="after")
    def _has_its_times(self) -> "Task":
        if self.type == "cron" and not self.repeat:
            raise ValueError("expected repeat (a cron expression) with type cron, found none")
        if self.repeat and self.type != "cron":
            raise ValueError(f"expected type cron with repeat, found type {self.type}")
        if self.on and self.type not in ("reaction", "stream"):
            raise ValueError(f"expected type reaction or stream with on, found type {self.type}")
        return self


class KlpTask(Strict):
    """A task packed for another agent."""

    kind: _Packet = Field(description="What the packet is.")
    origin: fields.Text = Field(description="The agent that sends it. Not supported yet.")
    target: fields.Text = Field(description="The agent that is to run it. Not supported yet.")
    task: Task = Field(description="The task.")
    signature: _Signature = Field(description="The origin's signature. Not supported yet.")


class Handoff(Strict):
    """The note that a job goes from one agent to another."""

    type: _Note = Field(description="What the note is. Not supported yet.")
    job_id: fields.Text = Field(description="The job.")
    receiver: fields.Text = Field(description="The agent that takes it. Not supported yet.")
    payload_hash: _Signature = Field(description="The hash of its payload. Not supported yet.")
    signature: _Signature = Field(description="The sender's signature. Not supported yet.")


class Requirements(Strict):
    """What a unified job needs of whoever runs it."""

    capabilities: fields.Names = Field(default=(), description="What its runner can do. Not supported yet.")
    resources: ResourceSpec | None = Field(default=None, description="What each attempt holds.")
    security: fields.Text = Field(default="", description="The level of security. Not supported yet.")
    reputation: _Reputation = Field(default=None, description="What its runner must have earned. Not supported yet.")


class Network(Strict):
    """How a unified job travels between agents."""

    issuer: _Identity = Field(default=None, description="Who issues it. Not supported yet.")
    signature: _Signature = Field(default="", description="The issuer's signature. Not supported yet.")
    ttl: _Seconds = Field(default=None, description="Seconds that it may travel. Not supported yet.")
    max_hops: _Hops = Field(default=None, alias="maxHops", description="Agents that it may pass. Not supported yet.")
    reward: Any = Field(default=None, description="What its runner gets. Not supported yet.")


class UnifiedJob(Common):
    """A job that runs here, in a network of agents, or in either."""

    type: fields.JobType = Field(description="Which handler gets the data; see `handlers` of the settings.")
    scope: _Scope = Field(default="local", description="Where it may run; network and hybrid are not supported yet.")
    status: Annotated[str, BeforeValidator(_parse_pending), WithJsonSchema({"const": "pending"})] = Field(
        default="pending", description="pending: on submit there is no other."
    )
    created: Annotated[
        fields.Instant | None, Field(description="When it was written: provenance, kept as the tag `created:INSTANT`.")
    ] = None
    data: Any = Field(default_factory=dict, description="The handler's one argument; {from: job} stands for a result.")
    requirements: Requirements = Field(default=Requirements(), description="What it needs.")
    network: Annotated[Network | None, Field(description="How it travels. Not supported yet.")] = None
    execution: Annotated[
        dict[str, Any],
        BeforeValidator(_parse_fresh),
        WithJsonSchema({"type": "object", "properties": {"progress": {"const": 0}, "logs": {"maxItems": 0}}}),
    ] = Field(default_factory=dict, description="progress 0 and no logs: all else is made by running.")

    @model_validator(mode="after")
    def _needs_once(self) -> "UnifiedJob":
        if self.requirements.resources is not None and "resources" in self.model_fields_set:
            raise ValueError("expected either resources or requirements.resources, found both")
        if self.network is not None and self.scope == "local":
            raise ValueError("expected scope network or hybrid with network, found scope local")
        return self


class Registration(Strict):
    """An agent that wants to be known. `kos agent register` takes it; among jobs it is refused."""

    agent_id: fields.Name = Field(description="The agent's name.")
    namespace: fields.Namespace = Field(default="", description="The tenant that it belongs to.")
    capabilities: fields.Names = Field(default=(), description="What it can do.")
    exec_env: _ExecEnv = Field(default="subprocess", description="What it runs in; subprocess acts.")
    entry_point: Annotated[str, BeforeValidator(_parse_path), WithJsonSchema({"type": "string"})] = Field(
        description="The program that starts it."
    )
    priority: fields.Priority = Field(default=3, description="Its band.")
    tags: fields.Tags = Field(default=(), description="Words to find it by.")
    cpu: fields.Amount = Field(default=10_000, description="CPUs that it holds.")
    gpu: fields.Amount = Field(default=0, description="GPUs that it holds.")
    memory: fields.Bytes = Field(default=0, description='Memory that it holds, such as "4GB".')
