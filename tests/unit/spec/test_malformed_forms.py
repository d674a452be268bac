"""More than 200 malformed documents in every form: one clear line with its place for each problem."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kos_ray.model.errors import InvalidSpec
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import lower
from kos_ray.spec.settings import load_settings

EXAMPLES = Path(__file__).parents[3] / "configs" / "examples"
SETTINGS = load_settings(EXAMPLES / "handlers.yaml")
FORMS: dict[str, dict[str, Any]] = {
    path.name: json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")), default=str))
    for path in sorted((EXAMPLES / "forms").glob("*.[jy]*"))
}

KLP = "kind: klp/task\norigin: a\ntarget: b\n"
# text, line, and what the message has to hold
WRITTEN = [
    ("type: nothing_known\npayload: {}", 1, "expected run, entry, or a handler"),
    ("type: downlaod\npayload: {}", 1, 'did you mean "download"?'),
    ("type: testing\npaylod: {}", 2, 'did you mean "payload"?'),
    ("type: testing\npayload: {}\nreceiver: a\nrole: b", 1, "expected either receiver or role, found both"),
    ("type: testing\npayload: {}\nreceiver: 3", 3, "receiver: expected a name as text, found 3"),
    ("type: testing\npayload: {}\nrole: ''", 3, "an empty text"),
    ("type: testing\npayload: {}\nsender: [a]", 3, "sender: expected a name as text, found a list of 1"),
    ("type: testing\npayload: {}\npriority: 60", 3, "or one of the weights 100, 75, 50, 25, found 60"),
    ("type: testing\npayload: {}\nrun: x", 2, "expected the fields of one form"),
    ("run: x\nscope: local", 2, "run (a job of kos_ray) and scope (a UnifiedJob)"),
    ("payload: {}", 1, "expected the field 'type', found nothing"),
    ("type: testing\npayload: {}\ndata: {}", 2, "data (a UnifiedJob) and payload (a job with a payload)"),
    ("type: testing\naction: {module: a, function: b}\ndata: {}", 3, "action (a task) and data (a UnifiedJob)"),
    ("type: once\naction: {module: a, function: b}\nrun: x", 2, "run (a job of kos_ray) and action (a task)"),
    ("type: once", 1, "expected the field 'action'"),
    ("type: onec\naction: {module: a, function: b}", 1, 'did you mean "once"?'),
    ("type: testing\naction: {module: a, function: b}", 1, "expected one of cron, once, stream, reaction, external"),
    ("type: once\naction: m.f", 2, "action: expected a mapping, found 'm.f'"),
    ("type: once\naction: {module: a}", 2, "expected the field 'function'"),
    ("type: once\naction: {module: a, function: b()}", 2, "expected a function's name, found 'b()'"),
    ("type: once\naction: {module: a-b, function: b}", 2, "expected a module such as reports.daily, found 'a-b'"),
    ("type: once\naction: {module: a, funktion: b}", 2, 'did you mean "function"?'),
    ("type: once\naction: {module: a, function: b, args: 1}", 2, "action.args: expected a list of arguments, found 1"),
    ("type: once\naction: {module: a, function: b}\nrun_at: soon", 3, "run_at: expected an instant"),
    ("type: once\naction: {module: a, function: b}\nrun_at: 2025-06-30", 3, "run_at: expected an instant"),
    ("type: once\naction: {module: a, function: b}\nrun_at: 2025-06-30T12:00:00", 3, "without one"),
    ("type: once\naction: {module: a, function: b}\nrepeat: '0 * * * *'", 1, "expected type cron with repeat"),
    ("type: cron\naction: {module: a, function: b}", 1, "expected repeat (a cron expression) with type cron"),
    ("type: cron\naction: {module: a, function: b}\nrepeat: hourly", 3, "repeat: expected a cron expression"),
    ("type: cron\naction: {module: a, function: b}\nrepeat: '61 * * * *'", 3, "repeat: expected a cron expression"),
    ("type: cron\naction: {module: a, function: b}\nrepeat: '0 * * * * *'", 3, "of five fields"),
    ("type: once\naction: {module: a, function: b}\nrequires_trust: 'yes'", 3, "expected true or false, found 'yes'"),
    ("type: once\naction: {module: a, function: b}\npriority: 6", 3, "found 6"),
    ("kind: klp/job\norigin: a\ntarget: b\nsignature: s\ntask: {}", 1, "kind: expected klp/task, found 'klp/job'"),
    ("kind: klp/task\norigin: a\ntarget: b\nsignature: s", 1, "expected the field 'task'"),
    ("kind: klp/task\norigin: a\ntarget: b\nsignature: s\ntask: []", 5, "task: expected a mapping"),
    ("kind: klp/task\norigin: a\ntarget: b\nsignature: s\ntask:\n  type: once", 5, "task: expected the field 'action'"),
    (KLP + "signature: 1\ntask: {type: once, action: {module: m, function: f}}", 4, "a signature as text"),
    ("type: job_handoff", 1, "expected the field 'job_id'"),
    ("type: job_handof\njob_id: a", 1, "type: expected job_handoff, found 'job_handof'"),
    ("type: testing\nscope: global", 2, "scope: expected one of local, network, hybrid, found 'global'"),
    ("type: testing\nscope: locla", 2, 'did you mean "local"?'),
    ("type: testing\nstatus: active", 2, "a status is made by running"),
    ("type: testing\ncreated: today", 2, "created: expected an instant"),
    ("type: testing\ndeadline: 5", 2, "deadline: expected an instant"),
    ("type: testing\ndata: {}\nexecution: {assignedTo: me}", 3, "expected no results on submit, found assignedTo 'me'"),
    ("type: testing\ndata: {}\nexecution: {progress: 0.5}", 3, "found progress 0.5"),
    ("type: testing\ndata: {}\nexecution: {progress: false}", 3, "found progress false"),
    ("type: testing\ndata: {}\nexecution: {logs: [a]}", 3, "found logs a list of 1"),
    ("type: testing\ndata: {}\nexecution: {result: 4}", 3, "found result 4"),
    ("type: testing\ndata: {}\nexecution: {startTime: 4}", 3, "found startTime 4"),
    ("type: testing\ndata: {}\nexecution: {failureReason: X}", 3, "found failureReason 'X'"),
    ("type: testing\ndata: {}\nexecution: {acceptedFrom: X}", 3, "found acceptedFrom 'X'"),
    ("type: testing\ndata: {}\nexecution: {progres: 0}", 3, "found 'progres'; did you mean \"progress\"?"),
    ("type: testing\ndata: {}\nexecution: 3", 3, "execution: expected a mapping, found 3"),
    ("type: testing\nrequirements: {capability: [a]}", 2, 'did you mean "capabilities"?'),
    ("type: testing\nrequirements: {capabilities: a}", 2, "expected a list of names, found 'a'"),
    ("type: testing\nrequirements: {capabilities: [a, a]}", 2, "expected every name once, found 'a' twice"),
    ("type: testing\nrequirements: {resources: {ram: 1}}", 2, "found 'ram'; the fields are cpu, gpu"),
    (
        "type: testing\nrequirements: {resources: {cpu: 1}}\nresources: {cpu: 1}",
        1,
        "requirements.resources, found both",
    ),
    ("type: testing\nrequirements: {reputation: good}", 2, "reputation: expected a number"),
    ("type: testing\nscope: network\nnetwork: {ttl: 0}", 3, "network.ttl: expected a whole number from 1"),
    ("type: testing\nscope: network\nnetwork: {maxHops: -1}", 3, "network.maxHops: expected a whole number from 0"),
    ("type: testing\nscope: network\nnetwork: {max_hops: 1}", 3, 'did you mean "maxHops"?'),
    ("type: testing\nscope: network\nnetwork: {issuer: ''}", 3, "network.issuer: expected"),
    ("type: testing\nscope: local\nnetwork: {ttl: 1}", 1, "expected scope network or hybrid with network"),
    ("agent_id: a", 1, "expected the field 'entry_point'"),
    ("agent_id: a\nentry_point: x\nexec_env: dokcer", 3, 'did you mean "docker"?'),
    ("agent_id: a\nentry_point: x\nmemory: 4gb", 3, 'did you mean "GB"?'),
    ("agent_id: a\nentry_point: ''", 2, "expected a program"),
    ("agent_id: a b\nentry_point: x", 1, "agent_id: expected a name of letters"),
    ("agent_id: a\nentry_point: x\ngpu: many", 3, "gpu: expected a number"),
    ("agent_id: a\nentry_point: x\npayload: {}", 3, "expected the fields of one form"),
]
#: no field takes any of these, except those that take anything
STRANGE: list[Any] = [{"": 0}, [[]], -1.5, "\0", "\ud800", True]
TAKES_ANYTHING = {"payload", "data", "args", "reward", "task", "issuer"}


@pytest.mark.parametrize(("text", "line", "message"), WRITTEN)
def test_written_by_hand(text: str, line: int, message: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        load_text(text, "x.yaml", SETTINGS)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"x.yaml:{line}: "), str(refused.value)


def _one_wrong_value() -> Iterator[tuple[str, str, Any]]:
    for name, document in FORMS.items():
        for field in document:
            if field not in TAKES_ANYTHING:
                for value in STRANGE:
                    if not (field == "requires_trust" and value is True):
                        yield name, field, value


def test_there_are_more_than_200() -> None:
    assert len(WRITTEN) + len(list(_one_wrong_value())) > 200


@pytest.mark.parametrize(("name", "field", "value"), list(_one_wrong_value()))
def test_one_wrong_value(name: str, field: str, value: Any) -> None:
    message = refusal(json.dumps(FORMS[name] | {field: value}))
    assert is_clear(message)
    assert re.match(rf"x.json:\d+: (?:{field}|expected)", message), message


@pytest.mark.parametrize("name", FORMS)
def test_a_misspelt_field_is_told_with_what_was_meant(name: str) -> None:
    for field in FORMS[name]:
        if len(field) > 3 and field != "kind":
            data = {(f"{one[:-1]}" if one == field else one): value for one, value in FORMS[name].items()}
            assert is_clear(message := refusal(json.dumps(data))), (field, message)


def refusal(text: str) -> str:
    """The message of the refusal at submit, "" where the document is accepted; what else is raised goes through."""
    try:
        lower([load_text(text, "x.json", SETTINGS)])
    except InvalidSpec as refused:
        return str(refused)
    return ""


def is_clear(message: str) -> bool:
    """Each line has a place, and says what was expected or is not supported."""
    lines = message.splitlines()
    return bool(lines) and all(
        re.match(r"x\.json:\d+: (?:.*expected .*found |not supported yet: )", line) for line in lines
    )


_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 200)
    | st.floats(allow_nan=False)
    | st.text(st.characters(categories=["L", "N", "P"]), max_size=8)
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcd", max_size=4), inner, max_size=3),
)
_all_fields = sorted({field for document in FORMS.values() for field in document})


@st.composite
def _mutants(draw: st.DrawFn) -> dict[str, Any]:
    """A document of one form with fields dropped, added, replaced, at the top or one level down."""
    data = copy.deepcopy(draw(st.sampled_from(list(FORMS.values()))))
    for _ in range(draw(st.integers(1, 3))):
        inner = [value for value in data.values() if isinstance(value, dict)]
        target = draw(st.sampled_from([data, *inner]))
        field = draw(st.sampled_from(sorted(target) + _all_fields))
        if draw(st.booleans()):
            target.pop(field, None)
        else:
            target[field] = draw(_values)
    return data


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_mutants())
def test_any_mutant_is_accepted_or_refused_clearly(data: dict[str, Any]) -> None:
    message = refusal(json.dumps(data))
    assert not message or is_clear(message), message
