"""Where a job may run, as it is written: what each form means, and what is refused with its line."""

import pytest

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import Spec
from kos_ray.model.resources import Resources
from kos_ray.model.where import ANYWHERE, Neighbours, Selector, Strategy, Where
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import lower, lower_spec
from kos_ray.spec.options import checked


def spec_of(text: str) -> Spec:
    (draft,) = lower([load_text(f"run: x\n{text}", "job.yaml")])
    return draft.spec


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("a", Selector("zone", ("a",))),
        ("[b, a]", Selector("zone", ("a", "b"))),
        ("'!a'", Selector("zone", ("a",), negated=True)),
        ("'in(a, b)'", Selector("zone", ("a", "b"))),
        ("'!in(a,b)'", Selector("zone", ("a", "b"), negated=True)),
        ("'not in (a, b)'", Selector("zone", ("a", "b"), negated=True)),
        ("true", Selector("zone")),
        ("false", Selector("zone", negated=True)),
        ("'*'", Selector("zone")),
        ("7", Selector("zone", ("7",))),
    ],
)
def test_selectors(written: str, found: Selector) -> None:
    assert spec_of(f"where: {{labels: {{zone: {written}}}}}").where == Where(labels=(found,))


@pytest.mark.parametrize(
    ("selector", "value", "met"),
    [
        (Selector("l", ("a",)), "a", True),
        (Selector("l", ("a",)), "b", False),
        (Selector("l", ("a",)), None, False),
        (Selector("l", ("a",), negated=True), "b", True),
        (Selector("l", ("a",), negated=True), None, True),
        (Selector("l"), "", True),
        (Selector("l"), None, False),
        (Selector("l", negated=True), None, True),
        (Selector("l", negated=True), "a", False),
    ],
)
def test_what_meets_a_selector(selector: Selector, value: str | None, met: bool) -> None:
    assert selector.met(value) is met


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("near: cache", Neighbours(("job:cache",))),
        ("near: 'tag:web'", Neighbours(("tag:web",))),
        ("near: 'other:thing'", Neighbours(("job:other:thing",))),
        ("near: {tag: [b, a], by: zone}", Neighbours(("tag:a", "tag:b"), by="zone")),
        ("apart: {type: train, namespace: team}", Neighbours(("namespace:team", "type:train"), apart=True)),
        ("data: prepare", Neighbours(("job:prepare",), past=True, weight=1)),
        ("prefer: {near: cache, weight: 7}", Neighbours(("job:cache",), weight=7)),
        ("prefer: [{apart: cache}]", Neighbours(("job:cache",), apart=True, weight=1)),
    ],
)
def test_neighbours(written: str, found: Neighbours) -> None:
    assert spec_of(f"where: {{{written}}}").where == Where(jobs=(found,))


def test_the_rest() -> None:
    where = spec_of("where: {nodes: b, not_nodes: [c, a], strategy: Spread, prefer: {labels: {d: e}, weight: 3}}").where
    assert where == Where(
        labels=(Selector("d", ("e",), weight=3),), nodes=("b",), not_nodes=("a", "c"), strategy=Strategy.SPREAD
    )


def test_nothing_is_anywhere() -> None:
    assert spec_of("where: {}").where == spec_of("").where == ANYWHERE


def test_jobs_of_a_workflow_are_looked_for_in_it_first() -> None:
    text = (
        "name: flow\njobs:\n- {id: cache, run: x}\n"
        "- {id: reader, run: x, where: {near: cache, apart: [elsewhere, 'tag:cache']}}"
    )
    drafts = {draft.name: draft for draft in lower([load_text(text, "flow.yaml")])}
    words = [rule.words for rule in drafts["flow/reader"].spec.where.jobs]
    assert words == [("job:flow/cache",), ("job:elsewhere",), ("tag:cache",)]


def test_alternatives() -> None:
    spec = spec_of("resources: {any: [{gpu: 1, memory: 1KiB}, {cpu: 8}]}")
    assert spec.resources == Resources.of({"CPU": 1, "GPU": 1, "memory": 1024})
    assert spec.where.alternatives == (Resources.of({"CPU": 8}),)
    assert spec.single_use, "a GPU's memory is only surely free again when its process is gone"


def test_resources_beyond_rays() -> None:
    spec = spec_of("resources: {gpu_memory: 20GiB, disk: 1KiB, network: 1Gbit}\nwhere: {battery: 30%}")
    assert spec.resources == Resources.of({"CPU": 1, "disk": 1024, "network": 10**9})
    assert (spec.where.gpu_memory, spec.where.battery) == (20 * 2**30, 30)


def test_options_in_python_say_the_same() -> None:
    where = {"labels": {"zone": ["a", "b"]}, "apart": "tag:web"}
    spec = lower_spec(checked({"where": where, "resources": {"any": [{"gpu": 1}, {"cpu": 2}]}}))
    assert spec.where.labels == (Selector("zone", ("a", "b")),)
    assert spec.where.alternatives == (Resources.of({"CPU": 2}),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("where: [a]", "job.yaml:2: where: expected"),
        ("where:\n  lables: {}", 'job.yaml:3: where.lables: .*did you mean "labels"'),
        ("where:\n  labels: a", "job.yaml:3: where.labels: expected a mapping of labels to values, found 'a'"),
        ("where:\n  labels: {zone: []}", "job.yaml:3: where.labels: zone: expected at least one value"),
        ("where:\n  labels: {zone: 'in(a,,b)'}", "where.labels: zone: expected values with commas"),
        ("where:\n  labels: {zone: {a: b}}", "where.labels: zone: expected a value"),
        ("where:\n  near: {tga: x}", "job.yaml:3: where.near: expected job, tag, .* found 'tga'.*tag"),
        ("where:\n  near: {by: zone}", "where.near: expected one of job, tag, type, namespace beside by"),
        ("where:\n  near: {namespace: ../x}", "where.near: namespace: expected at most 63"),
        ("where:\n  strategy: spraed", "job.yaml:3: where.strategy: expected one of pack, spread, fgd.*spread"),
        ("where:\n  nodes: [a]\n  not_nodes: [a]", "expected a node either under nodes or under not_nodes"),
        ("where:\n  prefer:\n  - weight: 0", r"job.yaml:4: where.prefer\[0\].weight: expected a weight from 1"),
        ("resources:\n  any: [{gpu_memory: 1GiB}, {cpu: 8}]", "expected no gpu_memory under any"),
        ("resources:\n  network: 1GB", "job.yaml:3: resources.network: expected a rate .* the units are bit, kbit"),
        ("where:\n  battery: 130%", "job.yaml:3: where.battery: expected a share such as \"30%\", found '130%'"),
        ("resources:\n  any: [{gpu: 1}]", "resources: expected a list of two or more under any"),
        ("resources:\n  cpu: 2\n  any: [{gpu: 1}, {cpu: 8}]", "resources: expected all resources inside of any"),
        ("resources:\n  any: [{gpu: 1}, {any: [{cpu: 8}, {cpu: 9}]}]", "no further any in it"),
        ("resources:\n  any: [{gpu: 1}, {gpus: 8}]", "job.yaml:3: resources.any.*gpus"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=f"(?s){message}"):
        spec_of(text)
