"""Every table has the numbers of the results, in CSV exactly and in LaTeX rounded."""

from __future__ import annotations

import csv
import io
import itertools

import numpy as np
import pytest

from analysis.evaluation import MEASURES
from analysis.framework.printed import printed_correlations
from analysis.resampling import bootstrap_mean
from analysis.results.evidence import evidence
from analysis.results.record import Results
from analysis.results.table import Column, ResultTable
from analysis.results.tables import results_tables
from analysis.verdict import decide


@pytest.fixture(scope="module")
def tables(results: Results) -> dict[str, ResultTable]:
    return {table.name: table for table in results_tables(results)}


def rows(table: ResultTable) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


def test_every_table_is_there(tables: dict[str, ResultTable]) -> None:
    assert list(tables) == [
        *("verdicts", "singles", "pairs", "similarities", "table1", "consistency"),
        *("table2_equal", "table2_calibrated", "transfer", "alpha", "alpha_carried", "costs"),
    ]


def test_singles_have_every_mean_with_the_interval_of_the_bootstrap(
    results: Results, tables: dict[str, ResultTable]
) -> None:
    found = {(row["collection"], row["model"]): row for row in rows(tables["singles"])}
    assert len(found) == 10
    for collection in results.collections[:2]:
        for single in collection.evaluation.singles:
            row = found[collection.facts.name, single.name]
            for measure in MEASURES:
                expected = bootstrap_mean(
                    single.per_query[measure], rng=np.random.default_rng(results.settings.seed)
                )
                got = [float(row[name]) for name in (measure, f"{measure}_low", f"{measure}_high")]
                assert got == pytest.approx([expected.estimate, expected.low, expected.high], abs=1e-12)


def test_pairs_have_gains_and_p_values_of_the_verdict(
    results: Results, tables: dict[str, ResultTable]
) -> None:
    found = iter(rows(tables["pairs"]))
    for collection in results.collections[:2]:
        evaluation = collection.evaluation
        verdict = decide(evaluation, rng=np.random.default_rng(results.settings.seed))
        alike = {pair.models: pair for pair in evaluation.similarities}
        assert len(verdict.gains) == 30
        for gain in verdict.gains:
            row, pair = next(found), gain.candidate
            assert (row["collection"], row["first"], row["second"]) == (collection.facts.name, *pair.models)
            assert row["weighting"] == pair.weighting
            values = {name: float(value) for name, value in list(row.items())[4:]}
            assert values == {
                "weight_first": pair.weights[0],
                **pair.means,
                "gain_better_half": evaluation.improvement(pair),
                "gain_best_single": gain.gain.estimate,
                "gain_low": gain.gain.low,
                "gain_high": gain.gain.high,
                "p_value": gain.p_value,
                "adjusted_p_value": gain.adjusted_p_value,
                "cka": alike[pair.models].cka,
                "jaccard@5": alike[pair.models].jaccard,
                "rank_similarity@5": alike[pair.models].rank_similarity,
            }
    assert next(found, None) is None


def test_similarities_have_every_cutoff_of_every_collection(
    results: Results, tables: dict[str, ResultTable]
) -> None:
    found = rows(tables["similarities"])
    assert len(found) == 30
    pair = results.collections[2].evaluation.similarities[-1]
    assert found[-1]["collection"] == "own"
    assert float(found[-1]["cka_debiased"]) == pair.cka_debiased
    assert float(found[-1]["jaccard@10"]) == float(pair.overlaps[1].jaccard.mean())


def test_table_1_is_the_correlation_of_similarities(results: Results, tables: dict[str, ResultTable]) -> None:
    found = {(row["similarity"], row["collection"]): row for row in rows(tables["table1"])}
    columns = {
        "Jaccard": lambda pair: pair.jaccard,
        "RankSim": lambda pair: pair.rank_similarity,
        "CKA": lambda pair: pair.cka,
    }
    for (heading, read), (a, b) in itertools.product(
        columns.items(), itertools.combinations(results.collections, 2)
    ):
        x, y = ([read(pair) for pair in one.evaluation.similarities] for one in (a, b))
        rho = np.corrcoef(x, y)[0, 1]
        assert float(found[heading, a.facts.name][b.facts.name]) == pytest.approx(rho, abs=1e-9)
        assert float(found[heading, b.facts.name][a.facts.name]) == pytest.approx(rho, abs=1e-9)
        assert float(found[heading, a.facts.name][a.facts.name]) == 1


def test_table_1_has_what_the_paper_prints_beside_ours(tables: dict[str, ResultTable]) -> None:
    # Table 1 of the paper: Jaccard 0.963, CKA 0.994 between NFCorpus and SciFact
    found = {(row["similarity"], row["collection"]): row for row in rows(tables["table1"])}
    assert float(found["Jaccard", "NFCorpus"]["paper_scifact"]) == 0.963
    assert float(found["CKA", "scifact"]["paper_NFCorpus"]) == 0.994
    assert found["CKA", "own"]["paper_NFCorpus"] == ""
    assert "paper_own" not in found["CKA", "own"]


