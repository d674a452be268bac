"""What a job submits itself: the same call makes the same request in every attempt."""

import pickle
import re
import threading

import pytest

from kos_ray.model.errors import InvalidSpec, KosError
from kos_ray.model.job import Spec
from kos_ray.model.payload import INLINE_LIMIT, BlobRef, open_payload
from kos_ray.worker.children import Child, Family, submission
from kos_ray.worker.packets import OUTBOX
from kos_ray.worker.prepare import PYTHON

PARENT_ID = "01890a5d-ac96-7cde-8000-0123456789ab"
PARENT = Spec(namespace="team", code="c0de", tags=("sender:ada", "nightly"), band=1)


def add(a, b=0):
    return a + b


@pytest.fixture
def submit(tmp_path):
    (tmp_path / OUTBOX).mkdir()

    def make(function=add, *args, number=1, kwargs=None, name="", after=(), parent=PARENT_ID, **options):
        return submission(parent, number, PARENT, tmp_path, function, args, kwargs, name, after, options)

    return make


def spec(made):
    ((_, found),) = made.specs
    return found


def test_what_is_the_parents(submit):
    found = spec(submit(add, 1))
    assert (found.namespace, found.code, found.tags, found.python) == ("team", "c0de", ("sender:ada",), PYTHON)
    assert (found.band, found.type) == (3, "add"), "how urgent it is, is its own"
    assert pickle.loads(found.function)(1, 2) == 3
    other = spec(submit(add, 1, namespace="other", sender="bob", priority="high", retry=2, tags=("t",)))
    assert (other.namespace, other.tags, other.band, other.retries) == ("other", ("t", "sender:bob"), 1, 2)


def test_the_same_call_is_the_same_request(submit):
    made = submit(add, 1, kwargs={"b": 2}, retry=1)
    again = submit(add, 1, kwargs={"b": 2}, retry=1)
    assert (made.request_id, made.arrays[0].id) == (again.request_id, again.arrays[0].id)
    others = [
        submit(add, 1, kwargs={"b": 2}, retry=1, number=2),
        submit(add, 1, kwargs={"b": 3}, retry=1),
        submit(add, 1, kwargs={"b": 2}, retry=2),
        submit(add, 1, kwargs={"b": 2}, retry=1, name="n"),
        submit(max, 1, kwargs={"b": 2}, retry=1),
        submit(add, 1, kwargs={"b": 2}, retry=1, parent=PARENT_ID[:-1] + "c"),
    ]
    assert len({other.request_id for other in (made, *others)}) == 7
    assert len({other.arrays[0].id for other in (made, *others)}) == 7


def test_ids_are_uuids_with_the_parents_clock(submit):
    found = submit(add, 1).arrays[0].id
    assert re.fullmatch(r"01890a5d-ac96-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", found)
    assert submit(add, 1, parent=f"{PARENT_ID}.17").arrays[0].id != found
    assert re.fullmatch(r"0{8}-0{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", submit(parent="j").arrays[0].id)


def test_children_among_the_arguments_are_inputs(submit):
    one, two = Child("one", lambda _: None), Child("two", lambda _: None)
    (array,) = submit(add, [two, one], kwargs={"b": two}, after=[one, "three"]).arrays
    assert array.inputs == ("two", "one")
    assert array.after == (("one", 0), ("three", 0))
    with pytest.raises(KosError, match="belongs to the attempt that made it"):
        pickle.dumps(one)


def test_large_arguments_are_a_blob(submit, tmp_path):
    (array,) = submit(add, b"x" * INLINE_LIMIT).arrays
    ref = open_payload(array.args[0])
    assert isinstance(ref, BlobRef)
    assert (tmp_path / OUTBOX / ref.hash).exists()
    assert submit(add).arrays[0].args == (b"",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retries": 1}, 'did you mean "retry"'),
        ({"run": "ls"}, "expected a known option, found 'run'"),
        ({"retry": -1}, "retry: "),
        ({"timeout": "soon"}, "timeout: "),
    ],
)
def test_wrong_options(submit, options, message):
    with pytest.raises(InvalidSpec, match=message):
        submit(add, 1, **options)


def test_what_cannot_be_sent(submit):
    with pytest.raises(InvalidSpec, match="arguments: cannot be sent to another process"):
        submit(add, threading.Lock())
    lock = threading.Lock()
    with pytest.raises(InvalidSpec, match="function <lambda>: cannot be sent"):
        submit(lambda: lock)


def test_where_there_is_no_cluster_nobody_can_be_asked():
    family = Family(None)
    with pytest.raises(KosError, match="in no Ray cluster"):
        Child("one", lambda job_id: family.find("default", job_id)).result()


def test_one_client_a_namespace_is_asked_and_closed():
    made = []

    class Client:
        def __init__(self, namespace):
            made.append(self)
            self.namespace, self.closed = namespace, False

        def job(self, job_id):
            return f"{self.namespace}/{job_id}"

        def close(self):
            self.closed = True

    family = Family(Client)
    assert [family.find("a", "1"), family.find("a", "2"), family.find("b", "3")] == ["a/1", "a/2", "b/3"]
    family.close()
    assert [client.closed for client in made] == [True, True]
