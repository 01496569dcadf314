"""Charts as SVG, from plain numbers: the page sets their colours and sizes through classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from analysis.framework import Line
from analysis.report.figures import number, percent, signed
from analysis.resampling import Interval

_FEW = 5  # marks on an axis
_NAMED = 50  # points that can each have a name
_MIDDLE = 305  # of a scatter plot: names stand towards it


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Takes values from `low` to `high` to places from `start` to `stop`, in units of the drawing.

    Places are rounded to `digits`: whole units are finer than a screen shows.
    """

    low: float
    high: float
    start: float
    stop: float
    digits: int = 0

    def __call__(self, value: float) -> str:
        """Return the place of a value, as SVG writes it."""
        place = self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)
        return f"{place:.{self.digits}f}"

    def marks(self) -> list[float]:
        """Return a few round numbers within the scale."""
        step = _round_step((self.high - self.low) / _FEW)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]

    def written(self, value: float, *, sign: bool) -> str:
        """Return a mark with as many digits as tell it from its neighbours."""
        digits = max(0, -math.floor(math.log10(_round_step((self.high - self.low) / _FEW)) + 1e-9))
        return signed(value, digits) if sign and value else number(value, digits)


def around(values: Sequence[float], *, start: float, stop: float, zero: bool = True) -> Scale:
    """Return a scale that holds all values, with a margin; with zero too, if asked for."""
    low, high = min(values), max(values)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    margin = 0.06 * (high - low) or 0.01
    return Scale(low=low - margin, high=high + margin, start=start, stop=stop)


def interval_chart(gain: Interval, *, minimum_gain: float) -> Markup:
    """Draw a gain with its interval on an axis with zero, and with the required gain where there is one."""
    across = around([gain.low, gain.high, minimum_gain], start=10, stop=410)
    parts = [_mark(across, value, top=14, bottom=52, label=70) for value in across.marks()]
    parts.append(Markup('<path class="zero" d="M{} 6V52"/>').format(across(0)))
    if minimum_gain:
        parts.append(Markup('<path class="required" d="M{} 6V52"/>').format(across(minimum_gain)))
    parts.append(_whisker(across, gain, middle=32, cap=9))
    parts.append(Markup('<circle class="estimate" cx="{}" cy="32" r="8"/>').format(across(gain.estimate)))
    label = (
        f"Gain {signed(gain.estimate)}, {percent(gain.confidence)} interval {signed(gain.low)} to "
        f"{signed(gain.high)}"
    )
    return _drawing("interval", width=420, height=78, label=label, parts=parts)


def whisker(gain: Interval, across: Scale) -> Markup:
    """Draw a gain with its interval on a scale that all rows of a table share; the numbers are beside it."""
    return Markup('<svg><path d="M{} 0v14"/><path d="M{} 7H{}M{} 2v10"/></svg>').format(
        across(0), across(gain.low), across(gain.high), across(gain.estimate)
    )


def scatter(  # noqa: PLR0913  # what a plot is made of
    x: Sequence[float],
    y: Sequence[float],
    names: Sequence[str],
    *,
    vertical: tuple[float, float],
    line: Line,
    marked: int | None,
    label: str,
) -> Markup:
    """Draw points with a fitted line.

    Parameters
    ----------
    x, y, names
        One of each per point.
    vertical
        Smallest and largest value of all panels that shall be comparable.
    line
        Fitted to the points.
    marked
        Index of a point to point out.
    label
        What the drawing shows, for those who do not see it.
    """
    across = around(x, start=60, stop=550, zero=False)
    up = around(vertical, start=200, stop=8)
    parts = [_mark(across, value, top=8, bottom=200, label=216) for value in across.marks()]
    parts += [_level(up, value, left=60, right=550) for value in up.marks()]
    parts.append(Markup('<path class="zero" d="M60 {}H550"/>').format(up(0)))
    parts.append(Markup('<text x="{}" y="233">adjusted dissimilarity</text>').format(_MIDDLE))
    parts.append(Markup('<text transform="translate(11 104) rotate(-90)">gain</text>'))
    parts.append(_fitted(across, up, line, ends=(min(x), max(x))))
    places = [(across(right), up(high)) for right, high in zip(x, y, strict=True)]
    parts.append(_points(places, names))
    if marked is not None:
        parts.append(Markup('<circle class="chosen" cx="{}" cy="{}" r="7"/>').format(*places[marked]))
    for index in dict.fromkeys((_highest(y), _highest([-value for value in y]))):
        parts.append(_named(places[index], names[index], is_right=float(places[index][0]) > _MIDDLE))
    return _drawing("scatter", width=560, height=238, label=label, parts=parts)


