"""`results_to`: what may be said, and what becomes of it."""

import pytest

from kos_ray.model.dispatch import To
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import Sink, Spec
from kos_ray.model.payload import open_payload
from kos_ray.model.policy import Policy, changed
from kos_ray.model.wire import from_plain, to_plain
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import lower
from kos_ray.spec.policies import change_of
from kos_ray.spec.results_to import SINKS_MAX


def lowered(said: str) -> tuple[Sink, ...]:
    (draft,) = lower([load_text(f"run: 'true'\nnamespace: team\nresults_to: {said}\n")])
    return draft.spec.results_to


def test_every_place_is_lowered() -> None:
    file, hook, box = lowered(
        "[{file: 'reports/{date}/{id}.json'}, {webhook: 'https://example.org/done', secret_file: /s}, {mailbox: done}]"
    )
    assert file == Sink(file="reports/{date}/{id}.json")
    assert hook == Sink(url="https://example.org/done", secret_file="/s")
    assert box == Sink(mailbox="done")
    assert [one.name for one in (file, hook, box)] == [file.file, hook.url, "mailbox done"]


def test_an_agent_gets_the_result_in_front_of_what_the_document_says() -> None:
    (sink,) = lowered("{agent: indexer, method: take, args: [2], priority: high, timeout: 5s}")
    assert sink.spec is not None
    said = (sink.spec.receiver, sink.spec.entry, sink.spec.namespace, sink.spec.band, sink.spec.timeout_ms)
    assert said == ("indexer", "take", "team", 1, 5_000)
    assert b"input" in (open_payload(sink.args) or b"")  # type: ignore[operator]
    (able,) = lowered("{role: summariser, method: summarise}")
    assert able.spec is not None
    assert able.spec.to == To(role="summariser")
    assert able.name == "summariser.summarise"


def test_it_travels_and_jobs_without_it_carry_nothing() -> None:
    spec = Spec(results_to=lowered("{agent: indexer, method: take}"))
    assert from_plain(Spec, to_plain(spec)) == spec
    assert "results_to" not in to_plain(Spec())


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("nowhere", "expected a mapping with one of file, webhook, agent, role, mailbox"),
        ("{fil: a}", 'did you mean "file"'),
        ("{file: '{id}', mailbox: a}", "expected one of file"),
        ("{file: 'a.json'}", r"expected \{id\} in the path"),
        ("{file: '{job}.json'}", r"expected \{id\}, \{name\}, .*found \{job\}"),
        ("{file: '../{id}'}", r"without \.\."),
        ("{file: '{id'}", "expected a path such as"),
        ("{file: '{id:>1000000000}.json'}", r"expected \{id\} without a form or conversion, found \{id:>1000000000\}"),
        ("{file: 'x{id:.0}.json'}", r"found \{id:\.0\}"),
        ("{file: '{id!r}.json'}", r"found \{id!r\}"),
        ("{file: '{id}', states: [failed]}", "file: expected file, found 'states'"),
        (f"{{mailbox: {'a' * 501}}}", "mailbox: expected a name of 1 to 500 signs, found 501"),
        ("{webhook: 'ftp://a'}", "expected a URL such as https"),
        ("{agent: a}", "expected method beside it"),
        ("{agent: a, method: m, count: 3}", "found count"),
        ("{role: {role: a}, method: m}", "expected the role's name"),
        (str([{"mailbox": "a"}] * (SINKS_MAX + 1)), "at most 16"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(said: str, found: str) -> None:
    with pytest.raises(InvalidSpec, match=rf"(?s):3.*results_to.*{found}"):
        lowered(said)


def test_folders_are_settings() -> None:
    assert changed(Policy(), change_of("result_folders", "/data")).result_folders == ("/data",)
    with pytest.raises(InvalidSpec, match="absolute path"):
        change_of("result_folders", "data")
