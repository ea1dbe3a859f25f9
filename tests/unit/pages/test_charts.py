"""Chart geometry: shapes match the numbers that they are drawn from."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitrate.pages.charts import (
    BUCKET_WIDTH,
    HEIGHT,
    Box,
    Values,
    axis_labels,
    rate_line,
    round_up_duration,
    round_up_number,
    stacked_bars,
)

SERIES = ("local", "remote", "miss")
COUNT = st.integers(0, 10**7)
BUCKETS = st.lists(st.tuples(COUNT, COUNT, COUNT), max_size=40)
RATE = st.none() | st.floats(0, 1)
SECOND_MS, HOUR_MS, DAY_MS = 1000, 3_600_000, 86_400_000


def heights(boxes: list[Box]) -> dict[int, dict[str, float]]:
    """Return the heights of boxes by bucket and series."""
    by_bucket: dict[int, dict[str, float]] = defaultdict(dict)
    for box in boxes:
        by_bucket[int(box.x // BUCKET_WIDTH)][box.series] = box.height
    return by_bucket


@given(BUCKETS)
def test_bar_heights_are_proportional_to_values(buckets: list[tuple[int, int, int]]) -> None:
    drawing = stacked_bars(buckets, SERIES)
    top = drawing.ticks[0]
    drawn = heights(list(drawing.boxes))
    for index, values in enumerate(buckets):
        assert sum(drawn[index].values()) == pytest.approx(sum(values) / top * HEIGHT, abs=0.02)
        for series, value in zip(SERIES, values, strict=True):
            assert drawn[index].get(series, 0) == pytest.approx(value / top * HEIGHT, abs=0.02)


@given(BUCKETS)
def test_bars_stay_within_their_bucket_and_stack_without_gaps(
    buckets: list[tuple[int, int, int]],
) -> None:
    by_bucket = defaultdict(list)
    for box in stacked_bars(buckets, SERIES).boxes:
        number = int(box.x // BUCKET_WIDTH)
        assert number * BUCKET_WIDTH < box.x < box.x + box.width < (number + 1) * BUCKET_WIDTH
        assert 0 <= box.y < box.y + box.height <= HEIGHT + 0.001
        by_bucket[number].append(box)
    for boxes in by_bucket.values():
        bottom_y = HEIGHT
        for box in boxes:  # from the bottom up
            assert box.y + box.height == pytest.approx(bottom_y, abs=0.001)
            bottom_y = box.y


def test_zero_and_missing_values_have_no_bar() -> None:
    drawing = stacked_bars([(0, 0, 0), (None, None, None), (0, 2, 0)], SERIES)
    assert drawing.boxes == [Box("remote", 2 * BUCKET_WIDTH + 0.6, 0, BUCKET_WIDTH - 1.2, HEIGHT)]
    assert drawing.width == 3 * BUCKET_WIDTH


def test_empty_chart_has_ticks() -> None:
    assert stacked_bars([], SERIES).ticks == (2, 1, 0)
    assert stacked_bars([(0, 0, 0)], SERIES).ticks == (2, 1, 0)


def test_more_than_100_bars_have_no_gaps() -> None:
    boxes = stacked_bars([(1, 0, 0)] * 101, SERIES).boxes
    assert [(box.x, box.width) for box in boxes] == [
        (n * BUCKET_WIDTH, BUCKET_WIDTH) for n in range(101)
    ]


def test_boxes_of_a_series_form_one_path() -> None:
    paths = stacked_bars([(1, 1, 0), (2, 0, 0)], SERIES).paths
    assert paths == {
        "local": "M0.6 50h8.8v50h-8.8zM10.6 0h8.8v100h-8.8z",
        "remote": "M0.6 0h8.8v50h-8.8z",
    }


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, 2), (1, 2), (2, 2), (3, 4), (5, 10), (10, 10), (11, 20), (21, 40), (41, 100)],
)
def test_round_up_number_returns_round_numbers(value: int, top: int) -> None:
    assert round_up_number(value) == top


@given(st.integers(0, 10**15))
def test_round_up_number_is_at_most_2_5_times_the_value_and_even(value: int) -> None:
    top = round_up_number(value)
    assert max(value, 2) <= top < 2.5 * max(value, 2)
    assert top % 2 == 0


@pytest.mark.parametrize(
    ("duration_ms", "top_ms"),
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
def test_round_up_duration_returns_round_durations(duration_ms: int, top_ms: int) -> None:
    assert round_up_duration(duration_ms) == top_ms


@given(st.integers(0, 10**13))
def test_round_up_duration_is_at_most_2_5_times_the_duration(duration_ms: int) -> None:
    top_ms = round_up_duration(duration_ms)
    assert duration_ms <= top_ms < 2.5 * max(duration_ms, SECOND_MS)


def test_rate_line_is_interrupted_by_buckets_without_a_rate() -> None:
    nothing: Values = (None, None, None)
    drawing = rate_line(
        [(1.0, 0.5, 1.0), (0.5, 0.25, 0.75), nothing, (0.0, 0.0, 0.0), (0.25, 0.2, 0.3)]
    )
    assert drawing.lines == ["5,0 15,50", "35,100 45,75"]
    assert drawing.areas == ["5,0 15,25 15,75 5,50", "35,100 45,70 45,80 35,100"]
    assert drawing.boxes == []


def test_rate_without_neighbors_is_drawn_as_a_box() -> None:
    drawing = rate_line([(None, None, None), (0.75, 0.7, 0.8), (None, None, None)])
    [box] = drawing.boxes
    assert BUCKET_WIDTH < box.x < box.x + box.width < 2 * BUCKET_WIDTH
    assert box.y < 25 < box.y + box.height


@given(st.lists(st.tuples(RATE, RATE, RATE), max_size=30))
def test_rate_line_passes_through_every_rate(buckets: list[Values]) -> None:
    drawn = re.findall(r"([\d.]+),([\d.]+)", " ".join(rate_line(buckets).lines))
    rates = [(index, values[0]) for index, values in enumerate(buckets) if values[0] is not None]
    assert len(drawn) == len(rates)
    for (x, y), (index, rate) in zip(drawn, rates, strict=True):
        assert float(x) == (index + 0.5) * BUCKET_WIDTH
        assert float(y) == pytest.approx((1 - rate) * HEIGHT, abs=0.006)


@given(st.integers(1, 500))
def test_axis_labels_include_the_first_and_the_last(count: int) -> None:
    labels = [str(number) for number in range(count)]
    selected = axis_labels(labels)
    assert selected[0] == "0"
    assert selected[-1] == labels[-1]
    assert len(selected) == min(count, 4)
    assert [int(label) for label in selected] == sorted({int(label) for label in selected})