def differences(values: Sequence[float], *, label: str) -> Markup:
    """Draw one bar per value, largest first: gains upwards, losses downwards."""
    ordered = sorted(values, reverse=True)
    reach = max(0.05, *(abs(value) for value in ordered))
    up = Scale(low=-reach, high=reach, start=190, stop=6, digits=1)
    along = Scale(low=0, high=len(ordered), start=46, stop=990, digits=1)
    won = [value for value in ordered if value > 0]
    lost = [value for value in ordered if value < 0]
    parts = [_level(up, value, left=46, right=990) for value in up.marks()]
    parts.append(Markup('<path class="win" d="{}"/>').format(_bars(won, 0, along, up)))
    parts.append(
        Markup('<path class="loss" d="{}"/>').format(_bars(lost, len(ordered) - len(lost), along, up))
    )
    parts.append(Markup('<path class="zero" d="M46 {}H990"/>').format(up(0)))
    return _drawing("differences", width=1000, height=196, label=label, parts=parts)


def _drawing(kind: str, *, width: int, height: int, label: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        kind, width, height, label, Markup("").join(parts)
    )


def _whisker(across: Scale, gain: Interval, *, middle: int, cap: int) -> Markup:
    return Markup('<path class="bar" d="M{0} {2}V{3}M{1} {2}V{3}M{0} {4}H{1}"/>').format(
        across(gain.low), across(gain.high), middle - cap, middle + cap, middle
    )


def _mark(across: Scale, value: float, *, top: int, bottom: int, label: int) -> Markup:
    return Markup('<path class="grid" d="M{0} {1}V{2}"/><text x="{0}" y="{3}">{4}</text>').format(
        across(value), top, bottom, label, across.written(value, sign=across.low < 0)
    )


def _level(up: Scale, value: float, *, left: int, right: int) -> Markup:
    return Markup(
        '<path class="grid" d="M{} {}H{}"/><text class="side" x="{}" y="{}" dy="4">{}</text>'
    ).format(left, up(value), right, left - 6, up(value), up.written(value, sign=True))


def _points(places: Sequence[tuple[str, str]], names: Sequence[str]) -> Markup:
    """Return points that tell their name when pointed at; plain dots where there are many, to stay small."""
    if len(places) > _NAMED:
        return Markup('<path class="dots" d="{}"/>').format(
            "".join(f"M{right} {high}h0" for right, high in places)
        )
    return Markup("").join(
        Markup('<circle cx="{}" cy="{}" r="4"><title>{}</title></circle>').format(*place, name)
        for place, name in zip(places, names, strict=True)
    )


def _named(place: tuple[str, str], name: str, *, is_right: bool) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" dx="{}" dy="-8">{}</text>').format(
        "name side" if is_right else "name start", *place, 6 if is_right else -6, name
    )


def _highest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def _fitted(across: Scale, up: Scale, line: Line, *, ends: tuple[float, float]) -> Markup:
    places = [(across(end), up(line.slope * end + line.intercept)) for end in ends]
    return Markup('<path class="fit" d="M{} {}L{} {}"/>').format(*places[0], *places[1])


def _bars(values: Sequence[float], first: int, along: Scale, up: Scale) -> str:
    """Return one outline of neighbouring bars, which start at the zero line."""
    if not values:
        return ""
    steps = "".join(f"V{up(value)}H{along(first + index + 1)}" for index, value in enumerate(values))
    return f"M{along(first)} {up(0)}{steps}V{up(0)}Z"


def _round_step(rough: float) -> float:
    """Return 1, 2 or 5 times a power of ten, the next one above."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
