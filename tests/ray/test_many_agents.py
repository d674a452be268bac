"""Twenty agents pass messages on to each other while one of them is killed: none is lost, each takes effect once."""

import os
import signal

import pytest

from benchmarks import agents
from tests.ray.conftest import KosCluster, wait_until

pytestmark = pytest.mark.ray

AGENTS, MESSAGES = 20, 500


def test_none_is_lost_and_none_takes_effect_twice(kos: KosCluster) -> None:
    client = kos.client
    names = agents.register(client, AGENTS, snapshot_every=1)
    wait_until(lambda: all(one["phase"] == "running" for one in client.agents()), 240)
    pid = client.agent(names[0]).pid()
    before = agents.succeeded(client)
    agents.ring(client, names, MESSAGES)
    wait_until(lambda: agents.succeeded(client) - before >= MESSAGES // 5)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: agents.succeeded(client) - before >= MESSAGES, 120)
    assert agents.tally(client, names, MESSAGES) == (0, 0)
    assert client.get_agent(names[0])["crashes"] == 1
    assert client.agent(names[0]).pid() != pid
    uses = {use[0]: use[3] for node in client.node_standings() for use in node.uses}
    held = [uses[one["job"]] for one in client.agents() if one["job"] in uses]
    assert held
    assert max(held) < 200 * 2**20, "an idle agent is a small process"
