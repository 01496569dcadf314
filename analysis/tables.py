"""Evaluations and verdicts as tables on a terminal: models are lettered, so that 80 columns are enough."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_uppercase

from rich.table import Table

from analysis.evaluation import CUTOFF, Candidate, Evaluation
from analysis.resampling import Interval
from analysis.verdict import Verdict

CONCATENATED = "‖"


class Letters:
    """Short names for the models of an evaluation: A, B, … in the order they were given."""

    def __init__(self, evaluation: Evaluation) -> None:
        keys = [single.name for single in evaluation.singles]
        plenty = len(keys) > len(ascii_uppercase)
        self._by_key = {key: f"M{i + 1}" if plenty else ascii_uppercase[i] for i, key in enumerate(keys)}

    def legend(self) -> str:
        """Return one line per model: its letter and its key."""
        return "\n".join(f"{letter} = {key}" for key, letter in self._by_key.items())

    def of(self, models: tuple[str, ...]) -> str:
        """Return the letters of these models: ``A‖B``."""
        return CONCATENATED.join(self._by_key[key] for key in models)


def similarity_table(evaluation: Evaluation, letters: Letters) -> Table:
    """Return how alike the models of each pair are."""
    k = evaluation.similarities[0].k if evaluation.similarities else CUTOFF
    table = Table(title="How alike the models are (1 = the same)", title_justify="left")
    table.add_column("pair")
    for heading in ("CKA", "CKA debiased", f"Jaccard@{k}", f"RankSim@{k}"):
        table.add_column(heading, justify="right")
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
    evaluation: Evaluation, letters: Letters, intervals: Mapping[str, Interval], verdict: Verdict
) -> Table:
    """Return NDCG@10 of every candidate, the one to serve marked; `intervals` by label."""
    table = Table(
        title=f"How well they retrieve: {len(evaluation.query_ids):,} judged queries, "
        f"{evaluation.n_documents:,} documents, {evaluation.n_chunks:,} chunks",
        title_justify="left",
        caption=f"in brackets: {verdict.confidence:.0%} intervals over queries; *: to be served",
        caption_justify="left",
    )
    table.add_column("candidate")
    table.add_column("weights")
    table.add_column(f"NDCG@{CUTOFF}", justify="right", no_wrap=True)
    table.add_column("gain over best", justify="right", no_wrap=True)
    gains = {gain.candidate.label: gain.gain for gain in verdict.gains}
    for candidate in (*evaluation.singles, *evaluation.pairs):
        gain = gains.get(candidate.label)
        is_served = candidate.label == verdict.serve.label
        table.add_row(
            _name(candidate, letters) + ("*" if is_served else ""),
            "+".join(f"{weight:.2f}" for weight in candidate.weights),
            _bracketed(intervals[candidate.label], ".3f"),
            "" if gain is None else _bracketed(gain, "+.3f"),
            style="bold" if is_served else None,
        )
    return table


def _name(candidate: Candidate, letters: Letters) -> str:
    name = letters.of(candidate.models)
    return name if len(candidate.models) == 1 else f"{name} {candidate.weighting}"


def _bracketed(interval: Interval, form: str) -> str:
    return f"{interval.estimate:{form}} \\[{interval.low:{form}}, {interval.high:{form}}]"
