"""What people write of agents: a registration, or a document `kind: agent`, becomes the job that carries one."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator

from kos_ray.model.agent_snapshots import SNAPSHOTS_KEPT
from kos_ray.model.agents import LAZY, LIFETIMES, RESERVED, STANDBY, TRUST, VERIFY_AFTER
from kos_ray.model.dispatch import Needs
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import Carries, Spec
from kos_ray.spec import fields
from kos_ray.spec.explain import explain, field_names, join, problems
from kos_ray.spec.foreign import EXEC_ENVS, Registration
from kos_ray.spec.lower import lower_spec
from kos_ray.spec.options import checked
from kos_ray.spec.parse import integer_between, near, one_of, parse_flag, parse_text
from kos_ray.spec.places import Source, read_text
from kos_ray.spec.schema import Strict
from kos_ray.spec.settings import current
from kos_ray.spec.units import describe
from kos_ray.timing.civil import zone

#: an agent that is started by its messages goes when it had none for so long, where nobody says otherwise
_IDLE_MS = 60_000
#: those that act
_ENVS = ("actor", "subprocess")
_AT_ONCE_MAX = 1_000
_MESSAGES_MAX = 1_000_000
#: of a registration, what is an option of `submit` where a class is registered
_OPTIONS = ("namespace", "priority", "tags")


def _parse_env(value: object) -> str:
    found = one_of(*_ENVS, *(env for env in EXEC_ENVS if env not in _ENVS))(value)
    if found not in _ENVS:
        raise ValueError(f"expected {' or '.join(_ENVS)}, found {found}: it is not built yet")
    return found


def _parse_zone(value: object) -> str:
    found = parse_text(value, "a time zone")
    try:
        zone(found)
    except InvalidSpec as error:
        raise ValueError(str(error)) from None
    return found


_Env = Annotated[str, BeforeValidator(_parse_env), WithJsonSchema({"enum": list(_ENVS)})]
_Flag = Annotated[bool, BeforeValidator(parse_flag), WithJsonSchema({"type": "boolean"})]
_Standby = Annotated[str, BeforeValidator(one_of(*STANDBY)), WithJsonSchema({"enum": list(STANDBY)})]
_Trust = Annotated[str, BeforeValidator(one_of(*TRUST)), WithJsonSchema({"enum": list(TRUST)})]
_Lifetime = Annotated[str, BeforeValidator(one_of(*LIFETIMES)), WithJsonSchema({"enum": list(LIFETIMES)})]
_Zone = Annotated[str, BeforeValidator(_parse_zone), WithJsonSchema({"type": "string"})]
_AtOnce = Annotated[
    int,
    BeforeValidator(integer_between(1, _AT_ONCE_MAX)),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": _AT_ONCE_MAX}),
]
_Messages = Annotated[
    int,
    BeforeValidator(integer_between(0, _MESSAGES_MAX)),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": _MESSAGES_MAX}),
]


class NeedsForm(Strict):
    """What an agent needs before it can work."""

    models: fields.Names = Field(default=(), description="Models: a node that has them is labelled `model.NAME: yes`.")
    config: fields.Env = Field(default=(), description="Environment variables with their values; empty: any value.")
    files: tuple[fields.Text, ...] = Field(default=(), description="Paths that must be there on its node.")


class AgentForm(Registration):
    """An agent: a class or a program that lives on under a name."""

    agent_id: fields.Name = Field(description="The agent's name, unique in its namespace.")
    capabilities: fields.Names = Field(default=(), description="What it can do.")
    exec_env: _Env = Field(default="actor", description="actor, or subprocess: a process of its own either way.")
    entry_point: fields.Text = Field(description="Its class, module:Class, or the path of its program.")
    roles: fields.Names = Field(default=(), description="What it is to others.")
    skills: fields.Names = Field(default=(), description="What it is good at.")
    args: tuple[Any, ...] = Field(default=(), description="What its class is called with.")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="And by name.")
    concurrency: _AtOnce = Field(default=1, description="So many messages at once.")
    snapshot_every: _Messages = Field(
        default=0, description="Its state is saved after so many messages; 0: only before it is stopped for a while."
    )
    snapshot_interval: fields.Duration = Field(
        default=0, description="It is saved after so long as well, if it has handled something since. 0: not by time."
    )
    snapshots_kept: _AtOnce = Field(default=SNAPSHOTS_KEPT, description="So many of its newest snapshots are kept.")
    start_timeout: fields.Duration | None = Field(
        default=None,
        description="It takes messages after so long, its constructor, hooks and `restore` included, or its start has "
        "failed; 0: whenever it does. Where nothing is written, the settings' agent_timeout_default.",
    )
    heartbeat_timeout: fields.Duration = Field(
        default=0,
        description="When nothing was heard of its process for so long (it is frozen, or does not let go of the "
        "interpreter) it is ended: that is a crash, and a standby takes over. 0: nobody listens.",
    )
    hook_timeout: fields.Duration = Field(default=30_000, description="For each of its hooks.")
    reschedule_on_crash: _Flag = Field(default=True, description="Whether it is started again when its process dies.")
    max_crashes: _AtOnce = Field(default=5, description="Not more often than this ...")
    crash_window: fields.Duration = Field(default=600_000, description="... within this time.")
    standby: _Standby = Field(
        default="",
        description="It stands in for those that have its roles: cold (started when it is needed), warm (it runs), or "
        "hot (it runs, and takes the role over: who had it stands by when it comes back).",
    )
    parent: fields.Text = Field(default="", description="The agent that it belongs to.")
    trust: _Trust = Field(
        default="",
        description="normal; or low or experimental: then it handles nothing of bands 0 and 1 until so many of its "
        "results in a row were found good (`kos agent verify`).",
    )
    verify_after: _AtOnce = Field(default=VERIFY_AFTER, description="So many.")
    lifetime: _Lifetime = Field(
        default="persistent",
        description="persistent; on_demand: its first message starts it, and it sleeps when it has nothing to do; "
        "ephemeral: the same, but it ends after its work; cascading: it ends with its parent.",
    )
    idle_sleep: fields.Duration = Field(
        default=0,
        description="It sleeps when it had nothing to do for so long: its state is saved, it holds nothing, and its "
        "next message wakes it. 0: never; where its messages start it, 1m.",
    )
    after: fields.Names = Field(default=(), description="Agents that are to run before it starts.")
    needs: NeedsForm = Field(default_factory=NeedsForm, description="What it needs before it can work.")
    timezone: _Zone = Field(
        default="", description="Its time zone (IANA): of schedules that send it messages and name none."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "AgentForm":
        if self.lifetime == "cascading" and not self.parent:
            raise ValueError("expected parent (an agent) with lifetime cascading, found none: it ends with that")
        if self.agent_id in self.after:
            raise ValueError(f"after: expected other agents, found {self.agent_id} itself")
        return self

    @property
    def is_class(self) -> bool:
        """Whether a class is to be made, not a program to be run."""
        return ":" in self.entry_point and "/" not in self.entry_point

    def carries(self) -> Carries:
        """What the process of the agent has to know."""
        return Carries(
            name=self.agent_id,
            concurrency=self.concurrency,
            snapshot_every=self.snapshot_every,
            hook_ms=self.hook_timeout,
            restart=self.reschedule_on_crash and self.lifetime != "ephemeral",
            config=self.needs.config,
            files=self.needs.files,
            crashes_max=self.max_crashes,
            window_ms=self.crash_window,
            interval_ms=self.snapshot_interval,
            silent_ms=self.heartbeat_timeout,
            start_ms=current().agent_timeout_ms if self.start_timeout is None else self.start_timeout,
        )

    @property
    def limit_ms(self) -> int:
        """How long a life of it may last: only an ephemeral one has an end, 0 for all others."""
        return checked({"type": self.agent_id, "agent": True}).timeout if self.lifetime == "ephemeral" else 0

    def kept(self) -> dict[str, Any]:
        """The fields of `model.agents.Agent` that stand as they are written."""
        names = (
            *("exec_env", "capabilities", "roles", "skills", "standby", "parent", "trust", "verify_after", "after"),
            "snapshots_kept",
        )
        lazy = self.lifetime in LAZY or self.standby == "cold"
        return {name: getattr(self, name) for name in names} | {
            "timezone": self.timezone,
            "kind": self.lifetime,
            "idle_sleep_ms": self.idle_sleep or (_IDLE_MS if lazy and self.lifetime != "ephemeral" else 0),
            "requires": Needs(models=self.needs.models, config=self.needs.config, files=self.needs.files),
        }

    def lower(self, namespace: str) -> Spec:
        """The template of the job that carries it, but for what `carries` says."""
        plain = checked({"type": self.agent_id})
        resources = plain.resources.model_copy(update={"cpu": self.cpu, "gpu": self.gpu, "memory": self.memory})
        what = {"entry": self.entry_point} if self.is_class else {"entry": "", "run": (self.entry_point,)}
        said = {"priority": self.priority, "tags": self.tags, "resources": resources, **what}
        return lower_spec(plain.model_copy(update=said), self.namespace or namespace)


def agent_form(said: Mapping[str, Any]) -> AgentForm:
    """A form of what was said in Python.

    Raises:
        InvalidSpec: a term is not known or has a value that it cannot have.

    """
    try:
        return AgentForm.model_validate(dict(said))
    except ValidationError as error:
        found = [(".".join(map(str, place)), text) for place, text in problems(error, said, AgentForm)]
        raise InvalidSpec("\n".join(f"{place}: {text}" if place else text for place, text in found)) from None


def split_terms(said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The terms of an agent, and what is an option of `submit`."""
    known = field_names(AgentForm)
    by_path = "entry_point" in said
    terms = {name: value for name, value in said.items() if name in known and (by_path or name not in _OPTIONS)}
    return terms, {name: value for name, value in said.items() if name not in terms}


