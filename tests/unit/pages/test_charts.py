"""The geometry of charts: what is drawn is what the numbers are."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitrate.pages.charts import (
    HEIGHT,
    WIDTH,
    Box,
    Values,
    bars,
    labels,
    nice_span,
    nice_top,
    rates,
)

KINDS = ("local", "remote", "miss")
COUNT = st.integers(0, 10**7)
PARTS = st.lists(st.tuples(COUNT, COUNT, COUNT), max_size=40)
RATE = st.none() | st.floats(0, 1)
SECOND_MS, HOUR_MS, DAY_MS = 1000, 3_600_000, 86_400_000


def heights(boxes: list[Box]) -> dict[int, dict[str, float]]:
    """By part and kind."""
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for box in boxes:
        found[int(box.x // WIDTH)][box.kind] = box.height
    return found


@given(PARTS)
def test_bars_stack_to_their_share_of_the_scale(parts: list[tuple[int, int, int]]) -> None:
    drawing = bars(parts, KINDS)
    top = drawing.scale[0]
    drawn = heights(list(drawing.boxes))
    for number, values in enumerate(parts):
        assert sum(drawn[number].values()) == pytest.approx(sum(values) / top * HEIGHT, abs=0.02)
        for kind, value in zip(KINDS, values, strict=True):
            assert drawn[number].get(kind, 0) == pytest.approx(value / top * HEIGHT, abs=0.02)


@given(PARTS)
def test_bars_stay_inside_and_stand_on_each_other(parts: list[tuple[int, int, int]]) -> None:
    by_part = defaultdict(list)
    for box in bars(parts, KINDS).boxes:
        number = int(box.x // WIDTH)
        assert number * WIDTH < box.x < box.x + box.width < (number + 1) * WIDTH
        assert 0 <= box.y < box.y + box.height <= HEIGHT + 0.001
        by_part[number].append(box)
    for boxes in by_part.values():
        floor_y = HEIGHT
        for box in boxes:  # from the ground up
            assert box.y + box.height == pytest.approx(floor_y, abs=0.001)
            floor_y = box.y


def test_what_is_nothing_is_not_drawn() -> None:
    drawing = bars([(0, 0, 0), (None, None, None), (0, 2, 0)], KINDS)
    assert drawing.boxes == [Box("remote", 2 * WIDTH + 0.6, 0, WIDTH - 1.2, HEIGHT)]
    assert drawing.width == 3 * WIDTH


def test_a_chart_of_nothing_has_a_scale() -> None:
    assert bars([], KINDS).scale == (2, 1, 0)
    assert bars([(0, 0, 0)], KINDS).scale == (2, 1, 0)


def test_where_bars_are_very_narrow_there_are_no_gaps() -> None:
    boxes = bars([(1, 0, 0)] * 101, KINDS).boxes
    assert [(box.x, box.width) for box in boxes] == [(n * WIDTH, WIDTH) for n in range(101)]


def test_all_boxes_of_a_kind_are_one_shape() -> None:
    paths = bars([(1, 1, 0), (2, 0, 0)], KINDS).paths
    assert paths == {
        "local": "M0.6 50h8.8v50h-8.8zM10.6 0h8.8v100h-8.8z",
        "remote": "M0.6 0h8.8v50h-8.8z",
    }


@pytest.mark.parametrize(
    ("most", "top"),
    [(0, 2), (1, 2), (2, 2), (3, 4), (5, 10), (10, 10), (11, 20), (21, 40), (41, 100)],
)
def test_scales_end_at_round_numbers(most: int, top: int) -> None:
    assert nice_top(most) == top


@given(st.integers(0, 10**15))
def test_a_scale_is_neither_too_low_nor_far_too_high_and_its_half_is_whole(most: int) -> None:
    top = nice_top(most)
    assert max(most, 2) <= top < 2.5 * max(most, 2)
    assert top % 2 == 0


@pytest.mark.parametrize(
    ("most_ms", "top_ms"),
    [
        (0, SECOND_MS),
        (1500, 2 * SECOND_MS),
        (45_000, 60_000),
        (5 * HOUR_MS, 8 * HOUR_MS),
        (17 * HOUR_MS, DAY_MS),
        (30 * HOUR_MS, 2 * DAY_MS),
        (5 * DAY_MS, 10 * DAY_MS),
    ],
)
def test_scales_of_time_end_at_round_spans(most_ms: int, top_ms: int) -> None:
    assert nice_span(most_ms) == top_ms


@given(st.integers(0, 10**13))
def test_a_scale_of_time_is_never_too_low(most_ms: int) -> None:
    assert most_ms <= nice_span(most_ms) < 2.5 * max(most_ms, SECOND_MS)


def test_a_line_has_a_gap_where_there_were_no_tasks() -> None:
    nothing: Values = (None, None, None)
    drawing = rates(
        [(1.0, 0.5, 1.0), (0.5, 0.25, 0.75), nothing, (0.0, 0.0, 0.0), (0.25, 0.2, 0.3)]
    )
    assert drawing.lines == ["5,0 15,50", "35,100 45,75"]
    assert drawing.areas == ["5,0 15,25 15,75 5,50", "35,100 45,70 45,80 35,100"]
    assert drawing.boxes == []


def test_a_rate_without_neighbours_is_seen_too() -> None:
    drawing = rates([(None, None, None), (0.75, 0.7, 0.8), (None, None, None)])
    [box] = drawing.boxes
    assert WIDTH < box.x < box.x + box.width < 2 * WIDTH
    assert box.y < 25 < box.y + box.height


@given(st.lists(st.tuples(RATE, RATE, RATE), max_size=30))
def test_lines_go_through_all_rates_and_no_others(parts: list[Values]) -> None:
    drawn = re.findall(r"([\d.]+),([\d.]+)", " ".join(rates(parts).lines))
    expected = [(number, values[0]) for number, values in enumerate(parts)]
    told = [(number, rate) for number, rate in expected if rate is not None]
    assert len(drawn) == len(told)
    for (x, y), (number, rate) in zip(drawn, told, strict=True):
        assert float(x) == (number + 0.5) * WIDTH
        assert float(y) == pytest.approx((1 - rate) * HEIGHT, abs=0.006)


@given(st.integers(1, 500))
def test_labels_begin_with_the_first_and_end_with_the_last(count: int) -> None:
    names = [str(number) for number in range(count)]
    shown = labels(names)
    assert shown[0] == "0"
    assert shown[-1] == names[-1]
    assert len(shown) == min(count, 4)
    assert [int(name) for name in shown] == sorted({int(name) for name in shown})
