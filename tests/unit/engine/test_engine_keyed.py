"""Idempotency keys at admission: one key is one job, now, in the same tick, after the end and after a restart."""

from dataclasses import replace
from typing import Any

import pytest
from engine_build import NODE, SPEC, Hands, array, ended

from kos_ray.journal.verify import verify
from kos_ray.model.errors import Refused
from kos_ray.model.gang import GangSpec
from kos_ray.model.hashing import spec_hash
from kos_ray.model.job import JobState, Spec
from kos_ray.model.protocol import Accepted, Array, Submit

LATER = Spec(entry="module:other", resources=SPEC.resources, python="3.11")


def keyed(id_: str, key: str = "k", payload: str = "p", **fields: Any) -> Array:
    return array(id_, idempotency_key=key, payload=payload, **fields)


def test_a_key_that_is_known_is_the_job_that_has_it() -> None:
    hands = Hands()
    first = hands.submit(keyed("a"), request="r1")
    again = hands.submit(keyed("b"), request="r2")
    assert (first.first, first.known) == (1, ())
    assert (again.job_count, again.known) == (0, ((0, 1, "a"),))
    assert list(hands.engine.state.jobs) == [1]


def test_a_new_spec_of_a_job_that_was_there_before_gets_no_key_that_another_has() -> None:
    """A program of another version sends a job anew, with one that is new: its spec is not stored, as nobody has it."""
    hands = Hands()
    hands.submit(keyed("a"), request="r1")
    new, another, last = (Spec(entry=f"module:{name}", python="3.11") for name in ("new", "another", "last"))
    specs = tuple((spec_hash(spec), spec) for spec in (new, another))
    arrays = (array("b", spec=new), keyed("c", spec=another))
    hands.engine.submit(Submit(request_id="r2", arrays=arrays, specs=specs), hands.answers.append)
    hands.tick()
    assert hands.answers[-1].known == ((1, 1, "a"),)
    hands.submit(array("d", spec=last), request="r3", spec=last)
    hands.submit(array("e", spec=another), request="r4", spec=another)
    jobs = hands.engine.state.jobs.values()
    assert [job.entry.spec.entry for job in jobs] == [SPEC.entry, "module:new", "module:last", "module:another"]


def test_sixty_four_requests_of_one_tick_make_one_job() -> None:
    hands = Hands()
    for number in range(64):
        specs = ((spec_hash(SPEC), SPEC),)
        request = Submit(request_id=f"r{number}", arrays=(keyed(f"id{number}"),), specs=specs)
        hands.engine.submit(request, hands.answers.append)
    hands.tick()
    firsts = {answer.known[0][1:] if answer.known else (answer.first, "id0") for answer in hands.answers}
    assert len(hands.answers) == 64
    assert firsts == {(1, "id0")}
    assert list(hands.engine.state.jobs) == [1]


def test_another_payload_is_refused_with_the_key_the_job_and_what_to_do() -> None:
    hands = Hands()
    hands.submit(keyed("a"), request="r1")
    answer = hands.submit(keyed("b", payload="q"), request="r2")
    assert isinstance(answer, Refused)
    for words in ("idempotency_key 'k'", "job a has it in namespace 'default'", "choose another key", "kos get a"):
        assert words in str(answer)
    assert list(hands.engine.state.jobs) == [1]


@pytest.mark.parametrize(
    "change",
    [{"args": (b"x",)}, {"name": "n"}, {"spec": spec_hash(LATER)}, {"after": (("p", 0),)}, {"singleton": "s"}],
)
def test_without_a_hash_of_the_client_all_that_is_said_counts(change: dict[str, Any]) -> None:
    hands = Hands()
    hands.submit(array("p"), request="r0")
    hands.submit(array("o", spec=LATER), request="r", spec=LATER)
    hands.submit(keyed("a", payload=""), request="r1")
    assert hands.submit(keyed("b", payload=""), request="r2").known == ((0, 3, "a"),)
    assert isinstance(hands.submit(replace(keyed("c", payload=""), **change), request="r3"), Refused)


def test_a_key_belongs_to_its_namespace() -> None:
    hands = Hands()
    hands.submit(keyed("a"), request="r1")
    elsewhere = replace(SPEC, namespace="team")
    answer = hands.submit(keyed("b", payload="q", spec=elsewhere), request="r2", spec=elsewhere)
    assert (answer.first, answer.known) == (2, ())


def test_it_holds_after_the_end_and_after_a_restart() -> None:
    hands = Hands()
    hands.submit(keyed("a"), request="r1")
    hands.greet()
    hands.tick()
    hands.report(ended(1, result=b"v"))
    hands.tick()
    assert not hands.engine.state.jobs
    later = Hands(hands.journal, now_us=hands.time_us)
    answer = later.submit(keyed("b"), request="r2", watcher="w")
    assert answer.known == ((0, 1, "a"),)
    assert later.outcomes("w") == {1: (JobState.SUCCEEDED, b"v")}


def test_whoever_asks_again_hears_the_end() -> None:
    hands = Hands()
    hands.submit(keyed("a", count=2), request="r1")
    hands.submit(keyed("b", count=2), request="r2", watcher="w")
    hands.greet()
    hands.tick()
    hands.report(ended(1, result=b"1"), ended(2, result=b"2"))
    hands.tick()
    assert hands.outcomes("w") == {1: (JobState.SUCCEEDED, b"1"), 2: (JobState.SUCCEEDED, b"2")}
    assert NODE.id in hands.engine.state.nodes


def test_a_request_may_be_new_in_part_and_others_depend_on_what_was_there() -> None:
    hands = Hands()
    hands.submit(keyed("a", name="parent"), request="r1")
    arrays = (keyed("b", name="parent"), array("c", after=(("parent", 0),), inputs=("b",)), keyed("d", key="k2"))
    answer = hands.submit(*arrays, request="r2")
    assert answer == Accepted(first=2, job_count=2, epoch=1, known=((0, 1, "a"),))
    assert hands.engine.state.jobs[2].dependency.after == ((1, 1, 0),)
    assert hands.engine.state.jobs[2].dependency.inputs == ((1, -1),)
    # its answer was lost: what it made itself was not there before
    assert hands.submit(*arrays, request="r2") == answer
    assert Hands(hands.journal, now_us=hands.time_us).submit(*arrays, request="r2") == replace(answer, epoch=2)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ([keyed("a"), keyed("b")], "expected every key once in a submission, found 'k' twice"),
        ([keyed("a", key="x" * 256)], "idempotency_key: expected at most 255 characters, found 256"),
        ([keyed("a", count=2, gang=GangSpec(bundle="b"))], "expected none in a bundle"),
    ],
)
def test_senseless_keys_are_refused(arrays: list[Array], words: str) -> None:
    hands = Hands()
    answer = hands.submit(*arrays)
    assert isinstance(answer, Refused)
    assert words in str(answer)
    assert hands.journal.keyed("default", "k") is None


def test_frames_rebuild_who_has_which_key() -> None:
    hands = Hands()
    hands.submit(keyed("a"), request="r1")
    report = verify(hands.journal)
    assert report.good, str(report)
    assert report.rows["idempotency"] == 1
    hands.journal.connection.execute("DELETE FROM idempotency")
    assert not verify(hands.journal).good
