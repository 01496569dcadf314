"""Figures are drawn from results alone, equal for equal results, with every name and number in them."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from dataclasses import replace

import matplotlib as mpl
import pytest

from analysis.results import figures
from analysis.results.figures import draw_figures
from analysis.results.record import Results


def root(content: bytes) -> ET.Element:
    return ET.fromstring(content)  # noqa: S314  # our own drawing


@pytest.fixture(scope="module")
def drawn(results: Results) -> dict[str, bytes]:
    return dict(draw_figures(results))


@pytest.fixture(scope="module")
def words(results: Results) -> dict[str, str]:
    """All text of each SVG file, with text written as text and not as outlines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(figures._STYLE, "svg.fonttype", "none")
        drawn = list(draw_figures(results))
    return {
        name: "\n".join(element.text or "" for element in root(content).iter() if element.text)
        for name, content in drawn
        if name.endswith(".svg")
    }


def test_every_figure_is_there_in_both_formats(drawn: dict[str, bytes]) -> None:
    stems = [
        *("figure1", "similarity_NFCorpus", "similarity_scifact", "similarity_own"),
        *("figure2_equal", "figure2_calibrated", "dissimilarity_NFCorpus", "dissimilarity_scifact"),
    ]
    assert list(drawn) == [f"{stem}.{ending}" for stem in stems for ending in ("svg", "png")]
    for name, content in drawn.items():
        if name.endswith(".png"):
            assert content.startswith(b"\x89PNG\r\n\x1a\n")
            width, height = struct.unpack(">II", content[16:24])
            assert 400 < width < 6000
            assert 300 < height < 6000
        else:
            assert root(content).tag == "{http://www.w3.org/2000/svg}svg"


def test_the_same_results_give_the_same_bytes(results: Results, drawn: dict[str, bytes]) -> None:
    again = dict(draw_figures(replace(results, collections=results.collections[:1])))
    for name in ("similarity_NFCorpus", "dissimilarity_NFCorpus"):
        for ending in ("svg", "png"):
            assert again[f"{name}.{ending}"] == drawn[f"{name}.{ending}"]


def test_settings_of_matplotlib_are_left_as_they_were(results: Results) -> None:
    before = dict(mpl.rcParams)
    list(draw_figures(replace(results, collections=results.collections[2:])))
    assert dict(mpl.rcParams) == before


def test_heat_maps_have_every_name_and_value(results: Results, words: dict[str, str]) -> None:
    for collection in results.collections:
        lines = words[f"similarity_{collection.facts.name}.svg"].splitlines()
        assert {"Jaccard@5", "RankSim@5", "CKA"} <= set(lines)
        for key in collection.facts.spreads:
            assert key in lines  # as it is, also with a dollar sign
        for pair in collection.evaluation.similarities:
            assert f"{pair.cka:.2f}".removeprefix("0") in lines


def test_figure_1_has_the_mean_over_collections(results: Results, words: dict[str, str]) -> None:
    pairs = zip(*(one.evaluation.similarities for one in results.collections), strict=True)
    for same in pairs:
        mean = sum(pair.jaccard for pair in same) / len(same)
        assert f"{mean:.2f}".removeprefix("0") in words["figure1.svg"].splitlines()
    assert "mean over NFCorpus, scifact, own" in words["figure1.svg"]


def test_figure_2_has_the_gain_of_every_pair(results: Results, words: dict[str, str]) -> None:
    for weighting in ("equal", "calibrated"):
        lines = words[f"figure2_{weighting}.svg"].splitlines()
        for collection in results.collections[:2]:
            pairs = [pair for pair in collection.evaluation.pairs if pair.weighting == weighting]
            gains = [collection.evaluation.improvement(pair) for pair in pairs]
            assert (
                f"{collection.facts.name}: {sum(gain > 0 for gain in gains)} of {len(gains)} pairs gain"
                in lines
            )
            for gain in gains:
                text = f"{100 * gain:+.1f}".replace("-", "\N{MINUS SIGN}")
                assert ("0" if text[1:] == "0.0" else text) in lines


def test_scatter_plots_say_rho_with_its_interval(results: Results, words: dict[str, str]) -> None:
    from analysis.results.paper import Framework

    correlations = Framework(results=results).correlations
    for name in ("NFCorpus", "scifact"):
        for found in (one[name] for one in correlations.values()):
            assert found.interval is not None
            text = f"ρ = {found.overall:.2f} [{found.interval.low:.2f}, {found.interval.high:.2f}]"
            assert text.replace("-", "\N{MINUS SIGN}") in words[f"dissimilarity_{name}.svg"]


def test_a_pair_that_a_collection_lacks_is_left_blank(results: Results) -> None:
    first, second = results.collections[:2]
    fewer = replace(
        second,
        evaluation=replace(
            second.evaluation,
            singles=second.evaluation.singles[:2],
            pairs=second.evaluation.pairs[:3],
            similarities=second.evaluation.similarities[:1],
        ),
    )
    drawn = dict(draw_figures(replace(results, collections=(first, fewer))))
    assert len(drawn["similarity_scifact.png"]) < len(drawn["similarity_NFCorpus.png"])
    assert "figure2_equal.svg" in drawn
