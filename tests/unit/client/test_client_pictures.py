"""What handles show of themselves is escaped and never fails."""

import xml.etree.ElementTree as ET
from io import StringIO

from client_fake import FakeCluster
from rich.console import Console

from kos_ray.client import pictures
from kos_ray.client.svg import BOXES_MAX, Box, draw
from kos_ray.model.ids import JobKey
from kos_ray.model.views import JobView

NASTY = '<script>alert("x")</script>[red]&'


def view(**fields: object) -> JobView:
    return JobView(id="01", key=JobKey(1), state="failed", name=NASTY, type=NASTY, error=NASTY, **fields)  # type: ignore[arg-type]


def test_html_is_escaped() -> None:
    for html in (
        pictures.job_html(NASTY, None),
        pictures.job_html("01", view(attempt=1, node=NASTY)),
        pictures.jobs_html(NASTY, {NASTY: 2}),
        pictures.views_html([view()]),
        draw([Box(NASTY, NASTY)], NASTY),
    ):
        assert "<script>" not in html
        assert "&lt;script&gt;" in html
        assert ET.fromstring(f"<all>{html.replace('<br>', '<br/>')}</all>") is not None


def test_tables_take_no_markup_from_users() -> None:
    out = StringIO()
    Console(file=out, width=400).print(pictures.Views([view()]))
    assert "[red]" in out.getvalue()


def test_handles_show_themselves_without_a_cluster() -> None:
    cluster = FakeCluster(running=False)
    client = cluster.client()
    job, array = client.submit(len, "abc"), client.map(len, ["a", "b"])
    assert "ready" in job._repr_html_()
    assert "2" in array._repr_html_()
    cluster.views = _gone  # type: ignore[method-assign]
    assert job.id in job._repr_html_()
    assert array.id in array._repr_html_()
    client.close()


def _gone(_keys: object) -> list[JobView]:
    raise RuntimeError("gone")


def test_layers_go_from_left_to_right() -> None:
    boxes = [Box("a"), Box("b", parents=(0,)), Box("c", parents=(0, 1)), Box("d")]
    tree = ET.fromstring(draw(boxes, "t"))
    rects = [(int(r.get("x") or 0), int(r.get("y") or 0)) for r in tree.iter("{http://www.w3.org/2000/svg}rect")]
    assert rects[0][0] == rects[3][0] < rects[1][0] < rects[2][0]
    assert len(set(rects)) == 4
    assert "more than" in draw([Box("x")] * (BOXES_MAX + 1), "t")
    assert draw([], "empty").startswith("<svg")
