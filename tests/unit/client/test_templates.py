"""What a submission says of its function: packed as by cloudpickle, and kept where the next one says the same."""

import json
import os.path
import sys
import types

import cloudpickle
import pytest

from kos_ray.client import options as options_module
from kos_ray.client.calls import Call
from kos_ray.client.options import hashed_spec_of
from kos_ray.client.packing import pack_function
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.hashing import spec_hash


def replaced(item: int) -> int:
    return item


ORIGINAL = replaced


def replaced(item: int) -> int:  # type: ignore[no-redef]  # as a decorator does
    return -item


class Caller:
    def __call__(self) -> int:
        return 1


@pytest.mark.parametrize(
    "function",
    [os.path.join, json.dumps, len, replaced, ORIGINAL, lambda: 1, Caller(), Caller, "".join],
    ids=["nested", "module", "builtin", "own", "replaced", "lambda", "object", "class", "method"],
)
def test_a_function_is_packed_as_by_cloudpickle(function):
    assert pack_function(function) == cloudpickle.dumps(function)


def test_a_module_that_goes_by_value_still_does():
    by_name = pack_function(json.dumps)
    cloudpickle.register_pickle_by_value(json)
    try:
        assert pack_function(json.dumps) == cloudpickle.dumps(json.dumps) != by_name
    finally:
        cloudpickle.unregister_pickle_by_value(json)


def test_a_function_of_a_module_that_nobody_can_import_goes_by_value():
    module = types.ModuleType("made_here")
    exec("def f(): return 1", module.__dict__)
    assert "made_here" not in sys.modules
    assert pack_function(module.f) == cloudpickle.dumps(module.f)
    assert cloudpickle.loads(pack_function(module.f))() == 1


def test_what_says_the_same_has_one_template():
    first = hashed_spec_of(json.dumps, {"retry": 2}, "a", "c")
    assert hashed_spec_of(json.dumps, {"retry": 2}, "a", "c") is first
    assert first[0] == spec_hash(first[1])
    others = [
        hashed_spec_of(json.loads, {"retry": 2}, "a", "c"),
        hashed_spec_of(json.dumps, {"retry": 3}, "a", "c"),
        hashed_spec_of(json.dumps, {"retry": 2}, "b", "c"),
        hashed_spec_of(json.dumps, {"retry": 2}, "a", "d"),
    ]
    assert len({first[0], *(hash_ for hash_, _ in others)}) == 5


def test_what_a_function_closes_over_is_seen_anew():
    number = 1
    first = hashed_spec_of(lambda: number, {}, "a", "")
    number = 2
    assert hashed_spec_of(lambda: number, {}, "a", "")[0] != first[0]


def test_large_functions_are_not_kept():
    data = b"x" * options_module._KEPT_BYTES_MAX
    before = len(options_module._specs)
    hashed_spec_of(lambda: data, {}, "a", "")
    assert len(options_module._specs) == before


@pytest.mark.parametrize(("after", "nothing"), [((), True), ([], True), (None, False), ("", False), ({}, False)])
def test_only_an_empty_sequence_waits_for_nothing(after, nothing):
    assert Call(len, after=after).waits_for_nothing is nothing


def test_what_is_no_function_is_refused():
    with pytest.raises(InvalidSpec, match="expected a function to call, found 3, a int"):
        hashed_spec_of(3, {}, "a", "")  # type: ignore[arg-type]
