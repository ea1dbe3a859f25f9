"""Charts: numbers in, the geometry of drawings out. Pure; templates/charts.html draws them.

A drawing is as wide as the period has parts and 100 high, stretched to whatever room there is.
Over it lie points, each a link to what it stands for that says its numbers in words: one for each
part, or for several where parts are too narrow to be met.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10

HEIGHT = 100.0
WIDTH = 10.0
"""Of one part."""

_GAP = 1.2
_GAPS_MOST = 100
"""More would be narrower than what a screen can show, and flicker."""

_LABELS = 4

_DAY_MS = 86_400_000
_SPANS_MS = [
    *(n * 1000 for n in (1, 2, 4, 10, 20, 30)),
    *(n * 60_000 for n in (1, 2, 4, 10, 20, 30)),
    *(n * 3_600_000 for n in (1, 2, 4, 8, 12, 16, 24)),
]

Values = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """What it is called, what it says, where it leads, and how many parts it covers."""

    name: str
    says: str
    link: str
    parts: int = 1


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

    parts: int
    scale: Sequence[float]
    boxes: Sequence[Box] = ()
    lines: Sequence[str] = ()
    areas: Sequence[str] = ()

    @property
    def width(self) -> float:
        return self.parts * WIDTH

    @property
    def paths(self) -> dict[str, str]:
        """All boxes of each kind, as one shape to draw."""
        shapes: dict[str, list[str]] = defaultdict(list)
        for box in self.boxes:
            shapes[box.kind].append(
                f"M{box.x:g} {box.y:g}h{box.width:g}v{box.height:g}h{-box.width:g}z"
            )
        return {kind: "".join(drawn) for kind, drawn in shapes.items()}


def bars(
    parts: Sequence[Values], kinds: Sequence[str], nice: Callable[[float], float] | None = None
) -> Drawing:
    """Stacked bars: a part's values are the series, from the ground up. `nice` finds a round
    number that is not below the highest bar."""
    most = max((sum(value or 0 for value in values) for values in parts), default=0)
    top = (nice or nice_top)(most)
    gap = _GAP if len(parts) <= _GAPS_MOST else 0
    boxes = []
    for number, values in enumerate(parts):
        below = 0.0
        for kind, value in zip(kinds, values, strict=True):
            y, floor_y = _y((below + (value or 0)) / top), _y(below / top)
            below += value or 0
            if y < floor_y:
                height = round(floor_y - y, 2)
                boxes.append(Box(kind, number * WIDTH + gap / 2, y, WIDTH - gap, height))
    return Drawing(len(parts), (top, top / 2, 0), boxes)


def rates(parts: Sequence[Values]) -> Drawing:
    """A line of rates with a band around it: values are the rate, and the band's low and high."""
    lines, areas, alone = [], [], []
    for run in _unbroken(parts):
        lines.append(" ".join(_at(number, values[0]) for number, values in run))
        low = [_at(number, values[1]) for number, values in run]
        high = [_at(number, values[2]) for number, values in run]
        areas.append(" ".join([*high, *reversed(low)]))
        if len(run) == 1:
            number, (rate, *_) = run[0]
            alone.append(Box("alone", number * WIDTH + _GAP, _y(rate) - 1, WIDTH - 2 * _GAP, 2))
    return Drawing(len(parts), (1, 0.5, 0), alone, lines, areas)


def labels(names: Sequence[str]) -> list[str]:
    """Those that fit under a chart, of one or more, evenly spread from the first to the last."""
    last = len(names) - 1
    numbers = {round(n * last / (_LABELS - 1)) for n in range(_LABELS)}
    return [names[number] for number in sorted(numbers)]


def nice_top(most: float) -> float:
    """A round number that is not below the most, and whose half is whole: 2, 4, 10, 20, 40, 100
    and so on."""
    if most <= 2:
        return 2
    power = 10.0 ** floor(log10(most))
    return next(step * power for step in (1, 2, 4, 10) if step * power >= most)


def nice_span(most_ms: float) -> float:
    """A round duration, in ms, that is not below the most."""
    return next(
        (span for span in _SPANS_MS if span >= most_ms), nice_top(most_ms / _DAY_MS) * _DAY_MS
    )


def _unbroken(parts: Sequence[Values]) -> list[list[tuple[int, Values]]]:
    """Neighbours that all have a rate."""
    runs: list[list[tuple[int, Values]]] = []
    for number, values in enumerate(parts):
        if values[0] is not None:
            if runs and runs[-1][-1][0] == number - 1:
                runs[-1].append((number, values))
            else:
                runs.append([(number, values)])
    return runs


def _at(number: int, value: float | None) -> str:
    return f"{(number + 0.5) * WIDTH:g},{_y(value):g}"


def _y(value: float | None) -> float:
    return round((1 - (value or 0)) * HEIGHT, 2)
