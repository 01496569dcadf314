"""What the page on selection says of the study follows from what was measured, beside the benchmark."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from analysis.selection.deciding.prediction import known_prior
from analysis.selection.run import _TOLD_APART
from benchmarks.selection_data import Measured
from benchmarks.selection_rules import (
    OF_PANELS,
    POOLS,
    is_pair,
    learned,
    panel_regrets,
    performance,
    regret,
    rules,
)

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "selection.md").read_text(encoding="utf-8")
PAGE = " ".join(TEXT.split())
MEASURED = ROOT / "benchmarks" / "results" / "selection"
WORDS = {
    "**our choice among models**": "our choice, vectors alone",
    "the two best by agreement, calibrated": "two best by consensus, calibrated",
    "the two best singles, calibrated": "two best singles, calibrated",
    "the best single model in hindsight": "best single model in hindsight",
    "the best single by agreement": "best single by consensus",
    "the best single by published scores": "best single by published scores",
    "highest AD (Jaccard), the paper's α": "highest AD, jaccard",
    "better half + gain by AD (CKA)": "better half + gain by AD, cka",
    "a random pair, calibrated": "random pair, calibrated",
}

LATER = {"nfcorpus": "NFCorpus", "scifact": "SciFact", "arguana": "ArguAna"}
"""Collections that had no part in any choice of method, as the page calls them."""


@pytest.fixture(scope="module")
def collections() -> list[Measured]:
    return [Measured.load(path) for path in sorted(MEASURED.glob("*.npz"))]


def others(collections: list[Measured], one: Measured) -> list[Measured]:
    return [other for other in collections if other is not one]


def test_the_prior_that_is_shipped_was_learned_from_these_collections(collections: list[Measured]) -> None:
    known = known_prior().to_json()
    found = json.loads(json.dumps(learned(collections).to_json()))
    assert set(known.pop("collections")) == set(found.pop("collections"))
    gains, found_gains = known.pop("gains"), found.pop("gains")
    assert known == pytest.approx(found, abs=1e-4)
    assert set(gains) == set(found_gains)
    for kind, values in gains.items():
        assert values == pytest.approx(found_gains[kind], abs=1e-4)


@pytest.mark.parametrize("words", WORDS)
def test_regrets_are_those_of_the_rules(collections: list[Measured], words: str) -> None:
    rule, _ = rules()[WORDS[words]]
    regrets = [regret(one, rule(one, others(collections, one)), POOLS["vectors"]) for one in collections]
    columns = 4
    (row,) = [
        line
        for line in TEXT.splitlines()
        if line.startswith(f"| {words} |") and line.count("|") == columns + 1
    ]
    assert row.split("|")[3:5] == [f" {mean(regrets):.3f} ", f" {max(regrets):.3f} "]


def test_regrets_with_a_model_left_out_are_those_of_the_rules(collections: list[Measured]) -> None:
    for name in OF_PANELS:
        rule, _ = rules()[name]
        found = list(panel_regrets(collections, rule).values())
        (words,) = [words for words, called in WORDS.items() if called == name]
        line = f"| {words.strip('*')} | {mean(found):.3f} | {min(found):.3f} to {max(found):.3f} |"
        assert line in TEXT


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ("equal weights, the paper's", "equal"),
        ("calibrated", "calibrated"),
        ("calibrated, times agreement^4", "quality"),
        ("reciprocal ranks", "rrf"),
    ],
)
def test_gains_of_pairs_are_those_measured(collections: list[Measured], words: str, how: str) -> None:
    gains = []
    for one in collections:
        halves = performance(one)
        gains += [
            value - max(halves[model] for model in option.models)
            for option, value in zip(one.options, one.means, strict=True)
            if is_pair(option, how)
        ]
    positive = sum(gain > 0 for gain in gains)
    assert f"| {words} | {np.mean(gains):+.3f} | {positive} of {len(gains)} |" in PAGE


def test_what_bm25_adds_is_what_the_page_says(collections: list[Measured]) -> None:
    rule, _ = rules()["our choice, with BM25"]
    by_name = {
        one.name: regret(one, rule(one, others(collections, one)), POOLS["vectors"]) for one in collections
    }
    assert f"has NDCG@10 {-mean(by_name.values()):.3f} above" in PAGE
    losses = re.search(r"on ArguAna, HotpotQA and MED it loses (0\.\d+), (0\.\d+) and (0\.\d+)", PAGE)
    assert losses is not None
    assert list(losses.groups()) == [
        f"{by_name[name]:.3f}" for name in ("arguana", "hotpotqa-hipporag", "med")
    ]


def test_what_is_left_on_the_collections_that_came_later_is_what_the_page_says(
    collections: list[Measured],
) -> None:
    rule, _ = rules()["our choice, vectors alone"]
    left = {
        one.name: regret(one, rule(one, others(collections, one)), POOLS["vectors"])
        for one in collections
        if one.name in LATER
    }
    *names, last = LATER.values()
    *values, final = (f"{left[name]:.3f}" for name in LATER)
    assert f"{', '.join(names)} and {last} came later: there the choice" in PAGE
    assert f"without labels leaves {', '.join(values)} and {final}." in PAGE


def test_agreement_goes_with_quality_as_the_page_says(collections: list[Measured]) -> None:
    found = [
        np.corrcoef(list(performance(one).values()), [one.quality[key] for key in performance(one)])[0, 1]
        for one in collections
    ]
    assert f"across models (mean correlation {mean(found):.2f})" in PAGE


def test_how_far_agreement_must_differ_is_what_the_page_says(collections: list[Measured]) -> None:
    right: dict[str, list[bool]] = {"near": [], "apart": []}
    for one in collections:
        known = performance(one)
        for pair in combinations(known, 2):
            agreement = [one.quality[model] for model in pair]
            difference = 1 - min(agreement) / max(agreement)
            is_right = (agreement[0] > agreement[1]) == (known[pair[0]] > known[pair[1]])
            if difference < _TOLD_APART:
                right["near"].append(is_right)
            elif difference >= 0.12:
                right["apart"].append(is_right)
    near, apart = right["near"], right["apart"]
    assert (
        f"Models whose agreement differs by less than {_TOLD_APART:.0%} cannot be told apart".replace(
            "%", " %"
        )
        in PAGE
    )
    assert f"of {len(near)} such pairs of models, the better one agrees more in {sum(near)}." in PAGE
    assert f"Above 12 %, in {sum(apart)} of {len(apart)}." in PAGE


def test_what_hangs_on_one_model_is_what_the_page_says(collections: list[Measured]) -> None:
    left = panel_regrets(collections, rules()["our choice, vectors alone"][0])
    assert f"the choice without labels leaves {left['all-mpnet-base-v2']:.3f}, with all-mpnet" in PAGE
    assert f"without bge-small {left['bge-small-en-v1.5']:.3f}." in PAGE
