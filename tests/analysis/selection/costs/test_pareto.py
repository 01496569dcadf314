"""Which options are on the Pareto front, with what is unknown left open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.selection.costs.pareto import dominates_in_cost, pareto_front
from analysis.selection.record import Cost
from retriever.errors import ShapeError


def cost(seconds: float | None = None, size: float | None = None, milliseconds: float | None = None) -> Cost:
    return Cost(seconds_per_1000_chunks=seconds, bytes_per_chunk=size, milliseconds_per_query=milliseconds)


def front(*options: tuple[float | None, Cost]) -> list[bool]:
    return pareto_front([quality for quality, _ in options], [cost for _, cost in options]).tolist()


def test_what_is_worse_and_no_cheaper_is_not_on_the_front() -> None:
    small, big, waste = (0.5, cost(1, 4, 9)), (0.6, cost(2, 8, 9)), (0.5, cost(2, 4, 9))
    assert front(small, big, waste) == [True, True, False]


def test_of_equal_options_all_stay() -> None:
    assert front((0.5, cost(1, 4, 9)), (0.5, cost(1, 4, 9))) == [True, True]


def test_without_any_cost_quality_alone_decides() -> None:
    assert front((0.5, cost()), (0.6, cost()), (0.6, cost())) == [False, True, True]


def test_a_figure_that_no_option_knows_does_not_count() -> None:
    assert front((0.5, cost(1, 4)), (0.5, cost(2, 4)), (0.6, cost(3, 4))) == [True, False, True]


def test_what_one_option_does_not_know_cannot_be_held_against_it_nor_for_it() -> None:
    assert front((0.6, cost(1, 4, 9)), (0.5, cost(2, 8))) == [True, True]
    assert front((0.6, cost(1, 4)), (0.5, cost(2, 8, 9))) == [True, True]
    # two that lack the same figure, which a third knows, are not compared either
    assert front((0.6, cost(1)), (0.5, cost(2)), (0.4, cost(9, 9, 9))) == [True, True, True]


def test_an_unknown_quality_is_not_compared() -> None:
    assert front((None, cost(1, 4, 9)), (0.5, cost(2, 8, 9))) == [True, True]


def test_what_costs_less_dominates_whatever_its_quality() -> None:
    found = dominates_in_cost([cost(1, 4, 9), cost(2, 4, 9), cost(0.5, 8, 9)])
    assert found.tolist() == [[False, True, False], [False, False, False], [False, False, False]]


def test_nothing_has_no_front_and_costs_must_match() -> None:
    assert front() == []
    with pytest.raises(ShapeError, match="costs: expected 2 rows"):
        pareto_front([0.1, 0.2], [cost()])


FIGURES = st.one_of(st.none(), st.integers(0, 3).map(float))


@given(
    options=st.lists(st.tuples(FIGURES, FIGURES, FIGURES, FIGURES), min_size=1, max_size=8),
    seed=st.randoms(use_true_random=False),
)
def test_the_front_is_never_empty_and_knows_no_order(options: list[tuple], seed: object) -> None:
    def marked(rows: list[tuple]) -> list[bool]:
        return front(*((row[0], cost(*row[1:])) for row in rows))

    shuffled = options.copy()
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    found = marked(options)
    assert any(found)
    assert sorted(zip(map(str, options), found, strict=True)) == sorted(
        zip(map(str, shuffled), marked(shuffled), strict=True)
    )


@given(options=st.lists(st.tuples(*[st.integers(0, 3)] * 4), min_size=1, max_size=8))
def test_what_is_off_the_front_is_dominated_by_something_on_it(options: list[tuple]) -> None:
    found = front(*((row[0], cost(*map(float, row[1:]))) for row in options))
    losses = [(-row[0], *row[1:]) for row in options]
    for loss, is_on in zip(losses, found, strict=True):
        above = [
            other
            for other, other_is_on in zip(losses, found, strict=True)
            if other_is_on and other != loss and all(a <= b for a, b in zip(other, loss, strict=True))
        ]
        assert is_on == (not above)
