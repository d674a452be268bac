"""Documents: what is accepted, and that everything else is refused whole, with file, line, path and what was found."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import After, Guarantee
from kos_ray.spec.load import load_file, load_text

EXAMPLES = Path(__file__).parents[3] / "configs" / "examples"

# text, line, and what the message has to hold
MALFORMED = [
    ("", 1, "found nothing"),
    ("just words", 1, "expected a job, a list of jobs, or a workflow"),
    ("[]", 1, "an empty list"),
    ("{}", 1, "an empty mapping"),
    ("a: [", 1, "not YAML"),
    ("run: x\n\tid: y", 2, "not YAML"),
    ("run: x\nrun: y", 2, "the field 'run' is there twice (first in line 1)"),
    ("run: x\n---\nrun: y", 2, "not YAML"),
    ("? [a]\n: b", 1, "expected a field name"),
    ("run: &a [*a]", 1, "an alias refers to a value that holds it"),
    ("run: !!python/object:os.system x", 1, "not YAML"),
    ("id: a", 1, "either run (a command) or entry"),
    ("run: x\nentry: m:f", 1, "found both"),
    ("run: x\nprioritty: high", 2, "found 'prioritty'; did you mean \"priority\"?"),
    ("run: x\nzzz: 1", 2, "the fields are id, type"),
    ("run: x\n1: 2", 2, "expected a field's name, found '1'"),
    ("run: x\nid: 12", 2, "id: expected a name"),
    ("run: x\nid: 12", 2, "found 12; put it in quotes"),
    ("run: x\nid: ''", 2, "an empty text"),
    ("run: x\nid: 'a b'", 2, "expected a name of letters"),
    ("run: x\nid: job.7", 2, "an array's item"),
    ("run: x\nid: 018f2b1e-7c1d-7abc-8def-0123456789ab", 2, "looks like a job's id"),
    ("run: x\nid: " + "n" * 201, 2, "at most 200 characters"),
    ("run: x\nnamespace: ../etc", 2, "namespace: expected"),
    ("run: x\ntype: a b", 2, "type: expected"),
    ("run: x\npriority: urgent", 2, "expected one of critical, realtime"),
    ("run: x\npriority: hihg", 2, 'did you mean "high"?'),
    ("run: x\npriority: 6", 2, "found 6"),
    ("run: x\npriority: yes", 2, "found true"),
    ("run: 3", 1, "run: expected a command"),
    ("run: []", 1, "an empty list"),
    ("run: ' '", 1, "an empty text"),
    ("run: [python, 3]", 1, "word 1 of the command, found 3; put it in quotes"),
    ("run: ['', x]", 1, "an empty program name"),
    ("entry: module", 1, 'expected "module:function"'),
    ("entry: m:f()", 1, 'expected "module:function"'),
    ("run: x\nargs: [1]", 1, "a command has its arguments in run"),
    ("entry: m:f\nargs: 1", 2, "args: expected a list"),
    ("entry: m:f\nkwargs: [1]", 2, "kwargs: expected a mapping"),
    ("entry: m:f\nkwargs: {a-b: 1}", 2, "expected a Python name, found 'a-b'"),
    ("run: x\nresources: 2", 2, "resources: expected a mapping, found 2"),
    ("run: x\nresources:\n  cpus: 2", 3, 'did you mean "cpu"?'),
    ("run: x\nresources:\n  cpu: two", 3, "resources.cpu: expected a number"),
    ("run: x\nresources:\n  memory: 1gb", 3, 'did you mean "GB"?'),
    ("run: x\nresources:\n  gpu: -1", 3, "found the negative -1"),
    ("run: x\nresources:\n  custom: {GPU: 1}", 3, "write it beside `custom`"),
    ("run: x\nresources:\n  custom: {disk: much}", 3, "disk: expected a number"),
    ("run: x\nenv: [A]", 2, "env: expected a mapping"),
    ("run: x\nenv: {A: yes}", 2, "expected a text for A, found true"),
    ("run: x\nenv: {A-B: c}", 2, "in a variable's name, found 'A-B'"),
    ("run: x\nafter: 5", 2, "after: expected"),
    ("run: x\nafter: {okay: [a]}", 2, "found 'okay'; did you mean \"ok\"?"),
    ("run: x\nafter: {ok: [a], any: [a]}", 2, "'a' twice"),
    ("run: x\nafter: [a]\ndependencies: [b]", 1, "they mean the same"),
    ("run: x\ntimeout: soon", 2, "timeout: expected a time"),
    ("run: x\nretry: -1", 2, "a number of retries from 0 to 1000, found -1"),
    ("run: x\nretry: 1.5", 2, "found 1.5"),
    ("run: x\nbackoff: {first: 1m, max: 1s}", 2, "expected max >= first"),
    ("run: x\nbackoff: {factor: 0}", 2, "backoff.factor: expected a number from 1 to 100"),
    ("run: x\nbackoff: {jitter: 2}", 2, "backoff.jitter: expected a number from 0 to 1"),
    ("run: x\nguarantee: exactly_twice", 2, "expected one of at_least_once, at_most_once, exactly_once"),
    ("run: x\nguarantee: at_most_once\nretry: 1", 1, "never entered twice"),
    ("run: x\ntags: a", 2, "tags: expected a list"),
    ("run: x\ntags: [1]", 2, "put it in quotes"),
    ("run: x\ncount: 0", 2, "a number of items from 1 to 1000000"),
    ("- run: x\n- 3", 2, "[1]: expected a job (a mapping), found 3"),
    ("- id: a\n  run: x\n- id: a\n  run: y", 3, "expected every id once, found 'a' again (line 1)"),
    ("- id: a\n  run: x\n  after: [a]", 1, "expected no cycle, found a -> a"),
    ("- {id: a, run: x, count: 2}\n- {run: x, after: [a.2]}", 2, "'a' has the items 0 to 1"),
    ("- {id: a, run: x}\n- {run: x, after: [a.0]}", 2, "'a' is no array"),
    ("jobs: []\nname: w", 1, "jobs: expected a list of at least one job"),
    ("jobs: [{id: a, run: x}]", 1, "expected the field 'name'"),
    ("name: w\nowner: me\njobs: [{id: a, run: x}]", 2, "expected a known field, found 'owner'"),
    ("name: w\njobs:\n- run: x", 3, "jobs[0]: expected an id"),
    ("name: w\njobs:\n- {id: a, run: x, after: [bb]}", 3, "expected a job of this workflow, found 'bb'"),
    ("name: w\njobs:\n- {id: load, run: x}\n- {id: b, run: x, after: [laod]}", 4, 'did you mean "load"?'),
    ("name: w\njobs:\n- {id: a, entry: 'm:f', args: [{from: b}]}", 3, "jobs[0].args: expected a job of this workflow"),
    (
        "name: w\njobs:\n- {id: a, run: x}\n- {id: b, entry: 'm:f', args: [{from: a}], after: {any: [a]}}",
        4,
        "expected ok for 'a', whose result is an argument",
    ),
    ("name: w\nnamespace: x\njobs:\n- {id: a, run: x, namespace: y}", 4, "expected the workflow's 'x', found 'y'"),
    (
        "name: w\njobs:\n- {id: a, run: x, after: [c]}\n- {id: b, run: x, after: [a]}\n- {id: c, run: x, after: [b]}",
        3,
        "a -> b -> c -> a",
    ),
]


@pytest.mark.parametrize(("text", "line", "message"), MALFORMED)
def test_malformed_documents_name_the_place(text: str, line: int, message: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        load_text(text, "jobs.yaml")
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"jobs.yaml:{line}:"), str(refused.value)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('{"run": "x",\n "cpu": 1}', 2, "expected a known field"),
        ('{"run":\n}', 2, "not JSON"),
        ('{"run": "x",\n\t"retry": "many"}', 2, "retry: expected a number of retries"),
        ('{"run": "x", "timeout": NaN}', 1, "expected a finite number, found NaN"),
        ('{"run": "x",\n "run": "y"}', 2, "the field 'run' is there twice"),
        ("[" * 100_000, 1, "nested too deeply"),
    ],
)
def test_json_is_located_too(text: str, line: int, message: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        load_text(text, "jobs.json")
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"jobs.json:{line}:")


def test_a_list_with_bad_jobs_is_refused_whole_and_names_each() -> None:
    with pytest.raises(InvalidSpec) as refused:
        load_text("- run: fine\n- run: 1\n- run: 2\n", "jobs.yaml")
    lines = str(refused.value).splitlines()
    assert [line.split(":")[1] for line in lines] == ["2", "3"]


def test_only_so_many_problems_are_told() -> None:
    with pytest.raises(InvalidSpec) as refused:
        load_text("\n".join("- {run: 1}" for _ in range(500)))
    assert str(refused.value).count("\n") <= 21


@pytest.mark.parametrize(
    "more", [{"run": ["echo", "\ud800"]}, {"run": "\ud800"}, {"tags": ["\ud800"]}, {"env": {"A": "\ud800"}}]
)
def test_text_that_no_encoding_holds_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match=r"x\.json:1: .* found half of a surrogate pair"):
        load_text(json.dumps({"run": "x"} | more), "x.json")


def test_an_alias_bomb_is_refused() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(InvalidSpec, match="values, found more"):
        load_text("\n".join(levels))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="cannot be read: No such file"):
        load_file(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"run: caf\xe9")
    with pytest.raises(InvalidSpec, match="expected UTF-8 text, found the byte 0xe9"):
        load_file(tmp_path / "latin.yaml")


def test_everything_that_can_be_written() -> None:
    document = load_text(
        """
        id: train
        type: training
        namespace: team-a
        priority: HIGH
        entry: "pkg.mod:main"
        args: [1, {from: earlier}]
        kwargs: {rate: 0.1}
        resources: {cpu: 0.5, gpu: 1, memory: 2GiB, custom: {licence: 2}}
        env: {DEBUG: 1, MODE: fast}
        after: {ok: [a], any: b, not_ok: [c]}
        timeout: 1h30m
        retry: 3
        backoff: {first: 1s, factor: 3, max: 1m, jitter: 0}
        guarantee: at-least-once
        tags: [x, y]
        count: 4
        """
    )
    (job,) = document.jobs
    assert (job.priority, job.retry.times, job.timeout, job.count) == (1, 3, 5_400_000, 4)
    assert job.parents == (("a", After.OK), ("b", After.ANY), ("c", After.NOT_OK))
    assert job.env == (("DEBUG", "1"), ("MODE", "fast"))
    assert job.guarantee is Guarantee.AT_LEAST_ONCE
    assert job.resources.lower().as_units() == {"CPU": 0.5, "GPU": 1, "licence": 2, "memory": 2**31}


@pytest.mark.parametrize(
    ("word", "band"),
    [
        ("critical", 0),
        ("high", 1),
        ("realtime", 1),
        ("interactive", 2),
        ("normal", 3),
        ("medium", 3),
        ("default", 3),
        ("low", 4),
        ("idle", 4),
        ("background", 5),
        (0, 0),
        (5, 5),
        ("2", 2),
    ],
)
def test_every_scale_of_priorities_maps_onto_the_bands(word: object, band: int) -> None:
    assert load_text(f"run: x\npriority: {word!r}").jobs[0].priority == band


def test_json_means_json() -> None:
    text = '{"entry": "m:f",\t"args": [1e3, "\\ud83d\\ude00", "yes"]}'
    for name in ("jobs.json", "<stdin>"):
        assert load_text(text, name).jobs[0].args == [1000.0, "😀", "yes"]


def test_the_example_is_accepted() -> None:
    document = load_file(EXAMPLES / "workflow.yaml")
    assert document.name == "averages"
    assert [job.id for job in document.jobs] == ["prepare", "samples", "mean", "goodbye"]


# time limits of a busy machine say nothing about documents
UNHURRIED = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
_fields = st.sampled_from(
    [
        "id",
        "type",
        "namespace",
        "priority",
        "run",
        "entry",
        "args",
        "kwargs",
        "resources",
        "env",
        "after",
        "dependencies",
        "timeout",
        "retry",
        "backoff",
        "guarantee",
        "tags",
        "count",
        "name",
        "jobs",
        "cpu",
    ]
)


@UNHURRIED
@given(st.dictionaries(_fields, _values, max_size=6) | st.lists(st.dictionaries(_fields, _values, max_size=4)))
def test_any_document_is_accepted_or_refused_with_a_place(data: object) -> None:
    for text, name in ((json.dumps(data), "x.json"), (yaml.safe_dump(data), "x.yaml")):
        assert all(re.match(rf"{name}:\d+: |\.\.\. and", line) for line in _messages(refusal(text, name)))


def refusal(text: str, name: str) -> str:
    """The message of the refusal, "" where the document is accepted; everything else that is raised goes through."""
    try:
        load_text(text, name)
    except InvalidSpec as refused:
        return str(refused)
    return ""


def _messages(text: str) -> list[str]:
    return [line for line in re.split(r"\n(?=x\.(?:json|yaml):|\.\.\. and)", text) if line]


@UNHURRIED
@given(st.text(max_size=60))
def test_any_text_is_accepted_or_refused(text: str) -> None:
    for name in ("x.yaml", "x.json"):
        message = refusal(text, name)
        assert not message or re.match(rf"{name}:\d+: ", message)
