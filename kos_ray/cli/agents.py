"""`kos agent register|start|stop|restart|suspend|resume|ls|top|get|call|verify|logs|rm`: the agents of a cluster."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import json
from collections.abc import Mapping
from pathlib import Path
from pprint import pformat
from typing import Annotated, Any

import typer

from kos_ray.cli.agent_top import top
from kos_ray.cli.output import emit, now_us, say, show_panel, show_table, width
from kos_ray.cli.shell import Address, Code, Exit, Json, Namespace, example, fail, new_app, open_client
from kos_ray.observe.agents import use_words, with_use
from kos_ray.observe.load import HOLDING_STATES
from kos_ray.observe.tables import Table

app = new_app("Agents: what lives on under a name, is called, and comes back when it dies.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The agent's name.")]
Note = Annotated[str, typer.Option("--note", help="Why, for whoever looks.")]
_DOCUMENTS = (".yaml", ".yml", ".json")


@app.command(
    epilog=example(
        "kos agent register agents/optimizer.yaml",
        "kos agent register agents.health_monitor:HealthMonitor --name health --code .",
        "kos agent register /app/start.sh --name daemon --no-start",
    )
)
def register(
    what: Annotated[
        str, typer.Argument(metavar="FILE|MODULE:CLASS|PROGRAM", help="Documents, a class, or a program's path.")
    ],
    name: Annotated[str, typer.Option("--name", help="Of a class or a program.")] = "",
    start: Annotated[bool, typer.Option("--start/--no-start", help="Whether its life begins now.")] = True,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of the one of that name, from its next start on.")
    ] = False,
    code: Code = None,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Make agents known, and start them."""
    from kos_ray.client.agents import class_named
    from kos_ray.spec.agents import load_agents

    terms: dict[str, Any] = {"start": start, "replace": replace}
    folder = code or Path.cwd()
    with open_client(address, namespace) as client:
        if what.endswith(_DOCUMENTS):
            folders = [folder, Path(what).resolve().parent]
            found = [client.register_form(form, code=folders, **terms) for form in load_agents(what)]
        elif ":" in what and "/" not in what:
            terms |= {"name": name} if name else {}
            found = [client.register_agent(class_named(what, [folder]), code=folder, **terms)]
        elif name:
            found = [client.register_agent(what, name=name, exec_env="subprocess", **terms)]
        else:
            raise fail("expected --name with a program", Exit.USAGE)
    if as_json:
        emit({"agents": found})
        return
    for one in found:
        say(f"{one['name']} {'starts' if one['job'] else 'is registered'}")


def _do(verb: str, told: str, name: str, address: str | None, namespace: str, as_json: bool, **fields: Any) -> None:
    with open_client(address, namespace) as client:
        found = getattr(client, f"{verb}_agent")(name, **fields)
    emit(found) if as_json else say(f"{name} {told}")


