"""From what is expected and measured of options, and what they take, to a row for each and a best guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.arrays import FloatArray
from analysis.resampling import Interval
from analysis.selection.costs.budget import Budget
from analysis.selection.costs.cost import Costs
from analysis.selection.costs.pareto import pareto_front
from analysis.selection.deciding.decision import UNKNOWN_COST, OptionGain
from analysis.selection.deciding.prediction import CLEAR, Expectation, choose
from analysis.selection.outcome import Row
from analysis.selection.record import Option
from retriever.errors import InputError


def option_rows(  # noqa: PLR0913  # all but the first two by name
    options: Sequence[Option],
    expected: Expectation,
    *,
    costs: Costs | None,
    budget: Budget,
    intervals: Mapping[str, Interval] | None = None,
    gains: Mapping[str, OptionGain] | None = None,
) -> tuple[Row, ...]:
    """Return what is known of every option.

    Parameters
    ----------
    options
        One single model among them at least.
    expected
        Of these options.
    costs
        What they take; None where nothing was measured.
    budget
        What they may take.
    intervals, gains
        By label, as measured; None without judgements.
    """
    measured, gained = intervals or {}, gains or {}
    singles = [row for row, option in enumerate(options) if option.is_single]
    best = max(singles, key=lambda row: expected.mean[row])
    taken = [UNKNOWN_COST if costs is None else costs.of(option) for option in options]
    qualities = [
        measured[option.label].estimate if option.label in measured else float(mean)
        for option, mean in zip(options, expected.mean, strict=True)
    ]
    front = pareto_front(qualities, taken)
    found = []
    for place, option in enumerate(options):
        gain, deviation = expected.gain(place, best)
        found.append(
            Row(
                option=option,
                expected=float(expected.mean[place]),
                deviation=float(expected.deviation[place]),
                expected_gain=gain,
                gain_deviation=deviation,
                measured=measured.get(option.label),
                gain=gained.get(option.label),
                cost=taken[place],
                is_affordable=budget.admits(taken[place]),
                on_front=bool(front[place]),
            )
        )
    return tuple(found)


def best_guess(
    rows: Sequence[Row], expected: Expectation, ndcg: FloatArray | None = None, *, clear: float = CLEAR
) -> Option:
    """Return what is expected to be best of all that can be deployed and is within the budget.

    Parameters
    ----------
    rows
        Of all options.
    expected
        Of the same options, without judgements.
    ndcg : float64, shape (n_options, n_queries)
        NDCG@10 of each judged query; None if there are none.
    clear
        As in `analysis.selection.deciding.prediction.choose`.

    Raises
    ------
    InputError
        If there is no such option.
    """
    places = [i for i, row in enumerate(rows) if row.option.is_deployable and row.is_affordable]
    if not places:
        raise InputError("budget: expected an option within it that can be deployed, got none. Raise it.")
    chosen = choose(expected.of(places), None if ndcg is None else ndcg[places], clear=clear)
    return rows[places[chosen]].option