def load_agents(path: str | Path) -> list[AgentForm]:
    """The agents in a file: registrations, or documents `kind: agent`, one or a list of them.

    Raises:
        InvalidSpec: it cannot be read or accepted; with file and line.

    """
    source = Source(str(path), read_text(path))
    items = source.data if isinstance(source.data, list) else [source.data]
    if not items:
        raise source.problem((), "expected at least one agent, found an empty list")
    found: list[AgentForm] = []
    wrong: list[str] = []
    for index, item in enumerate(items):
        place = (index,) if isinstance(source.data, list) else ()
        if not isinstance(item, dict) or not item:
            wrong.append(source.message(place, f"expected an agent (a mapping with agent_id), found {describe(item)}"))
            continue
        if item.get("kind", "agent") != "agent":
            kind = item["kind"]
            wrong.append(
                source.message((*place, "kind"), f"expected agent, found {describe(kind)}{near(kind, ['agent'])}")
            )
            continue
        said = {name: value for name, value in item.items() if name != "kind"}
        try:
            found.append(AgentForm.model_validate(said))
        except ValidationError as error:
            wrong += explain(source, error, place, said, AgentForm)
    if wrong:
        raise InvalidSpec(join(wrong))
    return found


def methods_of(make: type) -> tuple[str, ...]:
    """What may be called of an agent of this class: public methods that are no hooks.

    Raises:
        InvalidSpec: there are none.

    """
    found = [
        name
        for name, member in inspect.getmembers(make, callable)
        if not name.startswith("_") and name not in RESERVED and not isinstance(member, type)
    ]
    if not found:
        raise InvalidSpec(f"{make.__qualname__}: expected a class with at least one public method, found none")
    return tuple(found)
