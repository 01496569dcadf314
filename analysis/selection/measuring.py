"""Options measured on judged queries: those that are known beforehand, one more leg, tuned weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.judgements import Judgements
from analysis.selection.deciding.prediction import expect
from analysis.selection.deciding.tuning import tune_weights
from analysis.selection.record import MeasuredOption, Option
from analysis.selection.scoring.candidates import grid_options, grow
from analysis.selection.scoring.legs import CorpusLegs
from analysis.selection.scoring.scoreboard import measure

MOST_LEGS = 3
"""Of a combination that is grown."""

_TUNED_PAIRS = 5
_PAIR = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedLegs:
    """Legs of judged queries, by which options are measured.

    Attributes
    ----------
    legs
        Of the queries, in the order of `judgements`.
    keys
        Those of the models among them.
    judgements
        Queries and grades.
    quality
        Evidence by leg.
    drop_own
        Whether to drop hits whose document id equals the query id (ArguAna).
    seed
        Of the folds in which weights are tuned.
    """

    legs: CorpusLegs
    keys: tuple[str, ...]
    judgements: Judgements
    quality: Mapping[str, float]
    drop_own: bool
    seed: int

    def look_at(self, options: Sequence[Option], tell: Callable[[str], None]) -> list[MeasuredOption]:
        """Measure options, what can be grown of the best pair, and the weights of pairs that are promising.

        Parameters
        ----------
        options
            Known beforehand.
        tell
            Called with what is done next.

        Returns
        -------
        list of MeasuredOption
            Everything that was looked at, the options first: all of it counts where a verdict corrects for
            how much was tried.

        Raises
        ------
        ShapeError, JudgementsError
            As `analysis.selection.scoring.scoreboard.measure`.
        """
        tell(f"measuring {len(options)} options")
        measured = list(self._measured(options))
        return [*measured, *self._grown(measured), *self._tuned(options, tell)]

    def _measured(self, options: Sequence[Option]) -> tuple[MeasuredOption, ...]:
        return measure(self.legs.legs, options, self.legs.documents, self.judgements, drop_own=self.drop_own)

    def _grown(self, measured: Sequence[MeasuredOption]) -> list[MeasuredOption]:
        """Add to the best pair the model or BM25 that gains most; everything looked at is returned."""
        pairs = [one for one in measured if _is_sum_of_two(one.option)]
        if not pairs:
            return []
        best = max(pairs, key=lambda one: one.mean)
        known = {one.label: one for one in measured}
        looked_at: dict[str, MeasuredOption] = {}

        def values(options: Sequence[Option]) -> list[float]:
            new = [option for option in options if option.label not in known]
            found = {one.label: one for one in self._measured(new)} if new else {}
            looked_at.update(found)
            return [(known | looked_at)[option.label].mean for option in options]

        keys = [*self.keys, *(leg for leg in self.legs.keys if leg not in self.keys)]
        grow(values, best.option, keys, self.legs.spreads, quality=self.quality, most_legs=MOST_LEGS)
        return list(looked_at.values())

    def _tuned(self, options: Sequence[Option], tell: Callable[[str], None]) -> list[MeasuredOption]:
        """Tune the weights of the pairs that are expected to be best: expected, not measured to be."""
        pairs = [option for option in options if _is_sum_of_two(option) and option.weighting == "calibrated"]
        if not pairs:
            return []
        order = expect(pairs, self.quality).mean.argsort()[::-1][:_TUNED_PAIRS]
        tell(f"tuning weights in folds of the queries, pairs: {len(order)}")
        tuned = []
        for pair in (pairs[int(place)] for place in order):
            first, second = pair.models
            grid = self._measured(grid_options((first, second), self.legs.spreads))
            rng = np.random.default_rng(self.seed)  # the same folds for every pair
            tuned.append(tune_weights(grid, home=len(grid) // 2, rng=rng))
        return tuned


def _is_sum_of_two(option: Option) -> bool:
    return option.fusion == "sum" and len(option.models) == len(option.legs) == _PAIR
