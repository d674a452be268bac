"""Agents: what lives on under a name, is called, and comes back when it dies; see docs/agents.md."""

import getpass
import importlib
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack

from kos_ray.client.calls import checked_name, conditions
from kos_ray.client.code import folder_of
from kos_ray.client.declared import SAID
from kos_ray.client.emitting import Emitting
from kos_ray.client.job import Job, Parents
from kos_ray.client.options import PYTHON, message_spec
from kos_ray.client.packing import pack_call
from kos_ray.model.agents import Agent, agent_key
from kos_ray.model.dispatch import MODEL, To
from kos_ray.model.errors import InvalidSpec, NotFound
from kos_ray.model.ids import JobKey
from kos_ray.model.job import Eviction, Guarantee, Spec
from kos_ray.model.where import Selector
from kos_ray.model.wire import to_plain
from kos_ray.spec.agents import AgentForm, agent_form, methods_of, split_terms
from kos_ray.spec.fields import checked_key
from kos_ray.spec.lower import Draft
from kos_ray.spec.options import whoever

#: beyond its hooks' time: for calls that run when it is to stop, and for the saving of its state
_STOP_MS = 10_000


class Tending(Emitting):
    """The part of a client that is about agents."""

    def register_agent(
        self,
        make: type | str,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        start: bool = True,
        replace: bool = False,
        code: str | Path | None = None,
        **said: Any,
    ) -> dict[str, Any]:
        """Make an agent known, and start it: the class of which it is made, or a program's path.

        `name` is unique in the namespace, the class's own in small letters where none is given. The terms of an agent
        are those of docs/agents.md (`concurrency`, `snapshot_every`, `hook_timeout`, `roles`, ...); everything else is
        an option of `submit`. With `replace` another one of that name is replaced, from its next start on. `code` is
        as in `submit`.

        Raises:
            InvalidSpec, Refused: nothing was stored; the message says why.

        """
        said = {**getattr(make, SAID, {}), **said}
        if isinstance(make, type):
            name = said.pop("name", "") or make.__name__.lower()
            terms, options = split_terms(said)
            options |= {} if code is None else {"code": code}
            form = agent_form({"agent_id": name, "entry_point": f"{make.__module__}:{make.__qualname__}", **terms})
            spec = self._spec(make, {"type": name, **options})
            return self._register(form, spec, args, kwargs, methods_of(make), start=start, replace=replace)
        terms, options = split_terms({"agent_id": said.pop("name", ""), "entry_point": make, **said})
        if options:
            raise InvalidSpec(f"expected terms of an agent, found {', '.join(sorted(options))}; see docs/agents.md")
        folders = () if code is None else (Path(code),)
        return self.register_form(
            agent_form(terms), args=args, kwargs=kwargs, start=start, replace=replace, code=folders
        )

    def register_form(
        self,
        form: AgentForm,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        start: bool = True,
        replace: bool = False,
        code: Sequence[Path] = (),
    ) -> dict[str, Any]:
        """The same for what `spec.agents` made of a document. Its class is imported here, to know its methods.

        Raises:
            InvalidSpec, Refused: nothing was stored; the message says why.

        """
        folders = list(code) or [Path.cwd()]
        methods = methods_of(class_named(form.entry_point, folders)) if form.is_class else ()
        spec = self._with_folder(form.lower(self.namespace), folders, store=True)
        args, kwargs = args or form.args, kwargs or form.kwargs
        return self._register(form, spec, args, kwargs, methods, start=start, replace=replace)

    def _register(
        self,
        form: AgentForm,
        spec: Spec,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        methods: Sequence[str],
        *,
        start: bool,
        replace: bool,
    ) -> dict[str, Any]:
        name = checked_name(form.agent_id)
        if spec.results_to:
            raise InvalidSpec(f"results_to: expected it at messages, options(results_to=...), found at agent {name}")
        registered = Agent(
            name=name,
            namespace=spec.namespace,
            spec=_carrying(spec, form),
            args=self._payload(pack_call(tuple(args), kwargs, None)),
            methods=tuple(methods),
            **form.kept(),
        )
        plain = {"agent": to_plain(registered), "replace": replace}
        return self._agent_wish("start" if start else "register", name, namespace=spec.namespace, **plain)

    def agents(self) -> list[dict[str, Any]]:
        """All agents of all namespaces as they stand: `phase`, `node`, `messages` that wait or run, and so on."""
        return list(msgpack.unpackb(self._call(lambda: self._connection.ask_scheduler("agents"))))

    def get_agent(self, name: str) -> dict[str, Any]:
        """One of this namespace.

        Raises:
            NotFound: there is none of that name.

        """
        for one in self.agents():
            if (one["namespace"], one["name"]) == (self.namespace, name):
                return one
        raise NotFound(f"there is no agent {name!r} in namespace {self.namespace!r}; see `kos agent ls`")

    def agent(self, name: str) -> "AgentHandle":
        """What its methods are called by: `client.agent("counter").add(1)`. It stays good whatever becomes of it.

        Raises:
            NotFound: there is none of that name.

        """
        return AgentHandle(self, name, self.get_agent(name)["methods"])

    def start_agent(self, name: str) -> dict[str, Any]:
        """Let it run: begin its life, or go on from where it was suspended or given up."""
        return self._agent_wish("start", name)

    def stop_agent(self, name: str, note: str = "") -> dict[str, Any]:
        """End its life: it is told by `on_shutdown`, and its state is gone. Messages wait."""
        return self._agent_wish("stop", name, note=note)

    def suspend_agent(self, name: str, note: str = "") -> dict[str, Any]:
        """Have it save its state and give back what it holds, until it is resumed. Messages wait."""
        return self._agent_wish("suspend", name, note=note)

    def resume_agent(self, name: str) -> dict[str, Any]:
        """Let it go on, on whichever node has room."""
        return self._agent_wish("resume", name)

    def restart_agent(self, name: str) -> dict[str, Any]:
        """Have it save its state, end, and come back."""
        return self._agent_wish("restart", name)

    def remove_agent(self, name: str, *, force: bool = False) -> dict[str, Any]:
        """Forget one that is stopped; with `force` the messages that wait for it are cancelled."""
        return self._agent_wish("remove", name, force=force)

    def agent_logs(self, name: str) -> str:
        """What its last life has printed, that of its messages as well.

        Raises:
            NotFound: it never lived.

        """
        job = self.get_agent(name)["job"]
        if not job:
            lives = self._client.jobs(prefix=f"{name}@", limit=1)
            if not lives:
                raise NotFound(f"agent {name!r} has not been started yet: `kos agent start {name}`")
            job = lives[0].key
        return self._client._logs(JobKey(job), None)

    def _agent_wish(self, verb: str, name: str, *, namespace: str = "", **fields: Any) -> dict[str, Any]:
        if "agent" not in fields:
            self.get_agent(name)
        key = agent_key(namespace or self.namespace, name)
        plain = {"request_id": uuid.uuid4().hex, "verb": verb, "key": key, "by": getpass.getuser(), **fields}
        return self._ask_agent(plain)

    def _ask_agent(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        packed = msgpack.packb(plain)
        return dict(msgpack.unpackb(self._call(lambda: self._connection.ask_scheduler("agent", packed))))

    def role(self, role: str = "", **said: Any) -> "RoleHandle":
        """What the methods of whoever is able are called by: `client.role("summariser").tighten(text)`.

        `said` narrows it: `capabilities`, `skills`, `models`, `config`; `fallback` names roles that stand in, in order,
        and `affinity` an agent, or a tag of agents, that is preferred. Which agent handles a message is decided when it
        is ready, with those that there are then: `kos explain` says why that one.

        Raises:
            InvalidSpec: nobody could be meant.

        """
        return RoleHandle(self, whoever(role, said))

    def verify(self, ref: str, *, good: bool) -> dict[str, Any]:
        """Say that what an agent that is not trusted made of a message was good, or not; each counts once.

        Raises:
            NotFound: there is no such job.
            Refused: it is no result of such an agent, or was looked at before.

        """
        (view,) = self._client.views([ref])
        plain = {"request_id": uuid.uuid4().hex, "verb": "verify", "key": "", "job": view.key, "good": good}
        return self._ask_agent({**plain, "by": getpass.getuser()})

    def _message(
        self,
        name: str | To,
        method: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        after: Parents = (),
        idempotency_key: str = "",
        name_of_job: str = "",
        **options: Any,
    ) -> Job:
        inputs: dict[str, int] = {}
        payload = self._payload(pack_call(args, kwargs, inputs))
        spec = message_spec(name, method, options, self.namespace)
        waits_for = conditions(after, spec.type)
        draft = Draft(
            spec=spec,
            args=(payload,),
            name=checked_name(name_of_job) if name_of_job else "",
            after=waits_for.parents,
            inputs=tuple(inputs),
            rule=waits_for.rule,
            singleton=waits_for.singleton,
            idempotency_key=checked_key(idempotency_key),
            identity=f"{name}.{method}",
        )
        (job_id, key), *_ = self._send([draft])
        return Job(self._client, job_id, key)


def class_named(entry: str, folders: Sequence[Path]) -> type:
    """The class "module:Class", imported from the first of the folders that has its module, or from where Python looks.

    Raises:
        InvalidSpec: there is none, or its module cannot be imported.

    """
    module, _, path = entry.partition(":")
    folder = folder_of(entry, folders)
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except Exception as error:
        raise InvalidSpec(f"{entry} cannot be imported: {error!r}; say with `code` where its module lies") from error
    if not isinstance(found, type):
        raise InvalidSpec(f"{entry}: expected a class, found {found!r}")
    return found


def _carrying(spec: Spec, form: AgentForm) -> Spec:
    """The job that carries an agent: it runs until it is stopped, and one of a class saves its state when it has to go.

    An ephemeral one runs no longer than agents are to run that say nothing, and is not begun again by itself.
    """
    carries = form.carries()
    models = tuple(Selector(f"{MODEL}{name}") for name in form.needs.models)
    # a program has no state that anybody could save
    leaves = Eviction.CHECKPOINT if form.is_class else Eviction.REQUEUE
    eviction = Eviction.NEVER if spec.eviction is Eviction.NEVER else leaves
    return replace(
        spec,
        carries=carries,
        demands=replace(spec.demands, agent=True),
        eviction=eviction,
        guarantee=Guarantee.AT_LEAST_ONCE,
        grace_ms=carries.hook_ms + _STOP_MS,
        timeout_ms=form.limit_ms,
        where=replace(spec.where, labels=(*spec.where.labels, *models)) if models else spec.where,
        python=spec.python or PYTHON,
    )


class AgentHandle:
    """An agent, as whoever calls it sees it: its methods are attributes.

    handle.add(1)                                  the result
    handle.add.submit(1)                           the job, which is a message
    handle.add.options(timeout="5s", priority="high", idempotency_key="order-7")(1)
    """

    def __init__(self, client: Tending, name: str, methods: Sequence[str]) -> None:
        self._client = client
        self._name = name
        self._methods = tuple(methods)

    def __repr__(self) -> str:
        return f"<Agent {self._name}>"

    def __getattr__(self, method: str) -> "AgentMethod":
        if method.startswith("_"):
            raise AttributeError(method)
        if method not in self._methods:
            self._methods = tuple(self._client.get_agent(self._name)["methods"])
        if not self._methods:
            raise InvalidSpec(
                f"agent {self._name} is a program: expected one of a class to call {method}, see `kos agent logs`"
            )
        if method not in self._methods:
            raise AttributeError(f"agent {self._name} has no method {method!r}; it has {', '.join(self._methods)}")
        return AgentMethod(self._client, self._name, method, {})


class AgentMethod:
    """One method of an agent."""

    def __init__(self, client: Tending, name: str | To, method: str, options: Mapping[str, Any]) -> None:
        self._client = client
        self._name = name
        self._method = method
        self._options = options

    def __repr__(self) -> str:
        return f"<method {self._method} of {self._name}>"

    def options(self, **options: Any) -> "AgentMethod":
        """The same method, called with these: `after`, `name`, `idempotency_key`, and options as of `Client.submit`."""
        return AgentMethod(self._client, self._name, self._method, {**self._options, **options})

    def submit(self, *args: Any, **kwargs: Any) -> Job:
        """Send the message. It is durable when this returns.

        Raises:
            InvalidSpec, Refused: nothing was stored; the message says why.

        """
        options = dict(self._options)
        name_of_job = options.pop("name", "")
        return self._client._message(self._name, self._method, args, kwargs, name_of_job=name_of_job, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send the message, and wait for its result.

        Raises:
            JobFailed: it was not handled well.

        """
        return self.submit(*args, **kwargs).result()


class RoleHandle:
    """Whoever is able, as whoever calls it sees it: methods are attributes, as those of `AgentHandle` are."""

    def __init__(self, client: Tending, to: To) -> None:
        self._client = client
        self._to = to

    def __repr__(self) -> str:
        return f"<whoever has {self._to}>"

    def __getattr__(self, method: str) -> AgentMethod:
        if method.startswith("_"):
            raise AttributeError(method)
        return AgentMethod(self._client, self._to, method, {})


__all__ = ["AgentHandle", "AgentMethod", "RoleHandle", "Tending"]
