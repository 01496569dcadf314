"""Evaluations, similarities and results on a terminal: models are lettered, so that 80 columns are enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from string import ascii_uppercase

from rich.style import Style
from rich.table import Table
from rich.text import Text

from analysis.evaluation import CUTOFF, MEASURES, NDCG, Candidate, Evaluation, PairSimilarity
from analysis.resampling import Interval
from analysis.results.table import ResultTable
from analysis.results.tables import heading
from analysis.verdict import Verdict

CONCATENATED = "‖"

_LIGHT, _DARK = (237, 248, 217), (8, 64, 129)
"""The ends of the colours of a heat map; both can be told apart without seeing red or green."""


class Letters:
    """Short names for models: A, B, … in the order they are given."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)
        plenty = len(keys) > len(ascii_uppercase)
        self._by_key = {key: f"M{i + 1}" if plenty else ascii_uppercase[i] for i, key in enumerate(keys)}

    def legend(self) -> str:
        """Return one line per model: its letter and its key."""
        return "\n".join(f"{letter} = {key}" for key, letter in self._by_key.items())

    def of(self, models: tuple[str, ...]) -> str:
        """Return the letters of these models: ``A‖B``."""
        return CONCATENATED.join(self._by_key[key] for key in models)


def result_table(table: ResultTable) -> Table:
    """Return a table of results as it is, without what only its CSV file has."""
    shown = Table(
        title=Text(table.title), title_justify="left", caption=Text(table.note), caption_justify="left"
    )
    for place in table.shown:
        shown.add_column(
            Text(table.columns[place].heading), justify="right" if table.is_number(place) else "left"
        )
    for row in table.rows:
        texts = table.texts(row)
        shown.add_row(*(Text(texts[place]) for place in table.shown))
    return shown


def heat_map(similarities: Sequence[PairSimilarity], letters: Letters, measure: str) -> Table:
    """Return the similarity of all pairs as a coloured triangle, darker where models are more alike."""
    read = SIMILARITIES[measure]
    values = {pair.models: value for pair in similarities if (value := read(pair)) is not None}
    low, high = min(values.values(), default=0.0), max(values.values(), default=0.0)
    name = measure if measure.startswith("CKA") else f"{measure}@{similarities[0].k}"
    table = Table(box=None, padding=0)
    table.add_column(f"{name} ", no_wrap=True)
    for key in letters.keys[:-1]:
        table.add_column(letters.of((key,)), justify="center", min_width=5)
    for row, key in enumerate(letters.keys[1:], start=1):
        cells = [values.get((other, key)) for other in letters.keys[:row]]
        table.add_row(letters.of((key,)), *(_heat(value, low, high) for value in cells))
    return table


SIMILARITIES: Mapping[str, Callable[[PairSimilarity], float | None]] = {
    "Jaccard": lambda pair: pair.jaccard,
    "RankSim": lambda pair: pair.rank_similarity,
    "CKA": lambda pair: pair.cka,
    "CKA debiased": lambda pair: pair.cka_debiased,
}
"""What a heat map can show; the first two only where there are queries, None where it is not defined."""


def _heat(value: float | None, low: float, high: float) -> Text:
    if value is None:
        return Text("")
    share = (value - low) / (high - low) if high > low else 0.0
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(_LIGHT, _DARK, strict=True))
    ink = "white" if share > 0.5 else "black"  # noqa: PLR2004  # half way
    return Text(f" {value:.2f} ", style=Style.parse(f"{ink} on rgb({red},{green},{blue})"))


def similarity_table(evaluation: Evaluation, letters: Letters) -> Table:
    """Return how alike the models of each pair are."""
    k = evaluation.similarities[0].k if evaluation.similarities else CUTOFF
    table = Table(title="How alike the models are (1 = the same)", title_justify="left")
    table.add_column("pair")
    for measure in ("CKA", "CKA debiased", f"Jaccard@{k}", f"RankSim@{k}"):
        table.add_column(measure, justify="right")
    for pair in evaluation.similarities:
        debiased = "undefined" if pair.cka_debiased is None else f"{pair.cka_debiased:.3f}"
        table.add_row(
            letters.of(pair.models),
            f"{pair.cka:.3f}",
            debiased,
            f"{pair.jaccard:.3f}",
            f"{pair.rank_similarity:.3f}",
        )
    return table


def quality_table(
    evaluation: Evaluation,
    letters: Letters,
    intervals: Mapping[str, Interval],
    verdict: Verdict,
    measures: Sequence[str] = (),
) -> Table:
    """Return NDCG@10 of every candidate, the one to serve marked; `intervals` by label.

    `measures` are others of `MEASURES` to be shown too.
    """
    table = Table(
        title=f"How well they retrieve: {len(evaluation.query_ids):,} judged queries, "
        f"{evaluation.n_documents:,} documents, {evaluation.n_chunks:,} chunks",
        title_justify="left",
        caption=f"in brackets: {100 * verdict.confidence:.4g}% intervals over queries; *: to be served",
        caption_justify="left",
    )
    table.add_column("candidate", overflow="fold")  # the star must not be cut off
    table.add_column("weights", overflow="fold")
    table.add_column(f"NDCG@{CUTOFF}", justify="right", no_wrap=True)
    table.add_column("gain over best", justify="right", no_wrap=True)
    others = [measure for measure in MEASURES if measure in measures and measure != NDCG]
    for measure in others:
        table.add_column(heading(measure), justify="right", no_wrap=True)
    gains = {gain.candidate.label: gain.gain for gain in verdict.gains}
    for candidate in (*evaluation.singles, *evaluation.pairs):
        gain = gains.get(candidate.label)
        is_served = candidate.label == verdict.serve.label
        table.add_row(
            _name(candidate, letters) + ("*" if is_served else ""),
            "+".join(f"{weight:.2f}" for weight in candidate.weights),
            _bracketed(intervals[candidate.label], ".3f"),
            "" if gain is None else _bracketed(gain, "+.3f"),
            *(f"{candidate.means[measure]:.3f}" for measure in others),
            style="bold" if is_served else None,
        )
    return table


def _name(candidate: Candidate, letters: Letters) -> str:
    name = letters.of(candidate.models)
    if len(candidate.models) == 1:
        return name
    return name if candidate.weighting == "explicit" else f"{name} {candidate.weighting}"


def _bracketed(interval: Interval, form: str) -> str:
    return f"{interval.estimate:{form}} \\[{interval.low:{form}}, {interval.high:{form}}]"
