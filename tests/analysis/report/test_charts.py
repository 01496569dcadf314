"""Charts put numbers where they belong."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.framework import Line
from analysis.report.charts import Scale, around, differences, interval_chart, scatter, whisker
from analysis.resampling import Interval

GAIN = Interval(estimate=0.02, low=-0.01, high=0.05, confidence=0.95)


def test_a_scale_takes_its_ends_to_its_ends() -> None:
    scale = Scale(low=-1.0, high=3.0, start=200, stop=0)
    # by hand: 1 is the middle of -1 and 3
    assert [scale(value) for value in (-1, 1, 3)] == ["200", "100", "0"]


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        # by hand: a fifth of the range, rounded up to 1, 2 or 5 times a power of ten
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-0.13, 0.31, ["−0.1", "0.0", "+0.1", "+0.2", "+0.3"]),
        (0.301, 0.349, ["0.31", "0.32", "0.33", "0.34"]),
        (-30.0, 40.0, ["−20", "0", "+20", "+40"]),
    ],
)
def test_marks_are_round_and_have_the_digits_they_need(low: float, high: float, marks: list[str]) -> None:
    scale = Scale(low=low, high=high, start=0, stop=100)
    assert [scale.written(mark, sign=low < 0) for mark in scale.marks()] == marks


@given(
    values=st.lists(st.floats(-1, 1), min_size=1, max_size=20),
    zero=st.booleans(),
)
def test_a_scale_around_values_holds_them_all(values: list[float], zero: bool) -> None:  # noqa: FBT001
    scale = around(values, start=10, stop=500, zero=zero)
    assert all(10 <= float(scale(value)) <= 500 for value in values)
    if zero:
        assert scale.low < 0 < scale.high
    marks = scale.marks()
    assert 1 <= len(marks) <= 12
    assert len({scale.written(mark, sign=True) for mark in marks}) == len(marks)


def test_a_whisker_goes_from_low_to_high_and_marks_zero_and_the_estimate() -> None:
    drawn = whisker(GAIN, Scale(low=-0.05, high=0.05, start=0, stop=100))
    # by hand: 1000 units per point of NDCG, zero at 50
    assert drawn == '<svg><path d="M50 0v14"/><path d="M40 7H100M70 2v10"/></svg>'


def test_an_interval_is_told_to_those_who_do_not_see_it() -> None:
    drawn = interval_chart(GAIN, minimum_gain=0.01)
    assert 'aria-label="Gain +0.020, 95 % interval −0.010 to +0.050"' in drawn
    assert 'class="required"' in drawn
    assert 'class="required"' not in interval_chart(GAIN, minimum_gain=0.0)


def points(drawn: str) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in re.findall(r'<circle cx="(\d+)" cy="(\d+)" r="4">', drawn)]


def plot(x: list[float], y: list[float], marked: int | None = None) -> str:
    return scatter(
        x,
        y,
        [f"P{i}" for i in range(len(x))],
        vertical=(-0.1, 0.1),
        line=Line(slope=0.2, intercept=-0.1),
        marked=marked,
        label="a plot",
    )


def test_points_stand_in_order_and_on_their_line() -> None:
    x = [0.2, 0.4, 0.8]
    drawn = plot(x, [0.2 * value - 0.1 for value in x], marked=1)
    (x0, y0), (x1, y1), (x2, y2) = points(drawn)
    assert x0 < x1 < x2
    assert y0 > y1 > y2  # upwards is more
    assert (x2 - x1) == pytest.approx(2 * (x1 - x0), abs=2)
    assert f'<path class="fit" d="M{x0} {y0}L{x2} {y2}"/>' in drawn
    assert f'<circle class="chosen" cx="{x1}" cy="{y1}" r="7"/>' in drawn
    assert re.findall("<title>(.*?)</title>", drawn) == ["P0", "P1", "P2"]
    assert re.findall('class="name [a-z]+".*?>(.*?)</text>', drawn) == ["P2", "P0"]  # highest, lowest


def test_many_points_are_dots_without_names() -> None:
    n = 60
    drawn = plot([i / n for i in range(n)], [0.1 - 0.2 * i / n for i in range(n)])
    assert points(drawn) == []
    assert drawn.count("h0") == n


def test_bars_are_sorted_with_gains_up_and_losses_down() -> None:
    drawn = differences([0.0, -0.5, 0.5, 0.25], label="bars")
    # by hand: four bars from 46 to 990, 236 each; zero at 98, 0.5 at 6, 0.25 at 52, -0.5 at 190
    assert '<path class="win" d="M46.0 98.0V6.0H282.0V52.0H518.0V98.0Z"/>' in drawn
    assert '<path class="loss" d="M754.0 98.0V190.0H990.0V98.0Z"/>' in drawn


def test_no_difference_at_all_is_a_flat_line() -> None:
    drawn = differences([0.0, 0.0], label="bars")
    assert '<path class="win" d=""/>' in drawn
    assert '<path class="loss" d=""/>' in drawn
