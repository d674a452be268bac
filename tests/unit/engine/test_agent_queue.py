"""What one agent has to do, as the engine tells it."""

from dataclasses import replace

import pytest
from engine_build import array
from test_engine_agents import COUNTER, MESSAGE, Keeper

from kos_ray.engine.agent_queue import plain_queue
from kos_ray.engine.agents import plain_agents
from kos_ray.model.errors import NotFound


def test_its_queue_is_in_the_order_in_which_it_is_handled() -> None:
    hands = Keeper()
    hands.wish("start", COUNTER)
    hands.say()
    urgent = replace(MESSAGE, band=0)
    hands.submit(array("a", 3, spec=MESSAGE), request="one", spec=MESSAGE)
    hands.submit(array("b", spec=urgent), request="two", spec=urgent)
    hands.tick()
    state = hands.engine.state
    queue = plain_queue(state, COUNTER.key, 10)
    assert (queue["name"], queue["phase"], queue["messages"]) == ("counter", "running", 4)
    assert len(queue["handling"]) + len(queue["waiting"]) == 4
    assert queue["later"] == 0
    bands = [state.jobs[key].entry.spec.band for key in queue["waiting"]]
    assert bands == sorted(bands)
    assert sum(queue["bands"].values()) == len(queue["waiting"])
    assert plain_queue(state, COUNTER.key, 1)["waiting"] == queue["waiting"][:1]
    (plain,) = plain_agents(state)
    assert plain["handling"] == len(queue["handling"]) > 0


def test_while_it_is_away_all_of_them_wait() -> None:
    hands = Keeper()
    hands.wish("start", COUNTER)
    hands.say()
    hands.wish("suspend")
    spec = replace(MESSAGE, band=4)
    hands.submit(array("a", spec=spec), request="one", spec=spec)
    hands.submit(array("b", spec=MESSAGE, after=(("a", 0),)), request="two", spec=MESSAGE)
    hands.tick()
    queue = plain_queue(hands.engine.state, COUNTER.key, 10)
    assert (queue["bands"], len(queue["waiting"]), queue["later"]) == ({"idle": 1}, 1, 1)
    with pytest.raises(NotFound, match="no agent 'nobody'"):
        plain_queue(hands.engine.state, "default\0nobody", 10)
