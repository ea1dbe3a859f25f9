"""Charts: numbers in, the geometry of drawings out. Pure; templates/charts.html draws them.

A drawing is as wide as it has buckets and 100 high, stretched to whatever room there is. Every
bucket is a link to what it stands for, and says its numbers in words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10

HEIGHT = 100.0
WIDTH = 10.0
"""Of one bucket."""

_GAP = 1.2
_LABELS = 4

_DAY_MS = 86_400_000
_SPANS_MS = [
    *(n * 1000 for n in (1, 2, 4, 10, 20, 30)),
    *(n * 60_000 for n in (1, 2, 4, 10, 20, 30)),
    *(n * 3_600_000 for n in (1, 2, 4, 8, 12, 16)),
]


@dataclass(frozen=True, slots=True)
class Point:
    """A bucket: what it is called, and in short, what it says, where it leads, its values."""

    name: str
    label: str
    says: str
    link: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of a drawing; `kind` is the series it belongs to."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """`boxes` of bars, `lines` and `areas` as lists of points; `scale` from the top down."""

    points: Sequence[Point]
    boxes: Sequence[Box]
    lines: Sequence[str]
    areas: Sequence[str]
    scale: Sequence[float]
    labels: Sequence[str]

    @property
    def width(self) -> float:
        return len(self.points) * WIDTH


def bars(
    points: Sequence[Point], kinds: Sequence[str], nice: Callable[[float], float] | None = None
) -> Drawing:
    """Stacked bars: a point's values are the series, from the ground up. `nice` finds a round
    number that is not below the highest bar."""
    most = max((sum(v or 0 for v in p.values) for p in points), default=0)
    top = (nice or nice_top)(most)
    boxes = []
    for number, point in enumerate(points):
        y = HEIGHT
        for kind, value in zip(kinds, point.values, strict=True):
            height = (value or 0) / top * HEIGHT
            if height > 0:
                y -= height
                x = number * WIDTH + _GAP / 2
                boxes.append(Box(kind, x, round(y, 3), WIDTH - _GAP, round(height, 3)))
    return Drawing(points, boxes, (), (), (top, top / 2, 0), _labels(points))


def rates(points: Sequence[Point]) -> Drawing:
    """A line of rates with a band around it: values are the rate, and the band's low and high."""
    lines, areas = [], []
    for run in _unbroken(points):
        lines.append(" ".join(_at(number, point.values[0]) for number, point in run))
        low = [_at(number, point.values[1]) for number, point in run]
        high = [_at(number, point.values[2]) for number, point in run]
        areas.append(" ".join([*high, *reversed(low)]))
    wide = [
        Box("alone", run[0][0] * WIDTH + _GAP, _y(run[0][1].values[0]) - 1, WIDTH - 2 * _GAP, 2)
        for run in _unbroken(points)
        if len(run) == 1
    ]
    return Drawing(points, wide, lines, areas, (1, 0.5, 0), _labels(points))


def nice_top(most: float) -> float:
    """A round number that is not below the most: 1, 2, 5, 10, 20, 50 and so on."""
    if most <= 0:
        return 1
    power = 10.0 ** floor(log10(most))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= most)


def nice_span(most_ms: float) -> float:
    """A round length of time, in ms, that is not below the most."""
    return next(
        (span for span in _SPANS_MS if span >= most_ms), nice_top(most_ms / _DAY_MS) * _DAY_MS
    )


def _unbroken(points: Sequence[Point]) -> list[list[tuple[int, Point]]]:
    """Neighbours that all have a rate."""
    runs: list[list[tuple[int, Point]]] = []
    for number, point in enumerate(points):
        if point.values[0] is not None:
            if runs and runs[-1][-1][0] == number - 1:
                runs[-1].append((number, point))
            else:
                runs.append([(number, point)])
    return runs


def _at(number: int, value: float | None) -> str:
    return f"{(number + 0.5) * WIDTH:g},{_y(value):g}"


def _y(value: float | None) -> float:
    return round((1 - (value or 0)) * HEIGHT, 3)


def _labels(points: Sequence[Point]) -> list[str]:
    """The names that fit under a chart, evenly spread from the first to the last."""
    last = len(points) - 1
    numbers = {round(n * last / (_LABELS - 1)) for n in range(_LABELS)}
    return [points[number].label for number in sorted(numbers)]
