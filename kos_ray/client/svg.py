"""A workflow as SVG: layers from left to right, parents before children."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from kos_ray.client.pictures import colour

_WIDTH, _HEIGHT = 150, 34
_GAP_X, _GAP_Y = 56, 14
_MARGIN = 8
_LABEL_MAX = 20
#: boxes that are drawn; a picture of more shows nothing
BOXES_MAX = 400


@dataclass(frozen=True, slots=True)
class Box:
    """One job: what it is called, its state ("" before the submission), and the places of its parents."""

    label: str
    state: str = ""
    parents: tuple[int, ...] = ()


def draw(boxes: Sequence[Box], title: str) -> str:
    """The picture; boxes stand behind their parents in the sequence, as they do in a submission."""
    if len(boxes) > BOXES_MAX:
        return f"<p>{escape(title)}: {len(boxes)} jobs, more than the {BOXES_MAX} that a picture holds</p>"
    layers = _ordered(boxes)
    places = {
        box: (_MARGIN + x * (_WIDTH + _GAP_X), _MARGIN + y * (_HEIGHT + _GAP_Y))
        for x, layer in enumerate(layers)
        for y, box in enumerate(layer)
    }
    width = 2 * _MARGIN + len(layers) * (_WIDTH + _GAP_X) - _GAP_X
    height = 2 * _MARGIN + max(map(len, layers), default=0) * (_HEIGHT + _GAP_Y) - _GAP_Y
    lines = [_edge(places[p], places[i]) for i, box in enumerate(boxes) for p in box.parents]
    drawn = [_box(box, *places[i]) for i, box in enumerate(boxes)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{max(width, 0)}" height="{max(height, 0)}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title>{"".join(lines + drawn)}</svg>'
    )


def _ordered(boxes: Sequence[Box]) -> list[list[int]]:
    """Layers by the longest way from a root; in each, boxes by the mean place of their parents, so that few cross."""
    depth: list[int] = []
    for box in boxes:
        depth.append(max((depth[parent] + 1 for parent in box.parents), default=0))
    layers: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for index, layer in enumerate(depth):
        layers[layer].append(index)
    row: dict[int, int] = {}
    for layer_boxes in layers:
        layer_boxes.sort(key=lambda index: _mean([row[parent] for parent in boxes[index].parents]))
        row.update({index: place for place, index in enumerate(layer_boxes)})
    return layers


def _mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = start[0] + _WIDTH, start[1] + _HEIGHT // 2
    x2, y2 = end[0], end[1] + _HEIGHT // 2
    bend = (x2 - x1) // 2
    return f'<path d="M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}" fill="none" stroke="#9a9a9a"/>'


def _box(box: Box, x: int, y: int) -> str:
    text = box.label if len(box.label) <= _LABEL_MAX else f"{box.label[: _LABEL_MAX - 1]}…"
    full = f"{box.label}: {box.state}" if box.state else box.label
    return (
        f'<g><title>{escape(full)}</title><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
        f'fill="#ffffff" stroke="{colour(box.state)}" stroke-width="2"/>'
        f'<text x="{x + _WIDTH // 2}" y="{y + _HEIGHT // 2 + 4}" text-anchor="middle" fill="#202020">'
        f"{escape(text)}</text></g>"
    )
