"""Messages to roles on a real cluster: to whoever is able, past those that decline, through deaths and sleep."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from kos_ray.journal.verify import verify
from kos_ray.model.errors import JobFailed, Refused
from kos_ray.runtime import audit
from tests.ray.conftest import KosCluster, run, wait_until
from tests.ray.offices import Office

pytestmark = pytest.mark.ray
#: of the default settings: within it a hot standby is to have taken over
_HEARTBEAT_S = 5.0
_HOLD_S = 1.0


def drawn(office: Office, job: str) -> dict[str, Any]:
    """What any client is told of who had a job: its machine has no journal."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HOME", str(office.kos.state_dir / "nobody"))
        return dict(run("graph", job, "--delegation"))


@pytest.fixture
def office(kos: KosCluster) -> Iterator[Office]:
    found = Office(kos)
    yield found
    found.close()


def test_two_of_a_role_share_its_messages_and_it_is_told_why(office: Office) -> None:
    office.hire("ann")
    office.hire("bob")
    office.until("ann", "running")
    office.until("bob", "running")
    clerks = office.client.role("clerk")
    jobs = [clerks.file.submit(str(number)) for number in range(20)]
    shares = Counter(job.result(60)[0] for job in jobs)
    assert set(shares) == {"ann", "bob"}
    assert min(shares.values()) >= 5
    story = audit.history(office.kos.state_dir, "default", jobs[0].id).story
    (assigned,) = [line for line in story if line.what == "assigned"]
    assert assigned.by in shares
    assert {"ann", "bob"} - {assigned.by} == {assigned.detail.partition(":")[0]}


def test_who_declines_is_passed_over_and_the_tree_tells_it(office: Office) -> None:
    office.hire("cat", declines="underqualified")
    office.until("cat", "running")
    office.hire("dan", roles=("helper",))
    office.until("dan", "running")
    job = office.client.role("clerk", fallback=["helper"]).file.submit("taxes")
    assert job.result(60)[0] == "dan"
    tree = drawn(office, job.id)
    steps = tree["steps"]
    assert [(step["agent"], step["outcome"]) for step in steps] == [("cat", "declined"), ("dan", "succeeded")]
    assert "underqualified: not taxes" in steps[0]["note"]
    refused = office.client.role("clerk").file.submit()
    with pytest.raises(JobFailed) as failed:
        refused.result(60)
    assert failed.value.reason == "all_declined"


def test_what_an_agent_delegates_is_its_messages_child(office: Office) -> None:
    office.hire("oda", concurrency=1)
    office.hire("pam", roles=("helper",), declines="underqualified")
    office.hire("pia", roles=("helper",))
    for name in office.names:
        office.until(name, "running")
    job = office.client.role("clerk").forward.submit("taxes")
    assert job.result(60) == ["oda", "pia"]
    tree = drawn(office, job.id)
    (child,) = tree["children"]
    assert (tree["label"], tree["steps"][0]["agent"], child["label"]) == ("clerk.forward", "oda", "helper.file")
    assert child["steps"][-1]["agent"] == "pia"


def test_nobody_able_is_told_with_what_is_missing(office: Office) -> None:
    office.hire("eve")
    office.until("eve", "running")
    job = office.client.role("clerk", capabilities=["chinese"]).file.submit()
    found = office.client.explain(job.id)
    assert found is not None
    assert found.reason == "nobody_able"
    assert [(one.agent, one.why) for one in found.passed] == [("eve", "lacks_capability")]
    office.hire("fay", capabilities=("chinese",))
    assert job.result(60)[0] == "fay"


def test_a_hot_standby_takes_over_within_a_heartbeat_and_the_old_one_stands_by(office: Office) -> None:
    office.hire("gus")
    office.hire("hal", standby="hot")
    office.until("gus", "running")
    office.until("hal", "running")
    clerks = office.client.role("clerk")
    name, pid = clerks.who()
    assert name == "gus"
    held = clerks.hold.submit(_HOLD_S)
    wait_until(lambda: held.status.state == "running")
    begun = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    assert held.result(60)[0] == "hal"
    took_s = time.monotonic() - begun - _HOLD_S
    print(f"the standby had done it {took_s:.2f} s after the primary was killed, less the time that it takes")
    assert took_s < _HEARTBEAT_S
    office.until("gus", "running")
    assert office.client.get_agent("hal")["leads"] == {"clerk": 1}
    assert [clerks.file()[0] for _ in range(4)] == ["hal"] * 4
    assert office.client.agent("gus").who()[0] == "gus"


def test_idle_it_sleeps_and_its_next_message_wakes_it(office: Office) -> None:
    office.hire("ida", idle_sleep="1s")
    ida = office.client.agent("ida")
    assert ida.file() == ("ida", 1)
    office.until("ida", "sleeping")
    assert office.client.get_agent("ida")["node"] == ""
    assert ida.file() == ("ida", 2)
    office.until("ida", "sleeping")
    assert office.client.role("clerk").file()[0] == "ida"


def test_on_demand_it_is_started_by_its_first_message(office: Office) -> None:
    office.hire("jan", lifetime="on_demand", idle_sleep="1s")
    assert office.phase("jan") == "registered"
    assert office.client.role("clerk").file()[0] == "jan"
    office.until("jan", "sleeping")
    office.hire("kim", lifetime="ephemeral", roles=("temp",))
    assert office.client.agent("kim").file()[0] == "kim"
    office.until("kim", "stopped")
    assert office.client.agent("kim").file() == ("kim", 1)


def test_low_trust_is_earned(office: Office) -> None:
    office.hire("lea", trust="experimental", verify_after=2)
    office.until("lea", "running")
    clerks = office.client.role("clerk")
    done = [clerks.file.submit() for _ in range(2)]
    for job in done:
        job.result(60)
    urgent = clerks.file.options(priority="critical").submit()
    found = office.client.explain(urgent.id)
    assert found is not None
    assert found.reason == "not_trusted"
    assert office.client.verify(done[0].id, good=True)["left"] == 1
    with pytest.raises(Refused, match="nobody has looked at yet"):
        office.client.verify(done[0].id, good=True)
    assert office.client.verify(done[1].id, good=True)["left"] == 0
    assert urgent.result(60)[0] == "lea"


def test_it_starts_when_those_run_that_go_before_it(office: Office) -> None:
    office.hire("max", after=("ned",))
    office.hire("zoe")
    office.until("zoe", "running")  # there is room, and it came later
    assert office.client.get_agent("max")["waits_for"] == ["ned"]
    waits = office.carrier("max")
    assert (waits.state, waits.reason, waits.attempt) == ("ready", "agent_before", 0)
    with pytest.raises(Refused, match="ned -> max -> ned"):
        office.hire("ned", after=("max",))
    office.hire("ned")
    office.until("max", "running")
    assert office.carrier("max").launched_us >= office.carrier("ned").entered_us > 0


def test_the_journal_is_whole(kos: KosCluster) -> None:
    report = verify(kos.state_dir)
    assert not report.damage
    assert not report.differences
