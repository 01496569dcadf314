"""What the page on similarity says of the real run stands in the tables of that run."""

from __future__ import annotations

import csv
import re
from itertools import combinations
from pathlib import Path
from statistics import mean

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = " ".join((ROOT / "docs" / "similarity.md").read_text(encoding="utf-8").split())
TABLES = ROOT / "benchmarks" / "results" / "paper" / "tables"
ROW = re.compile(r"\| ([a-z-]+) \| (0\.\d+) \| (\d+) of (\d+) \| (\d+) of (\d+) \| (0\.\d+) \| (0\.\d+) \|")
LIMIT = "limit-small"


def table(name: str) -> list[dict[str, str]]:
    with (TABLES / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def gains(collection: str, weighting: str, *, over: str = "gain_better_half") -> list[float]:
    return [
        float(row[over])
        for row in table("pairs")
        if (row["collection"], row["weighting"]) == (collection, weighting)
    ]


def overall(weighting: str, column: str) -> dict[str, float]:
    rows = [row for row in table(f"table2_{weighting}") if row["model"] == "overall"]
    return {row["collection"]: float(row[column]) for row in rows}


COLLECTIONS = list(overall("equal", "jaccard"))


def test_each_row_is_that_of_the_tables() -> None:
    found = ROW.findall(PAGE)
    assert [row[0] for row in found] == COLLECTIONS
    for collection, best, *counts, rho_equal, rho_calibrated in found:
        singles = [float(row["ndcg@10"]) for row in table("singles") if row["collection"] == collection]
        assert f"{max(singles):.3f}" == best
        expected = []
        for weighting in ("equal", "calibrated"):
            pairs = gains(collection, weighting)
            expected += [str(sum(gain > 0 for gain in pairs)), str(len(pairs))]
        assert counts == expected
        assert rho_equal == f"{overall('equal', 'jaccard')[collection]:.3f}"
        assert rho_calibrated == f"{overall('calibrated', 'jaccard')[collection]:.3f}"


def test_sums_over_collections_are_those_of_the_tables() -> None:
    every = {w: [gain for name in COLLECTIONS for gain in gains(name, w)] for w in ("equal", "calibrated")}
    positive = {weighting: sum(gain > 0 for gain in pairs) for weighting, pairs in every.items()}
    assert (
        f"Of {len(every['equal'])} pairs {positive['equal']} gain with equal weights, "
        f"{-mean(every['equal']):.3f} lost on average, and {positive['calibrated']} with calibrated ones, "
        f"{-mean(every['calibrated']):.3f} lost."
    ) in PAGE
    above = [
        str(sum(g > 0 for g in gains(name, "calibrated", over="gain_best_single"))) for name in COLLECTIONS
    ]
    assert f"with calibrated weights {', '.join(above[:-1])} and {above[-1]} of 15." in PAGE


@pytest.mark.parametrize(
    ("weighting", "column", "said"),
    [
        ("equal", "jaccard", "is {} with Jaccard and equal weights"),
        ("calibrated", "jaccard", "equal weights, {} with calibrated ones; with RankSim"),
        ("equal", "rank_similarity", "with RankSim {} and"),
        ("calibrated", "rank_similarity", "Jaccard 0.78 and RankSim {}."),
        ("calibrated", "baseline", "where the baseline is {},"),
        ("calibrated", "cka", "CKA {},"),
        ("equal", "baseline", "below the baseline of {}."),
    ],
)
def test_mean_correlations_are_those_of_the_tables(weighting: str, column: str, said: str) -> None:
    assert said.format(f"{mean(overall(weighting, column).values()):.2f}") in PAGE


@pytest.mark.parametrize(
    ("measure", "said", "said_of_limit"),
    [
        ("Jaccard", "ρ of {} to {} and", "({} to {} and"),
        ("RankSim", "and {} to {} between four", "and {} to {})."),
        ("CKA", "**not for CKA** ({} to {})", None),
    ],
)
def test_consistency_is_that_of_the_tables(measure: str, said: str, said_of_limit: str | None) -> None:
    rho = {
        frozenset((row["first"], row["second"])): float(row["rho"])
        for row in table("consistency")
        if row["similarity"] == measure
    }
    usual = [name for name in COLLECTIONS if name != LIMIT]
    between = [rho[frozenset(pair)] for pair in combinations(usual, 2)]
    assert said.format(f"{min(between):.2f}", f"{max(between):.2f}") in PAGE
    if said_of_limit:
        unusual = [rho[frozenset((name, LIMIT))] for name in usual]
        assert said_of_limit.format(f"{min(unusual):.2f}", f"{max(unusual):.2f}") in PAGE


def test_verdicts_are_those_of_the_tables() -> None:
    deployed = [row["collection"] for row in table("verdicts") if row["decision"] == "deploy"]
    assert deployed == ["covid-qa-passages", LIMIT]
    for name in deployed:
        best = max(gains(name, "calibrated", over="gain_best_single"))
        assert f"{name}, {best:+.3f}" in PAGE
