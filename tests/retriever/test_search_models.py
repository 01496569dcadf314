"""The models of a corpus embed a query at the same time, and each as if it were alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextvars import ContextVar

import numpy as np
import pytest

from retriever.errors import ModelError
from retriever.models.protocol import FloatArray
from retriever.search.models import embed_queries
from retriever.testing import FakeModel

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


class Meeting(FakeModel):
    """Waits, in each call, for the other models to be called as well."""

    met: threading.Barrier
    caller = ""

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return the vectors, once all are here."""
        self.met.wait(timeout=30)
        self.caller = WHO.get()
        return super().embed_queries(texts)


class Broken(FakeModel):
    """Fails."""

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Raise."""
        raise ModelError(f"expected nothing of {len(texts)} texts.")


def test_all_models_embed_at_the_same_time_and_know_who_asks() -> None:
    models = {name: Meeting(name) for name in ("a", "b", "c")}
    barrier = threading.Barrier(len(models))
    for model in models.values():
        model.met = barrier
    token = WHO.set("me")
    try:
        rows = embed_queries(models, ["warm soil", "basil"])
    finally:
        WHO.reset(token)
    assert list(rows) == ["a", "b", "c"]
    for name, model in models.items():
        np.testing.assert_array_equal(rows[name], FakeModel(name).embed_queries(["warm soil", "basil"]))
        assert model.caller == "me"


@pytest.mark.parametrize("place", [0, 1])
def test_what_one_model_raises_reaches_the_caller(place: int) -> None:
    models: list[FakeModel] = [FakeModel("a"), FakeModel("b")]
    models[place] = Broken("c")
    with pytest.raises(ModelError, match="expected nothing of 1 texts"):
        embed_queries({str(i): model for i, model in enumerate(models)}, ["warm soil"])


def test_a_forked_process_embeds_with_threads_of_its_own() -> None:
    models = {name: FakeModel(name) for name in ("a", "b")}
    embed_queries(models, ["warm soil"])
    child = os.fork()
    if child == 0:
        os._exit(0 if len(embed_queries(models, ["warm soil"])) == len(models) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
