"""Candidates are listed once each, in a fixed order, at weights that follow their rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.selection.record import Option
from analysis.selection.scoring.candidates import (
    enumerate_options,
    fused,
    grid_options,
    grow,
    pairs,
    quality_weights,
    singles,
    weighted,
    with_lexical,
)
from retriever.combine import calibrated_weights
from retriever.errors import InputError

KEYS = ("A", "B", "C")
SPREADS = {"A": 0.1, "B": 0.05, "C": 0.2, "bm25": 0.5}
QUALITY = {"A": 0.4, "B": 0.8, "C": 0.2}


def labels(options: Sequence[Option]) -> list[str]:
    return [option.label for option in options]


def test_all_options_of_two_models_are_these_in_this_order() -> None:
    options = enumerate_options(("A", "B"), SPREADS, quality=QUALITY, lexical=True)
    assert labels(options) == [
        "A",
        "B",
        "A+B (equal)",
        "A+B (calibrated)",
        "A+B (quality)",
        "bm25",
        "A+bm25 (calibrated)",
        "B+bm25 (calibrated)",
        "A+B+bm25 (calibrated)",
        "A+B (rrf)",
        "A+B (dbsf)",
    ]
    assert [option.is_deployable for option in options] == [True] * 5 + [False] + [True] * 3 + [False] * 2
    assert labels(enumerate_options(("A", "B"), SPREADS, fusions=False)) == labels(options)[:4]


@given(n=st.integers(1, 8), lexical=st.booleans(), fusions=st.booleans())
def test_every_label_comes_once_and_all_weights_sum_to_one(n: int, *, lexical: bool, fusions: bool) -> None:
    keys = [f"m{i}" for i in range(n)]
    spreads = {key: 0.1 + i / 10 for i, key in enumerate([*keys, "bm25"])}
    quality = {key: 0.5 + i / 100 for i, key in enumerate(keys)}
    options = enumerate_options(keys, spreads, quality=quality, lexical=lexical, fusions=fusions)
    assert (
        len(set(labels(options)))
        == len(options)
        == n + n * (n - 1) // 2 * (3 + 2 * fusions) + lexical * (1 + n + n * (n - 1) // 2)
    )
    for option in options:
        assert sum(option.weights.values()) == pytest.approx(1)
        assert list(option.legs) == sorted(option.legs, key=[*keys, "bm25"].index)


def test_weights_follow_their_rules() -> None:
    equal, calibrated, quality = pairs(("A", "B"), SPREADS, quality=QUALITY)
    # one over the spread: 10 and 20; times quality to the power of four, 10·0.0256 and 20·0.4096
    assert equal.weights == {"A": 0.5, "B": 0.5}
    assert calibrated.weights == pytest.approx({"A": 1 / 3, "B": 2 / 3})
    assert quality.weights == pytest.approx({"A": 0.256 / 8.448, "B": 8.192 / 8.448})
    # one over the spread: 10, 20, 2
    assert with_lexical(("A", "B"), SPREADS)[-1].weights == pytest.approx(
        {"A": 10 / 32, "B": 20 / 32, "bm25": 2 / 32}
    )
    assert all(option.weights == {"A": 0.5, "B": 0.5} for option in fused(("A", "B")))


@given(
    a=st.floats(0.01, 1),
    b=st.floats(0.01, 1),
    scale=st.floats(0.1, 10),
    power=st.floats(0, 8),
)
def test_quality_counts_by_its_ratio_alone_and_equal_quality_is_calibrated(
    a: float, b: float, scale: float, power: float
) -> None:
    weights = quality_weights(("A", "B"), SPREADS, {"A": a, "B": b}, power=power)
    scaled = quality_weights(("A", "B"), SPREADS, {"A": scale * a, "B": scale * b}, power=power)
    assert weights == pytest.approx(scaled, rel=1e-6)
    calibrated = calibrated_weights(("A", "B"), SPREADS)
    assert quality_weights(("A", "B"), SPREADS, {"A": a, "B": a}, power=power) == pytest.approx(calibrated)
    assert (weights["A"] - calibrated["A"]) * (a - b) >= -1e-12


def test_a_grid_goes_evenly_over_the_calibrated_scale() -> None:
    grid = grid_options(("A", "B"), SPREADS, steps=3)
    shares = [
        SPREADS["A"] * option.weights["A"] / sum(SPREADS[leg] * option.weights[leg] for leg in ("A", "B"))
        for option in grid
    ]
    assert shares == pytest.approx([0.25, 0.5, 0.75])
    assert grid[1].weights == pytest.approx(calibrated_weights(("A", "B"), SPREADS))
    assert {option.weighting for option in grid} == {"tuned"}
    assert len(grid_options(("A", "bm25"), SPREADS)) == 9


class Qualities:
    """Measures options by the sum of what their legs are worth, and keeps what it was asked."""

    def __init__(self, **worth: float) -> None:
        self.worth = worth
        self.asked: list[str] = []

    def __call__(self, options: Sequence[Option]) -> list[float]:
        self.asked += labels(options)
        return [sum(self.worth[leg] for leg in option.legs) for option in options]


START = weighted(("A", "C"), "calibrated", SPREADS)
FOUR = {**SPREADS, "D": 0.3}


def test_legs_are_added_best_first_while_they_gain() -> None:
    measure = Qualities(A=1, B=0.1, C=1, D=0.2, bm25=-0.1)
    found = grow(measure, START, (*KEYS, "D", "bm25"), FOUR)
    assert labels(found) == ["A+C (calibrated)", "A+C+D (calibrated)", "A+B+C+D (calibrated)"]
    assert found[-1].weights == pytest.approx(calibrated_weights(("A", "B", "C", "D"), FOUR))
    assert measure.asked == [
        "A+C (calibrated)",
        "A+B+C (calibrated)",
        "A+C+D (calibrated)",
        "A+C+bm25 (calibrated)",
        "A+B+C+D (calibrated)",
        "A+C+D+bm25 (calibrated)",
        "A+B+C+D+bm25 (calibrated)",
    ]


def test_nothing_is_added_beyond_the_most_legs() -> None:
    def found(most_legs: int) -> list[str]:
        measure = Qualities(A=1, B=0.1, C=1, D=0.2)
        return labels(grow(measure, START, (*KEYS, "D"), FOUR, most_legs=most_legs))

    assert found(most_legs=3) == ["A+C (calibrated)", "A+C+D (calibrated)"]
    assert found(most_legs=2) == ["A+C (calibrated)"]


def test_of_equals_the_first_is_added_and_a_tie_with_what_is_there_adds_nothing() -> None:
    assert labels(grow(Qualities(A=1, B=0.3, C=1, D=0.3), START, (*KEYS, "D"), FOUR, most_legs=3))[-1] == (
        "A+B+C (calibrated)"
    )
    assert labels(grow(Qualities(A=1, B=0, C=1), START, KEYS, SPREADS)) == ["A+C (calibrated)"]


def test_what_grows_keeps_its_rule_and_a_single_model_becomes_calibrated() -> None:
    measure = Qualities(A=1, B=1, C=1)
    by_quality = weighted(("A", "B"), "quality", SPREADS, quality=QUALITY)
    assert labels(grow(measure, by_quality, KEYS, SPREADS, quality=QUALITY))[-1] == "A+B+C (quality)"
    assert labels(grow(measure, singles(KEYS)[1], KEYS, SPREADS)) == [
        "B",
        "A+B (calibrated)",
        "A+B+C (calibrated)",
    ]


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "no model": (lambda: singles(()), "keys: expected at least one and each once, got none"),
    "a model twice": (lambda: enumerate_options(("A", "A"), SPREADS), "each once, got A, A"),
    "a model without spread": (lambda: pairs(("A", "D"), SPREADS), "got none of D"),
    "a model without quality": (
        lambda: pairs(("A", "B"), SPREADS, quality={"A": 0.5}),
        "expected a quality of at least 0 of every leg, got none of B",
    ),
    "a quality below 0": (
        lambda: quality_weights(("A", "B"), SPREADS, {"A": 0.5, "B": -0.1}),
        "expected a quality of at least 0 of every leg, got none of B",
    ),
    "a quality that is none": (
        lambda: quality_weights(("A", "B"), SPREADS, {"A": float("nan"), "B": 0.5}),
        "got none of A",
    ),
    "no quality at all": (
        lambda: quality_weights(("A", "B"), SPREADS, {"A": 0.0, "B": 0.0}),
        "expected a quality above 0 of one of A, B, got 0 of all",
    ),
    "tuned weights": (lambda: weighted(("A", "B"), "tuned", SPREADS), "got 'tuned': tuned weights are found"),
    "a grid without steps": (lambda: grid_options(("A", "B"), SPREADS, steps=0), "at least 1, got 0"),
    "fused ranks that grow": (
        lambda: grow(Qualities(A=1, B=1), fused(("A", "B"))[0], KEYS, SPREADS),
        r"start: expected a sum at weights that follow a rule, of A, B, C, got A\+B \(rrf\)",
    ),
    "a start of other legs": (
        lambda: grow(Qualities(A=1), singles(("A",))[0], ("B",), SPREADS),
        "of B, got A. Start from another",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_option_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
