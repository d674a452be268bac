"""Pictures of rehearsals: the numbers that are drawn, the file, and what is said where it cannot be made."""

import struct
from pathlib import Path

import pytest
from small_worlds import job, rehearse

from kos_ray.model.errors import InvalidSpec
from kos_ray.rehearsal.chart import check_chart, draw_chart
from kos_ray.rehearsal.plot import plot_lines
from kos_ray.rehearsal.record import Record
from kos_ray.rehearsal.report import means, report_of, utilisation_over_time, waiting_over_time, waits_by_band


@pytest.fixture
def record() -> Record:
    """One CPU of two is used for 10 s, both for 10 s; b waits for 5 s, c for 10 s."""
    found = rehearse("1x2cpu", job(0, 10), job(5, 10, cpu=2, band=1), job(10, 10, band=4), policy="preemption=false")
    report_of(found)
    return found


def test_what_is_drawn(record: Record) -> None:
    assert waits_by_band(record) == {"realtime": [5.0], "default": [0.0], "idle": [10.0]}
    assert utilisation_over_time(record, 6) == pytest.approx([0.5, 0.5, 1, 1, 0.5, 0.5])
    assert waiting_over_time(record, 6) == {
        "realtime": pytest.approx([0, 1, 0, 0, 0, 0]),
        "default": [0] * 6,
        "idle": pytest.approx([0, 0, 1, 1, 0, 0]),
    }
    assert report_of(record).waiting[0] == 0
    assert max(report_of(record).waiting) == 1


def test_means_over_parts_of_the_time() -> None:
    assert means([(0, 4), (15, 0)], 0, 20, 2) == [4, 2]
    assert means([(-5, 2), (5, 0)], 0, 10, 5) == pytest.approx([2, 2, 1, 0, 0])
    assert means([(0, 4)], 3, 3, 2) == []


def chunks(data: bytes) -> dict[bytes, bytes]:
    """A PNG's chunks by kind."""
    found, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        found[data[at + 4 : at + 8]] = data[at + 8 : at + 8 + length]
        at += 12 + length
    return found


def test_the_file(record: Record, tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    draw_chart(record, "a title", first)
    draw_chart(record, "a title", second)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(b"\x89PNG\r\n")
    parts = chunks(first.read_bytes())
    assert struct.unpack(">II", parts[b"IHDR"][:8]) == (1200, 1080)
    assert not {b"tEXt", b"iTXt", b"tIME"} & set(parts), "neither date nor versions"
    other = rehearse("1x2cpu", job(0, 9))
    report_of(other)
    draw_chart(other, "a title", second)
    assert first.read_bytes() != second.read_bytes()


def test_a_rehearsal_in_which_nothing_happened(tmp_path: Path) -> None:
    record = rehearse("1x2cpu", job(0, 1, cpu=64))
    report_of(record)
    draw_chart(record, "nothing", tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1_000


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.pdf", "expected a file that ends in .png, found"), ("no/a.png", "in a folder that is there")],
)
def test_files_that_cannot_be(name: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=expected):
        check_chart(tmp_path / name)


def test_where_matplotlib_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check_chart(tmp_path / "a.png")
    monkeypatch.setattr("kos_ray.rehearsal.chart.find_spec", lambda _name: None)
    with pytest.raises(InvalidSpec, match=r'pip install "kos_ray\[plots\]"'):
        check_chart(tmp_path / "a.png")


def test_characters() -> None:
    assert plot_lines([0, 3, 6], 6, rows=2) == ["   6   █", "   3  ██"]
    assert plot_lines([50], 100, " %", rows=2) == [" 100 %", "  50 % █"]