@app.command(epilog=example("kos agent start optimizer"))
def start(name: Name, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Begin an agent's life, or let it go on that was suspended or given up."""
    _do("start", "starts", name, address, namespace, as_json)


@app.command(epilog=example("kos agent stop optimizer"))
def stop(
    name: Name, note: Note = "", address: Address = None, namespace: Namespace = "default", as_json: Json = False
) -> None:
    """End an agent's life; its state goes with it (suspend keeps it), its messages wait."""
    _do("stop", "is to end", name, address, namespace, as_json, note=note)


@app.command(epilog=example("kos agent restart optimizer"))
def restart(name: Name, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Have an agent save its state, end, and come back."""
    _do("restart", "starts anew", name, address, namespace, as_json)


@app.command(epilog=example("kos agent suspend optimizer --note 'the GPU is needed'"))
def suspend(
    name: Name, note: Note = "", address: Address = None, namespace: Namespace = "default", as_json: Json = False
) -> None:
    """Have an agent save its state and give back what it holds; its messages wait."""
    _do("suspend", "is to be suspended", name, address, namespace, as_json, note=note)


@app.command(epilog=example("kos agent resume optimizer"))
def resume(name: Name, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Let a suspended agent go on, on whichever node has room."""
    _do("resume", "goes on", name, address, namespace, as_json)


@app.command("ls", epilog=example("kos agent ls", "kos agent ls --json | jq '.agents[].phase'"))
def list_agents(address: Address = None, namespace: Namespace = "", as_json: Json = False) -> None:
    """List agents, of all namespaces or of one."""
    with open_client(address, namespace or "default") as client:
        found = [one for one in client.agents() if namespace in ("", one["namespace"])]
    if as_json:
        emit({"agents": found})
    elif found:
        columns = ("name", "namespace", "phase", "node", "messages", "crashes", "runs")
        show_table(Table(columns=columns, rows=tuple(map(_row, found))))
    else:
        say("no agents")


app.command(
    "top", epilog=example("kos agent top", "kos agent top --once", "kos agent top --json | jq '.agents[].cpu'")
)(top)


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = (str(one["messages"]), str(one["crashes"]))
    return (one["name"], one["namespace"], _phase(one), one["node"], *numbers, one["runs"])


def _phase(one: Mapping[str, Any]) -> str:
    return f"{one['phase']}, stopping" if one["stopping"] else str(one["phase"])


@app.command("get", epilog=example("kos agent get optimizer"))
def get_agent(name: Name, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Show everything about one agent."""
    with open_client(address, namespace) as client:
        (one,) = with_use([client.get_agent(name)], client.agent_uses(), {})
        carriers = client.views_of([one["job"]]) if one["node"] else []
    #: of the process in which it lives, 0 while it has none
    one["pid"] = next((view.pid for view in carriers if view.state in HOLDING_STATES), 0)
    del one["done_per_minute"]
    if as_json:
        emit(one)
        return
    lines = [("name", f"{one['namespace']}/{one['name']}"), ("phase", _phase(one)), ("wanted", one["wanted"])]
    lines += [("note", one["note"])] if one["note"] else []
    lines += [("runs", f"{one['runs']} ({one['exec_env']}), band {one['band']}")]
    process = f", process {one['pid']}" if one["pid"] else ""
    lines += [("node", f"{one['node']}, attempt {one['attempt']}{process}")] if one["node"] else []
    lines += [("messages", f"{one['waiting']} wait, {one['handling']} handled, {one['concurrency']} at once")]
    cpu, memory, measured = use_words(one, now_us())
    lines += [("uses", f"{cpu} of a core, {memory}; measured {measured}")] if measured else []
    lines += [("crashes", f"{one['crashes']}; see `kos ls --name {name}@`")] if one["crashes"] else []
    lines += _dispatch_lines(one)
    for what in ("methods", "capabilities", "roles", "skills", "tags"):
        lines += [(what, ", ".join(one[what]))] if one[what] else []
    show_panel(lines)


def _dispatch_lines(one: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How it takes part in its roles, and what it waits for."""
    lines = [("life", one["kind"])] if one["kind"] != "persistent" else []
    lines += [("stands by", one["standby"])] if one.get("standby") else []
    lines += [("has taken over", ", ".join(f"{role} (term {term})" for role, term in one["leads"].items()))]
    if one.get("trust"):
        trusted = "trusted now" if one["trusted"] else f"{one['verified']} results in a row found good"
        lines.append(("trust", f"{one['trust']}, {trusted}"))
    lines += [("waits for", ", ".join(one["waits_for"])), ("lacks", one.get("lacks", ""))]
    return [line for line in lines if line[1]]


@app.command(epilog=example("kos agent verify summary-7 ok", "kos agent verify summary-8 bad"))
def verify(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A message that the agent has handled.")],
    found: Annotated[str, typer.Argument(metavar="ok|bad", help="What its result is.")],
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Say whether a result of an agent that is not trusted was good: after so many in a row it is trusted."""
    if found not in ("ok", "bad"):
        raise fail(f"expected ok or bad, found {found!r}", Exit.USAGE)
    with open_client(address, namespace) as client:
        said = client.verify(job, good=found == "ok")
    if as_json:
        emit(said)
    else:
        left = f"{said['left']} more until it is trusted" if said["left"] else "it is trusted"
        say(f"{said['name']}: {said['verified']} results in a row found good, {left}")


@app.command(
    epilog=example(
        "kos agent call counter add 5",
        "kos agent call optimizer suggest 'a prompt' most=3",
        "kos agent call --role summariser --capability german tighten 'a long text'",
    )
)
def call(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME] METHOD [ARG|KEY=ARG]...",
            help="The agent (not with --role or --capability), its method, and JSON each; what is none is a text.",
        ),
    ],
    role: Annotated[str, typer.Option("--role", help="Whoever has this role, and is able.")] = "",
    capability: Annotated[list[str] | None, typer.Option("--capability", help="And this capability.")] = None,
    fallback: Annotated[list[str] | None, typer.Option("--fallback", help="A role that stands in.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Print its result, or only the job's id.")] = True,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds to wait at most.")] = None,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Send a message to an agent, or to whoever has a role; exit code 1 if it was not handled well."""
    known = {"role": role, "capabilities": capability, "fallback": fallback}
    wanted: dict[str, Any] = {what: said for what, said in known.items() if said}
    if len(words) < (1 if wanted else 2):
        raise fail("expected an agent's name and a method, or --role and a method", Exit.USAGE)
    name, method, *args = ["", *words] if wanted else words
    plain, named = _arguments(args)
    with open_client(address, namespace) as client:
        handle = client.role(**wanted) if wanted else client.agent(name)
        try:
            job = getattr(handle, method).submit(*plain, **named)
        except AttributeError as error:
            raise fail(str(error), Exit.USAGE) from None
        value = job.result(timeout) if wait else None
    if as_json:
        emit({"agent": name, **wanted, "method": method, "job": job.id, **({"result": value} if wait else {})})
    elif wait:
        typer.echo(value if isinstance(value, str) else pformat(value, width=min(width(), 120)))
    else:
        typer.echo(job.id)


def _arguments(words: list[str]) -> tuple[list[Any], dict[str, Any]]:
    plain: list[Any] = []
    named: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if equals and key.isidentifier():
            named[key] = _value(text)
        else:
            plain.append(_value(word))
    return plain, named


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@app.command(epilog=example("kos agent logs optimizer"))
def logs(name: Name, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Print what an agent has printed in its last life, that of its messages as well."""
    with open_client(address, namespace) as client:
        text = client.agent_logs(name)
    emit({"agent": name, "text": text}) if as_json else typer.echo(text, nl=False)


@app.command("rm", epilog=example("kos agent rm optimizer"))
def remove(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Messages that wait for it are cancelled.")] = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Forget an agent that is stopped."""
    _do("remove", "is gone", name, address, namespace, as_json, force=force)
