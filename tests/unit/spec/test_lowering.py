"""Lowering: order, names, arguments, cycles."""

import io
import itertools
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.model import payload
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import After, Backoff
from kos_ray.spec.graph import parents_first
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import Draft, lower


def opened(draft: Draft, inputs: list[Any], position: int = 0) -> Any:
    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            word, index = pid
            assert word == "input"
            return inputs[index]

    data = payload.open_payload(draft.args[position])
    assert isinstance(data, bytes)
    return Unpickler(io.BytesIO(data)).load()


def test_parents_come_first_and_names_carry_the_workflow() -> None:
    drafts = lower(
        [
            load_text(
                """
                name: w
                jobs:
                  - {id: c, run: x, after: {any: [b]}}
                  - {id: b, entry: "m:f", args: [[{from: a}], 2], kwargs: {deep: {x: [{from: a.1}]}}}
                  - {id: a, entry: "m:g", count: 3}
                  - {id: z, run: x, after: [018f2b1e-7c1d-7abc-8def-0123456789ab]}
                """
            )
        ]
    )
    assert [draft.name for draft in drafts] == ["w/a", "w/b", "w/c", "w/z"]
    a, b, c, z = drafts
    assert (a.count, len(a.args), b.count, len(b.args)) == (3, 3, -1, 1)
    assert b.inputs == ("w/a", "w/a.1")
    assert b.after == (("w/a", After.OK), ("w/a.1", After.OK))
    assert opened(b, ["A", "A1"]) == ((["A"], 2), {"deep": {"x": ["A1"]}})
    assert c.after == (("w/b", After.ANY),)
    assert z.after == (("018f2b1e-7c1d-7abc-8def-0123456789ab", After.OK),)
    assert c.args == (b"",)


def test_a_list_keeps_its_order_and_names_as_written() -> None:
    drafts = lower([load_text("- {id: b, run: x, after: [outside]}\n- {run: [ls, -l]}\n- {id: a, run: y}")])
    assert [draft.name for draft in drafts] == ["b", "", "a"]
    assert drafts[0].after == (("outside", After.OK),)
    assert drafts[1].spec.command == ("ls", "-l")
    assert drafts[0].spec.command == ("sh", "-c", "x")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("run: a | b", "shell"),
        ("run: [/usr/bin/python3, x.py]", "python3"),
        ("entry: 'm:f.g'", "f.g"),
        ("{run: x, type: mine}", "mine"),
    ],
)
def test_a_job_without_a_type_gets_a_label_of_few_values(text: str, kind: str) -> None:
    assert lower([load_text(text)])[0].spec.type == kind


def test_the_spec_holds_what_was_written() -> None:
    text = "{run: x, resources: {gpu: 0.5, cpu: 0}, timeout: 2s, backoff: {first: 2s}, retry: 2, priority: low}"
    spec = lower([load_text(text)], namespace="team")[0].spec
    assert spec.resources.as_units() == {"GPU": 0.5}
    assert (spec.timeout_ms, spec.retries, spec.band, spec.namespace, spec.single_use) == (2000, 2, 4, "team", True)
    assert spec.backoff == Backoff(first_ms=2000)


def test_one_name_twice_in_a_submission_is_refused() -> None:
    document = load_text("{id: a, run: x}")
    with pytest.raises(InvalidSpec, match="'a' twice"):
        lower([document, document])


@settings(deadline=None)
@given(
    st.integers(1, 12).flatmap(lambda n: st.lists(st.lists(st.integers(0, n - 1), max_size=3), min_size=n, max_size=n))
)
def test_order_or_a_real_cycle(edges: list[list[int]]) -> None:
    parents = {str(child): [str(parent) for parent in above] for child, above in enumerate(edges)}
    try:
        order = parents_first(parents)
    except ValueError as error:
        cycle = error.args[0]
        assert cycle[0] == cycle[-1]
        assert len(cycle) > 1
        assert all(parent in parents[child] for parent, child in itertools.pairwise(cycle))
        return
    assert sorted(order) == sorted(parents)
    place = {name: index for index, name in enumerate(order)}
    assert all(place[parent] < place[child] for child in parents for parent in parents[child])


def test_the_order_is_as_written_where_nothing_forbids_it() -> None:
    assert parents_first({"d": ["a"], "c": [], "b": ["outside"], "a": []}) == ["c", "b", "a", "d"]
