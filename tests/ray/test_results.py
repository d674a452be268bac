"""Where results go, on a real cluster, through a kill of the reader whose herald delivers them."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import keepers
import pytest

from tests.ray.conftest import CODE, KosCluster, wait_until
from tests.ray.test_hooks import reader_pid

pytestmark = pytest.mark.ray

COUNT = 6


@pytest.fixture
def clerk(kos: KosCluster) -> Iterator[Any]:
    kos.client.register_agent(keepers.Clerk, name="clerk", code=CODE)
    yield kos.client.agent("clerk")
    kos.client.stop_agent("clerk")
    wait_until(lambda: kos.client.get_agent("clerk")["phase"] == "stopped")
    kos.client.remove_agent("clerk", force=True)


def test_results_go_to_agent_file_and_mailbox_once_through_kills(kos: KosCluster, clerk: Any) -> None:
    def made(number: int) -> dict[str, int]:
        return {"number": number}

    places = [{"file": "made/{id}.json"}, {"mailbox": "made"}, {"agent": "clerk", "method": "take"}]
    place = kos.client.status().seq
    jobs = []
    for number in range(COUNT):
        jobs.append(kos.client.submit(made, number, results_to=places, resources={"cpu": 0.1}))
        if number == COUNT // 2:
            jobs[-1].result(60)
            os.kill(reader_pid(), signal.SIGKILL)
    wait_until(lambda: len(clerk.all()) == COUNT)
    wait_until(lambda: len(kos.client.mailbox("made").peek()) == COUNT)
    folder = kos.state_dir / "results" / "made"
    wait_until(lambda: len(list(folder.glob("*.json"))) == COUNT)
    wanted = [{"number": number} for number in range(COUNT)]
    assert sorted(clerk.all(), key=str) == wanted
    assert sorted((one.value for one in kos.client.mailbox("made").peek()), key=str) == wanted
    assert [json.loads((folder / f"{job.id}.json").read_text()) for job in jobs] == wanted
    found = [one.value for one in kos.client.results(type="made", since=place, follow=False)]
    assert sorted(found, key=str) == wanted
