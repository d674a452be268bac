"""Idempotency keys from Python: what is compared, and whose job comes back."""

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from client_fake import FakeCluster

import kos_ray as kos
from kos_ray.client.idempotency import identity_of
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.protocol import Accepted
from kos_ray.model.wire import from_plain
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import lower


class KeyedCluster(FakeCluster):
    """One whose second and later requests find that their first array was there before, as job 1."""

    def submit(self, data: bytes) -> bytes:
        if not self.requests:
            return super().submit(data)
        import msgpack

        from kos_ray.model.protocol import Submit
        from kos_ray.model.wire import to_plain

        self.requests.append(from_plain(Submit, msgpack.unpackb(data, use_list=False)))
        known = ((0, JobKey(1), self.requests[0].arrays[0].id),)
        return bytes(msgpack.packb(to_plain(Accepted(first=JobKey(7), job_count=1, known=known))))


def work(number: int = 0, factor: int = 2) -> int:
    return number * factor


def other(number: int = 0, factor: int = 2) -> int:
    return number * factor


def payload(function: Callable[..., Any] = work, *args: Any, key: str = "k", **options: Any) -> str:
    cluster = FakeCluster()
    with cluster.client() as client:
        client.submit(function, *args, idempotency_key=key, **options)
    sent = cluster.requests[0].arrays[0]
    assert sent.idempotency_key == key
    return sent.payload


def test_the_same_call_has_the_same_payload_whoever_makes_it() -> None:
    assert payload(work, 1) == payload(work, 1) == payload(kos.job(work), 1)
    assert payload(work, 1, key="another") == payload(work, 1)
    assert payload(lambda x: x + 1, 1) == payload(lambda x: x + 1, 1)


@pytest.mark.parametrize(
    ("function", "args", "options"),
    [
        (work, (2,), {}),
        (other, (1,), {}),
        (functools.partial(work, factor=3), (1,), {}),
        (work, (1,), {"retry": 2}),
        (work, (1,), {"resources": {"cpu": 2}}),
        (work, (1,), {"name": "n"}),
        (work, (1,), {"kwargs": {"factor": 2}}),
        (lambda x: x + 1, (1,), {}),
    ],
)
def test_another_call_has_another(function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    assert payload(function, *args, **options) != payload(work, 1)


def test_functions_that_travel_by_value_count_by_their_code_and_what_they_hold() -> None:
    def made(held: object) -> Callable[[], object]:
        return lambda: held

    assert identity_of(lambda x: x + 1) != identity_of(lambda x: x + 2)
    assert identity_of(made(1)) == identity_of(made(1)) != identity_of(made(2))
    assert identity_of(made(work)) == identity_of(made(work)) != identity_of(made(other))
    assert identity_of(made(object())) == identity_of(made(object()))


SCRIPT = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
import functools
from kos_ray.client.idempotency import identity_of
names = {"b", "a", "c"}
def charge(amount, currency="EUR"):
    return {"a", "b"} and [currency for _ in range(amount) if currency in {"EUR", "USD"}]
print(identity_of(charge), identity_of(lambda: names), identity_of(functools.partial(charge, currency="USD")))
"""


def test_functions_that_call_themselves_or_each_other_have_an_identity() -> None:
    def even(n: int) -> bool:
        return n == 0 or odd(n - 1)

    def odd(n: int) -> bool:
        return n > 0 and even(n - 1)

    def early() -> str:
        return identity_of(late)

    def late() -> int:
        return unbound

    before = early()
    unbound = 7
    assert payload(even) == payload(even) != payload(odd)
    assert before != early(), "what it closes over has changed"


class Scaled:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def work(self, number: int) -> int:
        return number * self.factor

    __call__ = work


def test_what_a_method_belongs_to_counts() -> None:
    assert payload(Scaled(2).work, 1) == payload(Scaled(2).work, 1) != payload(Scaled(3).work, 1)
    assert payload(Scaled(2), 1) == payload(Scaled(2), 1) != payload(Scaled(3), 1)
    assert payload(functools.partial(Scaled(2).work, 1)) != payload(functools.partial(Scaled(3).work, 1))


def test_two_processes_that_run_one_script_mean_the_same() -> None:
    command = [sys.executable, "-c", SCRIPT, json.dumps(sys.path)]
    found = {
        subprocess.run(command, capture_output=True, check=True, text=True, env={"PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


def test_the_job_that_is_there_comes_back_and_its_result() -> None:
    cluster = KeyedCluster(running=False)
    with cluster.client() as client:
        first = client.submit(work, 3, idempotency_key="k")
        again = client.submit(work, 3, idempotency_key="k")
        many = client.submit_many([kos.Call(work, (3,), idempotency_key="k"), kos.Call(other, (3,))])
        assert many[0].id == first.id == again.id != many[1].id
        cluster.run_all()
        assert cluster.states[1] is JobState.SUCCEEDED
        assert [first.result(5), again.result(5), many[0].result(5)] == [6, 6, 6]


def test_documents_say_it_too() -> None:
    text = "id: {}\nidempotency_key: order-7\nrun: [charge, '7']"
    cluster = FakeCluster(running=False)
    with cluster.client() as client:
        for name in ("a", "a", "b"):
            client.submit_drafts(lower([load_text(text.format(name), "f.yaml")]))
    one, same, named = [request.arrays[0] for request in cluster.requests]
    assert one.idempotency_key == "order-7"
    assert replace(one, id="") == replace(same, id="")
    assert one.payload != named.payload


@pytest.mark.parametrize("key", ["x" * 256, "a\nb"])
def test_a_senseless_key_is_refused_before_anything_is_sent(key: str) -> None:
    cluster = FakeCluster()
    with cluster.client() as client, pytest.raises(InvalidSpec, match="idempotency_key: expected at most 255"):
        client.submit(work, idempotency_key=key)
    assert not cluster.requests


def test_a_map_with_a_key_is_one_request_or_refused() -> None:
    cluster = FakeCluster()
    with cluster.client() as client:
        client.map(work, range(3), idempotency_key="k")
        with pytest.raises(InvalidSpec, match="expected a map of at most 5000 items"):
            client.map(work, range(5_001), idempotency_key="k2")
    assert [request.arrays[0].count for request in cluster.requests] == [3]