def test_table_2_is_the_correlation_of_gains_with_adjusted_dissimilarity(
    results: Results, tables: dict[str, ResultTable]
) -> None:
    # Eqs. 4 to 6 of the paper, written out; α of Jaccard is 0.7
    evaluation = results.collections[0].evaluation
    quality = {single.name: single.mean for single in evaluation.singles}
    largest = max(quality.values()) - min(quality.values())
    combined = {pair.models: pair.mean for pair in evaluation.pairs if pair.weighting == "equal"}
    points = {
        pair.models: (
            0.7 * (1 - pair.jaccard)
            + 0.3 * (1 - abs(quality[pair.models[0]] - quality[pair.models[1]]) / largest),
            combined[pair.models] - max(quality[key] for key in pair.models),
        )
        for pair in evaluation.similarities
    }
    found = {(row["collection"], row["model"]): row for row in rows(tables["table2_equal"])}
    by_model = []
    for key in quality:
        own = np.array([point for models, point in points.items() if key in models])
        by_model.append(np.corrcoef(own.T)[0, 1])
        assert float(found["NFCorpus", key]["jaccard"]) == pytest.approx(by_model[-1], abs=1e-9)
    assert float(found["NFCorpus", "mean"]["jaccard"]) == pytest.approx(np.mean(by_model), abs=1e-9)
    overall = np.corrcoef(np.array(list(points.values())).T)[0, 1]
    assert float(found["NFCorpus", "overall"]["jaccard"]) == pytest.approx(overall, abs=1e-9)
    assert float(found["NFCorpus", "overall"]["jaccard_low"]) < overall
    assert found["NFCorpus", "mean"]["jaccard_low"] == ""
    # the baseline is α = 0: closeness in quality alone
    closeness = {pair: 1 - abs(quality[pair[0]] - quality[pair[1]]) / largest for pair in points}
    baseline = np.corrcoef([closeness[pair] for pair in points], [gain for _, gain in points.values()])[0, 1]
    assert float(found["NFCorpus", "overall"]["baseline"]) == pytest.approx(baseline, abs=1e-9)


def test_table_2_has_what_the_paper_prints_of_the_same_model(tables: dict[str, ResultTable]) -> None:
    found = {(row["collection"], row["model"]): row for row in rows(tables["table2_equal"])}
    printed = printed_correlations("nfcorpus")
    row = found["NFCorpus", "bge-small-en-v1.5"]
    assert float(row["paper_jaccard"]) == printed["jaccard"].by_model["BAAI/bge-small-en-v1.5"] == 0.95
    assert found["NFCorpus", "gte"]["paper_jaccard"] == ""  # acme/gte is another model
    assert float(found["scifact", "overall"]["paper_rank_similarity"]) == 0.838
    assert "paper_jaccard" not in rows(tables["table2_calibrated"])[0]


def test_transfer_and_alpha_cover_every_direction(tables: dict[str, ResultTable]) -> None:
    for name in ("transfer", "alpha_carried"):
        directions = {
            (row["weighting"], row["similarity"], row["source"], row["target"]) for row in rows(tables[name])
        }
        assert len(directions) == len(rows(tables[name])) == 2 * 3 * 2
    used = {(row["similarity"], row["alpha_used"]) for row in rows(tables["alpha"])}
    assert used == {("Jaccard", "0.7"), ("CKA", "0.5"), ("RankSim", "0.8")}
    for row in rows(tables["alpha"]):
        assert float(row["rho_exact"]) >= float(row["rho"]) >= float(row["rho_used"]) - 1e-12


def test_without_judgements_there_are_only_similarities_and_costs(results: Results) -> None:
    from dataclasses import replace

    tables = results_tables(replace(results, collections=results.collections[2:]))
    assert [table.name for table in tables] == ["similarities", "costs"]


def test_evidence_is_the_same_for_the_same_seed(results: Results) -> None:
    evaluation = results.collections[0].evaluation
    first, again = (evidence(evaluation, results.settings) for _ in range(2))
    assert first.intervals == again.intervals
    assert first.verdict.to_json() == again.verdict.to_json()


TABLE = ResultTable(
    name="odd",
    title="Odd & ends",
    columns=(
        Column(name="name", heading="model_name"),
        Column(name="gain", heading="gain", digits=2, signed=True),
        Column(name="count", heading="count"),
        Column(name="more", heading="more", digits=1, detail=True),
    ),
    rows=((r"a_b\c{d}~^$5 100% #1 <|>", 1 / 3, 1234, 0.5), ("", None, None, None)),
    note="α ‖ ρ",
)


def test_csv_is_read_back_exactly() -> None:
    first, second = rows(TABLE)
    assert first == {"name": TABLE.rows[0][0], "gain": repr(1 / 3), "count": "1234", "more": "0.5"}
    assert set(second.values()) == {""}


def test_latex_is_escaped_and_rounded() -> None:
    lines = TABLE.latex().splitlines()
    escaped = r"a\_b\textbackslash{}c\{d\}\textasciitilde{}\textasciicircum{}\$5 100\% \#1 "
    assert rf"{escaped}\textless{{}}\textbar{{}}\textgreater{{}} & +0.33 & 1,234 \\" in lines
    assert r"\begin{longtable}{lrr}" in lines  # what is detail is left out
    assert r"\caption{Odd \& ends. $\alpha$ $\Vert$ $\rho$}\label{tab:odd} \\" in lines
    assert r"model\_name & gain & count \\" in lines


def test_every_row_has_a_cell_per_column(tables: dict[str, ResultTable]) -> None:
    for table in tables.values():
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.name
        assert len({column.name for column in table.columns}) == len(table.columns)
