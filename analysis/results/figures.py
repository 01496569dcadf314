"""Every figure of results: the one file that imports matplotlib.

Figures are made with its object-oriented interface, without a window; its settings are left as they
were. The same results give the same bytes: no dates, and the ids in SVG files come from a fixed salt.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from analysis.arrays import FloatArray
from analysis.evaluation import Evaluation, Pair, PairSimilarity, Weighting
from analysis.framework import Correlations, fitted_line
from analysis.results.paper import BASELINE, MEASURES, WEIGHTINGS, Framework, measure_of
from analysis.results.record import CollectionResults, Results

_ByPair: TypeAlias = Mapping[Pair, float]

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": "0.5",
    "axes.linewidth": 0.6,
    "figure.facecolor": "white",
    "svg.hashsalt": "tandem",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a name may hold a dollar sign
}
_INK = "0.15"
_DPI = 160
_CELL = 0.36
"""Inches; enough for two digits."""
_LETTER = 0.075
"""Inches that a letter of a name takes."""
_GAP = 0.35
"""Inches to the right of a panel, and above it for its title."""
_HEADLINE = 0.4
"""Inches at the top of a figure."""
_FEWEST_CELLS = 5
"""A heat map is never narrower than so many cells: there must be room for the bar of its colours."""
_LONGEST_NAME = 32
_SCATTER = (2.5, 1.9)
_SCATTER_MARGINS = (0.6, 0.55)
"""Of a panel of gains against dissimilarity, and its margins left and below, in inches."""
_POINT, _LINE = "#0072B2", "#D55E00"
"""Blue and vermilion of the palette of Okabe and Ito."""
_SIMILAR = "YlGnBu"
_GAINS = "RdBu"
_SMALLEST_GAIN = 0.005
"""Colours never span less: noise shall not look like a finding."""


def draw_figures(results: Results) -> Iterator[tuple[str, bytes]]:
    """Draw every figure that the results fill, as name of the file and content, each as SVG and as PNG.

    ``figure1`` and ``similarity_COLLECTION`` are heat maps of similarity, the mean over collections
    and each; ``figure2_WEIGHTING`` the gains of all pairs over their better halves;
    ``dissimilarity_COLLECTION`` the gains against adjusted dissimilarity.
    """
    with mpl.rc_context(_STYLE):
        for name, figure in _figures(results):
            yield f"{name}.svg", _svg(figure)
            yield f"{name}.png", _png(figure)


def _figures(results: Results) -> Iterator[tuple[str, Figure]]:
    paired = [one for one in results.collections if one.evaluation.similarities]
    if paired:
        yield "figure1", _similarity_figure(paired, title=_mean_title(paired))
    for collection in paired:
        yield (
            f"similarity_{collection.facts.name}",
            _similarity_figure([collection], title=collection.facts.name),
        )
    framework = Framework(results=results)
    for weighting in WEIGHTINGS:
        if framework.judged:
            yield f"figure2_{weighting}", _gain_figure(framework.judged, weighting)
    for collection in framework.judged:
        name = collection.facts.name
        yield f"dissimilarity_{name}", _dissimilarity_figure(framework, name)


def _mean_title(collections: Sequence[CollectionResults]) -> str:
    names = ", ".join(one.facts.name for one in collections)
    return f"mean over {names}" if len(collections) > 1 else names


def _similarity_figure(collections: Sequence[CollectionResults], *, title: str) -> Figure:
    keys = _keys(collections)
    panels = {
        name: _mean([_similarities(one.evaluation, measure) for one in collections])
        for name, measure in _measures(collections).items()
    }
    headline = f"How alike the models are: {title}"
    axes = _panels(headline, len(panels), columns=3, size=_size(len(keys)), margins=_margins(keys))
    for place, (name, values) in zip(axes, panels.items(), strict=True):
        grid = _grid(values, keys)
        low, high = float(np.nanmin(grid)), float(np.nanmax(grid))
        norm = Normalize(low, high) if high > low else Normalize(low - 0.01, high + 0.01)
        _heat_map(place, grid, keys, _Look(colours=_SIMILAR, norm=norm, form=_unsigned, title=name))
    return _figure_of(axes)


def _gain_figure(collections: Sequence[CollectionResults], weighting: Weighting) -> Figure:
    keys = _keys(collections)
    headline = f"Gain of each pair over its better half, NDCG@10 in points ({weighting} weights)"
    axes = _panels(headline, len(collections), columns=2, size=_size(len(keys)), margins=_margins(keys))
    gains = [_gains(one.evaluation, weighting) for one in collections]
    widest = max(_SMALLEST_GAIN, *(abs(gain) for one in gains for gain in one.values()))
    norm = TwoSlopeNorm(0.0, -widest, widest)
    for place, one, values in zip(axes, collections, gains, strict=True):
        better = sum(gain > 0 for gain in values.values())
        title = f"{one.facts.name}: {better} of {len(values)} pairs gain"
        _heat_map(
            place, _grid(values, keys), keys, _Look(colours=_GAINS, norm=norm, form=_points, title=title)
        )
    return _figure_of(axes)


def _dissimilarity_figure(framework: Framework, collection: str) -> Figure:
    headline = f"Gain of each pair against adjusted dissimilarity: {collection}"
    headings = {BASELINE: "baseline (α = 0)"} | {
        measure: f"{heading} (α = {framework.alpha(measure):g})" for measure, heading in MEASURES.items()
    }
    places = [(weighting, column) for weighting in WEIGHTINGS for column in headings]
    axes = _panels(headline, len(places), columns=len(headings), size=_SCATTER, margins=_SCATTER_MARGINS)
    gains = [one[collection].gain for one in framework.figures.values()]
    low, high = (100 * float(end) for end in (np.min(gains), np.max(gains)))
    for panel, (weighting, column) in zip(axes, places, strict=True):
        figures = framework.figures[weighting, measure_of(column)][collection]
        _scatter(panel, figures.adjusted(framework.alpha(column)), 100 * figures.gain)
        found = framework.correlations[weighting, column][collection]
        panel.set_title(f"{headings[column]}: {_rho_text(found)}", color=_INK, fontsize=9)
        panel.set_ylim(low - 0.06 * (high - low) - 0.1, high + 0.06 * (high - low) + 0.1)
        panel.set_xlabel("adjusted dissimilarity", fontsize=8, color=_INK)
        if column == BASELINE:
            panel.set_ylabel(f"gain, points ({weighting})", fontsize=8, color=_INK)
    return _figure_of(axes)


def _scatter(axes: Axes, adjusted: FloatArray, gain: FloatArray) -> None:
    axes.axhline(0, color="0.75", linewidth=0.8, zorder=0)
    axes.scatter(adjusted, gain, s=14, color=_POINT, alpha=0.75, linewidths=0)
    line = fitted_line(adjusted, gain)
    if line is not None:
        ends = np.array([np.nanmin(adjusted), np.nanmax(adjusted)])
        axes.plot(ends, line.intercept + line.slope * ends, color=_LINE, linewidth=1.4)
    axes.tick_params(labelsize=7.5, length=2.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _rho_text(found: Correlations) -> str:
    if np.isnan(found.overall):
        return "no ρ"
    rho, interval = f"ρ = {found.overall:.2f}", found.interval
    text = rho if interval is None else f"{rho} [{interval.low:.2f}, {interval.high:.2f}]"
    return text.replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """How a heat map looks; `form` writes a cell."""

    colours: str
    norm: Normalize
    form: Callable[[float], str]
    title: str


def _size(n_models: int) -> tuple[float, float]:
    return _CELL * max(n_models - 1, _FEWEST_CELLS), _CELL * (n_models - 1)


def _margins(keys: Sequence[str]) -> tuple[float, float]:
    """Return the room for names to the left, and for slanted ones below, in inches."""
    longest = _LETTER * max(len(_short(key)) for key in keys) + 0.15
    return longest, 0.8 * longest


def _panels(
    headline: str,
    count: int,
    *,
    columns: int,
    size: tuple[float, float],
    margins: tuple[float, float],
) -> list[Axes]:
    """Return panels of a new figure, row by row; their size and the margins left and below in inches."""
    columns = min(columns, count)
    rows = -(-count // columns)
    across, down = (margin + side + _GAP for side, margin in zip(size, margins, strict=True))
    width, height = columns * across, rows * down + _HEADLINE
    figure = Figure(figsize=(width, height))
    figure.text(0.12 / width, 1 - 0.12 / height, headline, ha="left", va="top", fontsize=12, color=_INK)
    places = [divmod(index, columns) for index in range(count)]
    return [
        figure.add_axes(
            (
                (column * across + margins[0]) / width,
                ((rows - 1 - row) * down + margins[1]) / height,
                size[0] / width,
                size[1] / height,
            )
        )
        for row, column in places
    ]


def _figure_of(axes: Sequence[Axes]) -> Figure:
    figure = axes[0].get_figure(root=True)
    assert figure is not None  # noqa: S101  # for the type checker
    return figure


def _heat_map(axes: Axes, grid: FloatArray, keys: Sequence[str], look: _Look) -> None:
    """Draw the lower triangle of a symmetric matrix: each pair once, without the diagonal."""
    shown = np.ma.masked_invalid(np.where(np.tri(len(keys), k=-1, dtype=bool), grid, np.nan)[1:, :-1])
    image = axes.imshow(shown, cmap=look.colours, norm=look.norm)
    places = range(len(keys) - 1)
    axes.set_xticks(
        places, [_short(key) for key in keys[:-1]], rotation=45, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(places, [_short(key) for key in keys[1:]])
    axes.tick_params(length=0)
    width, height = _size(len(keys))
    axes.set_title(look.title, color=_INK, x=-0.9 * _margins(keys)[0] / width)  # room for a long one
    axes.set_xlim(-0.5, max(len(keys) - 1, _FEWEST_CELLS) - 0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for row, column in zip(*np.nonzero(~np.ma.getmaskarray(shown)), strict=True):
        value = float(shown[row, column])
        ink = _ink_on(image.cmap(look.norm(value)))
        axes.text(column, row, look.form(value), ha="center", va="center", fontsize=7, color=ink)
    bar = axes.inset_axes((0.62, 1 - 0.22 / height, 0.36, 0.13 / height))
    axes.figure.colorbar(image, cax=bar, orientation="horizontal", format=lambda value, _: look.form(value))
    bar.tick_params(labelsize=7, length=2, colors=_INK)
    bar.set_xticks([value for value in (image.norm.vmin, image.norm.vmax) if value is not None])
    first, *_, last = bar.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")


def _ink_on(colour: Sequence[float]) -> str:
    """Return black or white, whichever can be read on a colour (by its relative luminance)."""
    red, green, blue = colour[:3]
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5 else _INK  # noqa: PLR2004


def _unsigned(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1)


def _points(value: float) -> str:
    points = f"{100 * value:+.1f}"
    return "0" if points in {"+0.0", "-0.0"} else points.replace("-", "\N{MINUS SIGN}")


def _keys(collections: Sequence[CollectionResults]) -> list[str]:
    """Return the models of any of these collections that are in a pair, in the order they are met."""
    pairs = [pair.models for one in collections for pair in one.evaluation.similarities]
    return list(dict.fromkeys(key for pair in pairs for key in pair))


def _measures(collections: Sequence[CollectionResults]) -> dict[str, Callable[[PairSimilarity], float]]:
    """Return what similarity can be shown by: the overlaps only where all collections have queries."""
    measures: dict[str, Callable[[PairSimilarity], float]] = {}
    overlaps = [pair.overlaps for one in collections for pair in one.evaluation.similarities]
    if all(overlaps):
        k = max(one[0].k for one in overlaps)
        measures[f"Jaccard@{k}"] = lambda pair: pair.jaccard
        measures[f"RankSim@{k}"] = lambda pair: pair.rank_similarity
    measures["CKA"] = lambda pair: pair.cka
    return measures


def _similarities(evaluation: Evaluation, measure: Callable[[PairSimilarity], float]) -> _ByPair:
    return {pair.models: measure(pair) for pair in evaluation.similarities}


def _gains(evaluation: Evaluation, weighting: str) -> _ByPair:
    pairs = [pair for pair in evaluation.pairs if pair.weighting == weighting]
    return {(pair.models[0], pair.models[1]): evaluation.improvement(pair) for pair in pairs}


def _mean(tables: Sequence[_ByPair]) -> _ByPair:
    """Return the mean of each pair over the tables that have it."""
    gathered: dict[Pair, list[float]] = {}
    for table in tables:
        for pair, value in table.items():
            gathered.setdefault(pair, []).append(value)
    return {pair: float(np.mean(values)) for pair, values in gathered.items()}


def _grid(values: _ByPair, keys: Sequence[str]) -> FloatArray:
    """Return a symmetric matrix; NaN on the diagonal and where a pair was not measured."""
    place = {key: index for index, key in enumerate(keys)}
    grid = np.full((len(keys), len(keys)), np.nan)
    for (first, second), value in values.items():
        grid[place[first], place[second]] = grid[place[second], place[first]] = value
    return grid


def _short(key: str) -> str:
    return key if len(key) <= _LONGEST_NAME else key[: _LONGEST_NAME - 1] + "…"


def _svg(figure: Figure) -> bytes:
    out = io.BytesIO()
    FigureCanvasSVG(figure).print_figure(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()
