"""Chart geometry: numbers in, shapes out. Pure; `templates/charts.html` renders it as SVG.

A chart is `BUCKET_WIDTH` wide per bucket and `HEIGHT` high, and is stretched to the available
width. Links lie over it, each with a description: one per bucket, or one per several buckets where
a bucket is too narrow to point at.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10

HEIGHT = 100.0
BUCKET_WIDTH = 10.0

_GAP = 1.2
_MAX_BARS_WITH_GAPS = 100
"""With more bars, gaps are narrower than a pixel and flicker."""

_MAX_LABELS = 4

_DAY_MS = 86_400_000
_ROUND_DURATIONS_MS = [
    *(n * 1000 for n in (1, 2, 4, 10, 20, 30)),
    *(n * 60_000 for n in (1, 2, 4, 10, 20, 30)),
    *(n * 3_600_000 for n in (1, 2, 4, 8, 12, 16, 24)),
]

Values = tuple[float | None, ...]
"""The values of one bucket, one for each series."""


@dataclass(frozen=True, slots=True)
class Point:
    """A link over a chart that covers `buckets` buckets."""

    name: str
    description: str
    link: str
    buckets: int = 1


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of a series."""

    series: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """The shapes of a chart. `ticks` are the values of the vertical axis, from the top down."""

    buckets: int
    ticks: Sequence[float]
    boxes: Sequence[Box] = ()
    lines: Sequence[str] = ()
    areas: Sequence[str] = ()

    @property
    def width(self) -> float:
        return self.buckets * BUCKET_WIDTH

    @property
    def paths(self) -> dict[str, str]:
        """SVG path data by series: all its boxes as one shape."""
        shapes: dict[str, list[str]] = defaultdict(list)
        for box in self.boxes:
            shapes[box.series].append(
                f"M{box.x:g} {box.y:g}h{box.width:g}v{box.height:g}h{-box.width:g}z"
            )
        return {series: "".join(parts) for series, parts in shapes.items()}


def stacked_bars(
    buckets: Sequence[Values],
    series: Sequence[str],
    round_up: Callable[[float], float] | None = None,
) -> Drawing:
    """Draw one stacked bar per bucket; a bucket's values are its series, from the bottom up.

    `round_up` returns the top of the vertical axis for the height of the highest bar; the default
    is `round_up_number`.
    """
    highest = max((sum(value or 0 for value in values) for values in buckets), default=0)
    top = (round_up or round_up_number)(highest)
    gap = _GAP if len(buckets) <= _MAX_BARS_WITH_GAPS else 0
    boxes = []
    for index, values in enumerate(buckets):
        below = 0.0
        for name, value in zip(series, values, strict=True):
            y, bottom_y = _y((below + (value or 0)) / top), _y(below / top)
            below += value or 0
            if y < bottom_y:
                height = round(bottom_y - y, 2)
                x = index * BUCKET_WIDTH + gap / 2
                boxes.append(Box(name, x, y, BUCKET_WIDTH - gap, height))
    return Drawing(len(buckets), (top, top / 2, 0), boxes)


def rate_line(buckets: Sequence[Values]) -> Drawing:
    """Draw a line of rates with a band around it.

    A bucket's values are the rate and the lower and upper edge of the band, each from 0 to 1. A
    bucket without a rate interrupts the line. A rate without neighbors is drawn as a box of the
    series `rate-point`.
    """
    lines, areas, single_points = [], [], []
    for segment in _segments(buckets):
        lines.append(" ".join(_coordinates(index, values[0]) for index, values in segment))
        low = [_coordinates(index, values[1]) for index, values in segment]
        high = [_coordinates(index, values[2]) for index, values in segment]
        areas.append(" ".join([*high, *reversed(low)]))
        if len(segment) == 1:
            index, (rate, *_) = segment[0]
            x, width = index * BUCKET_WIDTH + _GAP, BUCKET_WIDTH - 2 * _GAP
            single_points.append(Box("rate-point", x, _y(rate) - 1, width, 2))
    return Drawing(len(buckets), (1, 0.5, 0), single_points, lines, areas)


def axis_labels(labels: Sequence[str]) -> list[str]:
    """Select up to four labels, evenly spread from the first to the last; needs at least one."""
    last = len(labels) - 1
    indexes = {round(n * last / (_MAX_LABELS - 1)) for n in range(_MAX_LABELS)}
    return [labels[index] for index in sorted(indexes)]


def round_up_number(value: float) -> float:
    """Return a round even number that is at least `value`: 2, 4, 10, 20, 40, …"""
    if value <= 2:
        return 2
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 4, 10) if step * power >= value)


def round_up_duration(duration_ms: float) -> float:
    """Return a round duration in ms that is at least `duration_ms`: 1, 2, 4, 10 s, …, 16 h, …"""
    return next(
        (round_ms for round_ms in _ROUND_DURATIONS_MS if round_ms >= duration_ms),
        round_up_number(duration_ms / _DAY_MS) * _DAY_MS,
    )


def _segments(buckets: Sequence[Values]) -> list[list[tuple[int, Values]]]:
    """Group consecutive buckets that have a rate; each with its index."""
    segments: list[list[tuple[int, Values]]] = []
    for index, values in enumerate(buckets):
        if values[0] is not None:
            if segments and segments[-1][-1][0] == index - 1:
                segments[-1].append((index, values))
            else:
                segments.append([(index, values)])
    return segments


def _coordinates(index: int, value: float | None) -> str:
    return f"{(index + 0.5) * BUCKET_WIDTH:g},{_y(value):g}"


def _y(value: float | None) -> float:
    return round((1 - (value or 0)) * HEIGHT, 2)
