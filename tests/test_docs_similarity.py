"""What the page on similarity says of the real run stands in the tables of that run."""

from __future__ import annotations

import csv
import re
from itertools import combinations
from pathlib import Path
from statistics import mean

import pytest

from analysis.framework.printed import CONSISTENCY, TRANSFER

ROOT = Path(__file__).resolve().parents[1]
PAGE = " ".join((ROOT / "docs" / "similarity.md").read_text(encoding="utf-8").split())
TABLES = ROOT / "benchmarks" / "results" / "paper" / "tables"
ROW = re.compile(r"\| ([a-z-]+) \| (0\.\d+) \| (\d+) of (\d+) \| (\d+) of (\d+) \| (0\.\d+) \| (0\.\d+) \|")
IN_WORDS = {7: "seven", 8: "eight"}
UNUSUAL = {"limit-small": "{} to {} and {} to {}), and less", "arguana": "({} to {} and {} to {}): there"}


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
        f"{mean(every['equal']):+.3f} on average, and {positive['calibrated']} with calibrated ones, "
        f"{mean(every['calibrated']):+.3f} on average."
    ) in PAGE
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert (
        f"Of all {len(every['calibrated'])} pairs of seven models on {IN_WORDS[len(COLLECTIONS)]} "
        f"collections, {positive['calibrated']} are better than their better half."
    ) in readme
    above = [
        str(sum(g > 0 for g in gains(name, "calibrated", over="gain_best_single"))) for name in COLLECTIONS
    ]
    assert f"with calibrated weights {', '.join(above[:-1])} and {above[-1]} of 21." in PAGE


@pytest.mark.parametrize(
    ("weighting", "column", "said"),
    [
        ("equal", "jaccard", "is {} with Jaccard and equal weights"),
        ("calibrated", "jaccard", "equal weights, {} with calibrated ones; with RankSim"),
        ("equal", "rank_similarity", "with RankSim {} and"),
        ("calibrated", "rank_similarity", "Jaccard 0.79 and RankSim {}."),
        ("calibrated", "baseline", "where the baseline is {},"),
        ("calibrated", "cka", "CKA {},"),
        ("equal", "baseline", "better than the baseline of {} by more"),
    ],
)
def test_mean_correlations_are_those_of_the_tables(weighting: str, column: str, said: str) -> None:
    assert said.format(f"{mean(overall(weighting, column).values()):.2f}") in PAGE


def consistency(measure: str) -> dict[frozenset[str], float]:
    return {
        frozenset((row["first"], row["second"])): float(row["rho"])
        for row in table("consistency")
        if row["similarity"] == measure
    }


USUAL = [name for name in COLLECTIONS if name not in UNUSUAL]


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        ("Jaccard", "ρ of {} to {} and"),
        ("RankSim", "and {} to {} between six"),
        ("CKA", "**less so for CKA** ({} to {})"),
    ],
)
def test_consistency_is_that_of_the_tables(measure: str, said: str) -> None:
    rho = consistency(measure)
    between = [rho[frozenset(pair)] for pair in combinations(USUAL, 2)]
    assert said.format(f"{min(between):.2f}", f"{max(between):.2f}") in PAGE


@pytest.mark.parametrize("unusual", UNUSUAL)
def test_collections_that_stand_apart_are_those_of_the_tables(unusual: str) -> None:
    ends = []
    for measure in ("Jaccard", "RankSim"):
        rho = [consistency(measure)[frozenset((name, unusual))] for name in USUAL]
        ends += [f"{min(rho):.2f}", f"{max(rho):.2f}"]
    assert UNUSUAL[unusual].format(*ends) in PAGE


def test_what_the_paper_has_too_stands_beside_it() -> None:
    both = ("nfcorpus", "scifact")
    ours = [f"{consistency(measure)[frozenset(both)]:.2f}" for measure in ("Jaccard", "RankSim")]
    theirs = [f"{CONSISTENCY[measure][both]:.2f}" for measure in ("jaccard", "rank_similarity")]
    said = "between NFCorpus and SciFact {} and {}, where the paper has {} and {})"
    assert said.format(*ours, *theirs) in PAGE
    (row,) = [
        row
        for row in table("transfer")
        if (row["weighting"], row["similarity"], row["source"], row["target"])
        == ("calibrated", "Jaccard", *both)
    ]
    assert f"ρ on SciFact is {float(row['rho']):.2f} (Jaccard" in PAGE
    assert f"where its own give {float(row['rho_own']):.2f}; the paper has {TRANSFER['scifact']}" in PAGE


def test_small_models_against_a_large_one_are_those_of_the_tables() -> None:
    large = "all-mpnet-base-v2"
    pairs, singles = 0, 0
    for name in COLLECTIONS:
        alone = {row["model"]: float(row["ndcg@10"]) for row in table("singles") if row["collection"] == name}
        joined = [
            float(row["ndcg@10"])
            for row in table("pairs")
            if row["collection"] == name and large not in (row["first"], row["second"])
        ]
        pairs += max(joined) > alone[large]
        singles += max(value for model, value in alone.items() if model != large) > alone[large]
    assert f"on {pairs} of 8 collections the best pair of the other six models is better (MED" in PAGE
    assert f"the best of the six alone, on {singles} of 8 as well" in PAGE


def test_verdicts_are_those_of_the_tables() -> None:
    decided = {row["collection"]: row["decision"] for row in table("verdicts")}
    best = {
        name: max(
            max(gains(name, weighting, over="gain_best_single")) for weighting in ("equal", "calibrated")
        )
        for name in COLLECTIONS
    }
    deployed = [name for name, decision in decided.items() if decision == "deploy"]
    refused = [name for name, decision in decided.items() if decision == "do not combine"]
    said = ", and ".join(f"{name}, {best[name]:+.3f}" for name in deployed)
    assert f"Two of the eight verdicts are to deploy a pair ({said}, bge-small" in PAGE
    said = ", ".join(f"{name}, {best[name]:+.3f}" for name in refused)
    assert f"one is not to combine ({said}); the five others" in PAGE
    asked = [int(row["queries"]) for row in table("verdicts") if row["decision"] == "not enough evidence"]
    assert f"for {min(asked)} to {max(asked)} questions" in PAGE
    assert len(asked) == 5
