"""What tests of watching share: observations made up, and a corpus that is served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from retriever.corpus import Corpus
from retriever.deploying import deploy
from retriever.records import Deployment
from retriever.serving import Serving
from retriever.testing import FakeModel
from retriever.watch.log import DeploymentLog, deployment_log
from retriever.watch.observation import Observation

START = datetime(2026, 11, 1, tzinfo=UTC)

Observe = Callable[..., Observation]


@pytest.fixture(scope="session")
def observation() -> Observe:
    """Return what makes the observation of the n-th query, a second after the one before."""

    def make(n: int = 0, **given: Any) -> Observation:
        values = {
            "time": START + timedelta(seconds=n),
            "deployment": "d1",
            "serves": "alpha+beta",
            "first": 0.5,
            "mean": 0.4,
            "gap": 0.2,
            "contributions": {"alpha": 0.25, "beta": 0.15},
            "jaccard": 0.25,
            "rank_similarity": 0.2,
            "disjoint": False,
        }
        return Observation(**{**values, **given})

    return make


@pytest.fixture
def log(tmp_path: Path) -> DeploymentLog:
    """Return an empty log of one deployment."""
    made = deployment_log(tmp_path / "log", "small", "d1")
    made.describe(
        Deployment(
            corpus="small",
            models=("alpha", "beta"),
            weights=(0.5, 0.5),
            weighting="equal",
            fingerprints=("f", "g"),
        )
    )
    return made


@pytest.fixture
def serving(corpus: Corpus, alpha: FakeModel, beta: FakeModel) -> Iterator[Serving]:
    """Return what serves alpha and beta of a corpus, on either engine."""
    deploy(corpus, ["alpha", "beta"])
    serving = Serving(corpus, models={"alpha": alpha, "beta": beta})
    yield serving
    serving.close()
