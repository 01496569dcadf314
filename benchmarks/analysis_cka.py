"""What centred kernel alignment of all pairs costs beyond its matrix products, and what float32 changes.

- time: `analysis.pairwise_cka`, both estimators of all pairs of models, against the bare products XᵀY of the
  same pairs in numpy, one after the other over the same memory maps. Vectors and products are float32 on
  both sides; of the bare products nothing is summed, centred or checked, and no model meets itself. On a
  machine that is busy with other work, processor time says more than wall time.
- exactness: how far products in float32 move a value from all in float64, on fewer chunks.
- memory: what is allocated at most, apart from the memory maps.

The vectors are made: unit rows that mix what all models share with what each has alone, more of it from
model to model. Run it as ``python -m benchmarks.analysis_cka``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from analysis import PairwiseCka, pairwise_cka

Vectors = Sequence[NDArray[np.float32]]

LATENT = 64
"""Directions that all models share."""

GIB = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """How much is measured: chunks, of which how many for exactness, dimensions per model, repeats."""

    chunks: int = 60_000
    exactness_chunks: int = 20_000
    dimensions: tuple[int, ...] = (384,) * 5 + (768,) * 5 + (1024,) * 5
    repeats: int = 3


QUICK = Inputs(chunks=17_000, exactness_chunks=17_000, dimensions=(384, 384, 768, 768, 1024, 1024), repeats=2)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer chunks and models")
    arguments = parser.parse_args()
    measured = figures(quick=arguments.quick)
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    inputs = asdict(QUICK if arguments.quick else Inputs())
    print(json.dumps({"figures": measured, "machine": machine, "inputs": inputs}))


def figures(*, quick: bool) -> dict[str, Any]:
    """Measure, print a table, and return the figures by name."""
    inputs = QUICK if quick else Inputs()
    with tempfile.TemporaryDirectory() as folder:
        vectors = made(inputs, Path(folder))
        pairs = len(vectors) * (len(vectors) - 1) // 2
        print(f"CKA of {pairs} pairs of {len(vectors)} models, {inputs.chunks} chunks, float32")
        # few models spend too much of the time on themselves, ‖XᵀX‖, for the goal to have a meaning
        goal = None if quick else 1.3
        measured = timed(vectors, inputs.repeats, goal=goal)
        measured |= exactness([part[: inputs.exactness_chunks] for part in vectors])
    for name, figure in measured.items():
        verdict = {True: "met", False: "MISSED", None: "none"}[figure["met"]]
        print(f"  {name}: {figure['value']:.3g} (goal {figure['goal']}: {verdict})")
    return measured


def made(inputs: Inputs, folder: Path) -> Vectors:
    """Write unit vectors of each model to a file and return the maps of these files."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((inputs.chunks, LATENT), dtype=np.float32)
    own_shares = np.linspace(0.2, 2.0, len(inputs.dimensions), dtype=np.float32)
    vectors = []
    for index, (dimensions, own) in enumerate(zip(inputs.dimensions, own_shares, strict=True)):
        shape = (inputs.chunks, dimensions)
        rows: NDArray[np.float32] = np.memmap(folder / f"{index}.f32", np.float32, "w+", shape=shape)
        rows[:] = (
            shared @ rng.standard_normal((LATENT, dimensions), dtype=np.float32) / np.float32(LATENT**0.5)
        )
        rows += own * rng.standard_normal(shape, dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        vectors.append(rows)
    return vectors


def timed(vectors: Vectors, repeats: int, *, goal: float | None) -> dict[str, Any]:
    """Run ours and the bare products in turn, and compare the medians of their times."""
    clocks = {"": time.perf_counter, ", processor time": time.process_time}
    seconds: dict[Callable[[Vectors], object], list[list[float]]] = {pairwise_cka: [], bare_products: []}
    for _ in range(repeats):
        for variant, taken in seconds.items():
            starts = [clock() for clock in clocks.values()]
            variant(vectors)
            taken.append([clock() - start for clock, start in zip(clocks.values(), starts, strict=True)])
    for variant, taken in seconds.items():
        shown = ", ".join(f"{wall:.1f} s ({processor:.1f} s)" for wall, processor in taken)
        print(f"  {variant.__name__}: {shown} of wall (processor) time")
    ours, bare = (np.median(taken, axis=0).tolist() for taken in seconds.values())
    return {
        f"pairwise CKA, times the bare float32 products{which}": _at_most(own / floor, goal)
        for which, own, floor in zip(clocks, ours, bare, strict=True)
    }


def bare_products(vectors: Vectors) -> None:
    """Compute XᵀY of all pairs, and nothing with it."""
    for x, y in combinations(vectors, 2):
        x.T @ y


def exactness(vectors: Vectors) -> dict[str, Any]:
    """Compare products in float32 with all in float64, and look at the memory of the former."""
    tracemalloc.start()
    fast = pairwise_cka(vectors)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    with patch.object(import_module(pairwise_cka.__module__), "_EXACT_CHUNKS", len(vectors[0])):
        exact = pairwise_cka(vectors)
    return {
        "largest change of a CKA by float32 products": _at_most(_largest_change(fast, exact), 1e-6),
        "memory of pairwise CKA, GiB": _at_most(peak / GIB, 8),
    }


def _largest_change(fast: PairwiseCka, exact: PairwiseCka) -> float:
    changes = (fast.biased - exact.biased, fast.debiased - exact.debiased)
    return max(float(np.abs(change).max()) for change in changes)


def _at_most(value: float, goal: float | None) -> dict[str, Any]:
    return {"value": value, "goal": goal, "met": None if goal is None else value <= goal}


if __name__ == "__main__":
    main()
