"""How well one can choose what to deploy: with all labels, with few, with none.

Every judged collection, all models, leaving one collection out at a time: what a rule learns it learns on
the others. Printed are

- what calibration and weights by quality do to all pairs, against the plain concatenation of the paper;
- the regret of each rule that chooses: NDCG@10 of the best option in hindsight minus that of the one chosen;
- the regret of choosing with 10, 20 and 50 judged queries, on the queries that were not judged;
- how often "deploy" is wrong: the gain is not there on held-out queries.

Run it as ``python -m benchmarks.selection --store DIR``; `benchmarks.paper` makes the vectors there. What is
measured of a collection is kept in ``DIR/selection``, so a second run measures nothing. What was measured so
far is in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.resampling import bootstrap_gains, holm
from benchmarks.paper import COLLECTIONS, DROP_OWN
from benchmarks.quality import SHARED, unpacked
from benchmarks.selection_data import Measured, measure_collection
from benchmarks.selection_labels import FEW, JUDGED, cross_validated_regret, false_deploys, few_label_regrets
from benchmarks.selection_rules import (
    BEST_PUBLISHED,
    OF_PANELS,
    OURS,
    POOLS,
    Rule,
    is_pair,
    learned,
    panel_regrets,
    performance,
    regret,
    rules,
)
from retriever.store.place import open_store

CONFIDENCE = 0.95
N_RESAMPLES = 2000
GOAL_WITHOUT_LABELS, GOAL_WITH_50 = 0.007, 0.004

Figures = dict[str, Any]


def main() -> None:
    """Run the benchmark."""
    arguments = _arguments()
    kept = sorted(path.stem for path in (arguments.store / "selection").glob("*.npz"))
    measured = [_measured(name, arguments) for name in arguments.collections or kept or COLLECTIONS]
    if arguments.prior is not None:
        arguments.prior.write_text(json.dumps(_rounded(learned(measured).to_json()), indent=1) + "\n")
    names = [one.name for one in measured]
    print("collections:", ", ".join(names))
    figures: Figures = {}
    _effects(measured, rng=np.random.default_rng(arguments.seed))
    figures |= _regrets(measured, rng=np.random.default_rng(arguments.seed))
    figures |= _few_labels(measured, arguments.draws, rng=np.random.default_rng(arguments.seed))
    figures |= _verdicts(measured, arguments.draws, rng=np.random.default_rng(arguments.seed))
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    inputs = {"collections": names, "draws": arguments.draws, "seed": arguments.seed}
    print(json.dumps({"figures": figures, "machine": machine, "inputs": inputs}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--collections", nargs="+", help="all that are measured if left out")
    parser.add_argument("--store", type=Path, default=Path("benchmark-store"))
    parser.add_argument("--draws", type=int, default=50, help="of judged queries, per collection and number")
    parser.add_argument("--prior", type=Path, help="write what all collections together tell to this file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="few draws, of what has been measured already")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.draws = 5
    return arguments


def _measured(name: str, arguments: argparse.Namespace) -> Measured:
    path = arguments.store / "selection" / f"{name}.npz"
    if not path.exists():
        if not SHARED.is_dir():
            sys.exit(f"skipped: no folder {SHARED} with models and collections; name one with TANDEM_SHARED.")
        data = unpacked(name, arguments.store)
        store = open_store(arguments.store / "store")
        found = measure_collection(store, name, data, drop_own=name in DROP_OWN, seed=arguments.seed)
        found.save(path)
    return Measured.load(path)


def _effects(measured: Sequence[Measured], *, rng: np.random.Generator) -> None:
    """Print what weights do to pairs: mean gain over the better half, and over the plain concatenation."""
    print("\nAll pairs: mean gain over the better half; interval over queries, mean of collections")
    for how in ("equal", "calibrated", "quality", "rrf", "dbsf"):
        gains, plain = [], []
        for one in measured:
            places = [i for i, option in enumerate(one.options) if is_pair(option, how)]
            plains = [i for i, option in enumerate(one.options) if is_pair(option, "equal")]
            halves = performance(one)
            for place, equal in zip(places, plains, strict=True):
                better = max(one.options[place].models, key=lambda model: halves[model])
                gains.append(one.ndcg[place].mean() - one.ndcg[one.place(better)].mean())
                plain.append(one.ndcg[place] - one.ndcg[equal])
        low, high = _interval(measured, plain, rng=rng)
        positive = sum(gain > 0 for gain in gains)
        over = float(np.mean([np.mean(values) for values in plain]))
        print(
            f"  {how:<11} {np.mean(gains):+.4f}, positive {positive} of {len(gains)}; over equal weights "
            f"{over:+.4f} [{low:+.4f}, {high:+.4f}]"
        )


def _interval(
    measured: Sequence[Measured], differences: Sequence[np.ndarray], *, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the 95 % interval of the mean over pairs and collections, queries drawn anew in each."""
    per_collection = len(differences) // len(measured)
    drawn = np.zeros(N_RESAMPLES)
    for place in range(len(measured)):
        mean = np.mean(differences[place * per_collection : (place + 1) * per_collection], axis=0)
        drawn += mean[rng.integers(len(mean), size=(N_RESAMPLES, len(mean)))].mean(axis=1)
    low, high = np.quantile(drawn / len(measured), [0.025, 0.975])
    return float(low), float(high)


