"""Two hundred small agents on one machine, and ten thousand messages among them: is one lost, or handled twice?

    python -m benchmarks.agents [--agents N] [--messages N]
    python -m benchmarks.agents --killed

Each agent is a process. The driver gives each a message, and agents pass them on by `kos.context().agent(...)`; in the
end each says what it has handled. Memory is what a process shares with nobody, as its node measures it.

With --killed: how soon callers have their answer when an agent's process is killed (SIGKILL), from the same agent with
its last snapshot, and from a hot standby. Each round has agents of its own, since the pause before a start grows.
"""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.report import Row, once, show
from kos_ray.client import Client, connect
from kos_ray.runtime import connect as clusters

NAMES = ("many_agents_up", "many_agents_messages", "many_agents_lost", "many_agents_doubled", "many_agents_memory")
AGENTS, MESSAGES = 200, 10_000
KILLED_NAMES = ("agent_back_s", "agent_takeover_s")
ROUNDS = 5
#: seconds within which an agent is back, and beyond a `heartbeat_interval` a standby has answered
_BACK_S, _SLACK_S = 5.0, 0.5
#: messages that wait for an agent when it is killed, and seconds that one takes which it has then
_WAITING, _NAP_S = 3, 1.5
CODE = Path(__file__).parent / "code"
_LOOK_S = 0.5
_MIB = 2**20


def register(client: Client, count: int, **said: Any) -> list[str]:
    """So many ringers; their names."""
    sys.path.insert(0, str(CODE))
    from ringers import Ringer  # type: ignore[import-not-found]  # noqa: PLC0415 - as its users import it

    names = [f"ringer-{number}" for number in range(count)]
    for number, name in enumerate(names):
        client.register_agent(Ringer, name=name, args=(number, count), code=CODE, **said)
    return names


def ring(client: Client, names: list[str], messages: int) -> None:
    """Give each agent a message that is passed on, so that there are so many in all."""
    hops = messages // len(names)
    for token, name in enumerate(names):
        client.agent(name).hop.submit(token, hops - 1)


def tally(client: Client, names: list[str], messages: int) -> tuple[int, int]:
    """How many messages nobody has handled, and how many were handled more than once."""
    heard: Counter[tuple[int, int]] = Counter()
    for job in [client.agent(name).heard.submit() for name in names]:
        for token, left, times in job.result(120):
            heard[token, left] += times
    hops = messages // len(names)
    expected = {(token, left) for token in range(len(names)) for left in range(hops)}
    return len(expected - heard.keys()), sum(times > 1 for times in heard.values())


def until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for something; how long that took."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > seconds:
            raise TimeoutError(f"not so after {seconds:.0f} s")
        time.sleep(_LOOK_S)
    return time.perf_counter() - began


def succeeded(client: Client) -> int:
    """Jobs that have, messages among them."""
    return client.status().jobs.get("succeeded", 0)


def rows(agents: int = AGENTS, messages: int = MESSAGES) -> Iterator[Row]:
    """The rows of `NAMES`."""
    with tempfile.TemporaryDirectory(prefix="kos-agents-") as folder:
        state = Path(folder)
        report = clusters.up(state_dir=state, num_cpus=4)
        try:
            with connect(report.address, start=False) as client:
                yield from _rows(client, agents, messages)
        finally:
            clusters.down(state_dir=state)


def _rows(client: Client, agents: int, messages: int) -> Iterator[Row]:
    began = time.perf_counter()
    names = register(client, agents)
    until(lambda: all(one["phase"] == "running" for one in client.agents()), 5 * agents + 60)
    up = agents / (time.perf_counter() - began)
    yield once("many_agents_up", up, "/s", "-", met=True)
    carriers = {one["job"] for one in client.agents()}
    uses = [use for node in client.node_standings() for use in node.uses if use[0] in carriers]
    before = succeeded(client)
    sent = time.perf_counter()
    ring(client, names, messages)
    until(lambda: succeeded(client) - before >= messages, 900)
    yield once("many_agents_messages", messages / (time.perf_counter() - sent), "/s", "-", met=True)
    lost, doubled = tally(client, names, messages)
    yield once("many_agents_lost", lost, "messages", "0", met=not lost)
    yield once("many_agents_doubled", doubled, "messages", "0", met=not doubled)
    memory = statistics.median(memory for *_, memory in uses) / _MIB if uses else 0.0
    yield once("many_agents_memory", memory, "MiB", "-", met=bool(uses))