def _regrets(measured: Sequence[Measured], *, rng: np.random.Generator) -> Figures:
    """Print the regret of each rule; what is learned is learned on the other collections."""
    figures: Figures = {}
    for pool in POOLS:
        print(f"\nRegret in NDCG@10 against the best of {pool}: mean; by collection")
        for name, (rule, needs) in rules().items():
            found = [regret(one, rule(one, _others(measured, one)), POOLS[pool]) for one in measured]
            shown = " ".join(f"{value:+.3f}" for value in found)
            print(f"  {name:<52} {np.mean(found):+.4f}  {shown}  ({needs})")
            if name in OURS:
                goal = GOAL_WITHOUT_LABELS if name == OURS[0] and pool == "vectors" else None
                figures[f"regret of {name}, {pool}"] = _figure(float(np.mean(found)), goal)
    _panels(measured)
    worse = _significantly_worse(measured, rules()[OURS[0]][0], rules()[BEST_PUBLISHED][0], rng=rng)
    print(f"\nCollections where our choice is significantly worse than {BEST_PUBLISHED}: {worse}")
    figures["collections significantly worse than the best single by published scores"] = _figure(worse, 0)
    return figures


def _panels(measured: Sequence[Measured]) -> None:
    """Print regrets with each model left out in turn: how much hangs on which models there are."""
    print("\nThe same with each model left out in turn, without quality weights: mean; by model left out")
    for name in OF_PANELS:
        rule, needs = rules()[name]
        found = panel_regrets(measured, rule)
        shown = " ".join(f"{value:+.3f}" for value in found.values())
        print(f"  {name:<52} {np.mean(list(found.values())):+.4f}  {shown}  ({needs})")


def _significantly_worse(
    measured: Sequence[Measured], ours: Rule, theirs: Rule, *, rng: np.random.Generator
) -> int:
    p_values = []
    for one in measured:
        (mine,), (other,) = ours(one, _others(measured, one)), theirs(one, _others(measured, one))[:1]
        (gain,) = bootstrap_gains(one.ndcg[[other]], one.ndcg[[mine]], rng=rng, n_resamples=N_RESAMPLES)
        p_values.append(gain.p_value)
    return int((holm(p_values) < 1 - CONFIDENCE).sum())


def _few_labels(measured: Sequence[Measured], draws: int, *, rng: np.random.Generator) -> Figures:
    figures: Figures = {}
    for pool, admits in POOLS.items():
        print(f"\nFew labels, regret on held-out queries, best of {pool}: mean; by collection")
        found = [
            few_label_regrets(one, learned(_others(measured, one)), admits, n_draws=draws, rng=rng)
            for one in measured
        ]
        for n in FEW:
            for way in ("plain measurement", "evidence alone", "both"):
                values = [one[way, n] for one in found if (way, n) in one]
                if not values:
                    continue
                shown = " ".join(f"{value:.3f}" for value in values)
                print(f"  {n:>3} judged, {way:<18} {np.mean(values):.4f}  {shown}")
                if way == "both":
                    goal = GOAL_WITH_50 if n == max(FEW) and pool == "vectors" else None
                    figures[f"regret with {n} labels, {pool}"] = _figure(float(np.mean(values)), goal)
        whole = [
            cross_validated_regret(one, learned(_others(measured, one)), admits, rng=rng) for one in measured
        ]
        print(
            f"  all judged, in folds    {np.mean(whole):.4f}  " + " ".join(f"{value:.3f}" for value in whole)
        )
    return figures


def _verdicts(measured: Sequence[Measured], draws: int, *, rng: np.random.Generator) -> Figures:
    print(f"\nVerdicts at {CONFIDENCE:.0%} on drawn queries, checked on the others")
    figures: Figures = {}
    for n in JUDGED:
        drawn = deployed = false = 0
        for one in measured:
            found = false_deploys(one, n, n_draws=max(5, draws // 2), confidence=CONFIDENCE, rng=rng)
            if found is not None:
                drawn, deployed, false = (
                    drawn + found.drawn,
                    deployed + found.deployed,
                    false + found.false,
                )
        if drawn:
            print(f"  {n:>3} judged: deploy {deployed} of {drawn}, false {false} ({false / drawn:.1%})")
            figures[f"false deploys on {n} queries"] = _figure(false / drawn, 1 - CONFIDENCE)
    return figures


def _others(measured: Sequence[Measured], one: Measured) -> list[Measured]:
    return [other for other in measured if other is not one]


def _figure(value: float, goal: float | None) -> dict[str, Any]:
    return {"value": value, "goal": goal, "met": None if goal is None else value <= goal}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