def killed_rows() -> Iterator[Row]:
    """The rows of `KILLED_NAMES`."""
    with tempfile.TemporaryDirectory(prefix="kos-agents-") as folder:
        state = Path(folder)
        report = clusters.up(state_dir=state, num_cpus=4)
        try:
            with connect(report.address, start=False) as client:
                yield _back(client)
                yield _taken_over(client)
        finally:
            clusters.down(state_dir=state)


def _keepers(client: Client, **by_name: dict[str, Any]) -> None:
    """Agents of these names, with what is said of each, which run when this returns."""
    sys.path.insert(0, str(CODE))
    from ringers import Keeper  # type: ignore[import-not-found]  # noqa: PLC0415 - as its users import it

    for name, said in by_name.items():
        client.register_agent(Keeper, name=name, code=CODE, **said)
    until(lambda: all(client.get_agent(name)["phase"] == "running" for name in by_name), 120)


def _back(client: Client) -> Row:
    """From the kill of an agent's process to the first answer of the agent that is restored."""
    names = [f"back{number}" for number in range(ROUNDS)]
    _keepers(client, **{name: {} for name in names})
    took_s = []
    for name in names:
        agent = client.agent(name)
        agent.add()
        pid = agent.pid()
        os.kill(pid, signal.SIGKILL)
        began = time.perf_counter()
        jobs = [agent.add.submit() for _ in range(_WAITING)]
        first = jobs[0].result(120)
        took_s.append(time.perf_counter() - began)
        found = [first, *(job.result(120) for job in jobs[1:])]
        if found != list(range(2, 2 + _WAITING)) or agent.pid() == pid:
            raise AssertionError(f"expected the last snapshot and all messages in another process, found {found}")
    value = statistics.median(took_s)
    return once("agent_back_s", value, "s", f"<= {_BACK_S:g} s", met=value <= _BACK_S)


def _taken_over(client: Client) -> Row:
    """From the kill of a primary's process to the first answer of the hot standby of its role."""
    names = [(f"first{number}", f"hot{number}", f"role{number}") for number in range(ROUNDS)]
    for first, hot, role in names:
        # a save after each message would wait for the one that is handled beside it
        said = {"roles": (role,), "concurrency": 2, "snapshot_every": 0}
        _keepers(client, **{first: said, hot: {**said, "standby": "hot"}})
    took_s = []
    for _, hot, role in names:
        agents, standby = client.role(role), client.agent(hot).pid()
        pid = agents.pid()
        held = agents.nap.submit(_NAP_S)
        until(lambda held=held: held.status.state == "running", 60)
        os.kill(pid, signal.SIGKILL)
        began = time.perf_counter()
        answered = agents.pid()
        took_s.append(time.perf_counter() - began)
        if {answered, held.result(120)} != {standby} or pid == standby:
            raise AssertionError(f"expected answers of process {standby}, found {answered} and {held.result(0)}")
    value = statistics.median(took_s)
    beat_s = client.settings().heartbeat_us / 1e6
    goal = f"<= {beat_s:g} + {_SLACK_S:g} s"
    return once("agent_takeover_s", value, "s", goal, met=value <= beat_s + _SLACK_S)


def main() -> int:
    """Run and show."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agents")
    parser.add_argument("--agents", type=int, default=AGENTS)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--killed", action="store_true")
    arguments = parser.parse_args()
    found = []
    for row in killed_rows() if arguments.killed else rows(arguments.agents, arguments.messages):
        print(f"{row.name}: {row.value:,.2f} {row.unit}", file=sys.stderr, flush=True)
        found.append(row)
    print(show(found))
    return 0 if all(row.met for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
