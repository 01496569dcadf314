"""Batches that run at once: same vectors, same order, and nobody else's threads change."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import torch

from retriever.models import load_model
from retriever.models.torch_threads import map_batches


@pytest.fixture(autouse=True)
def _two_threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_keep_the_order_of_the_batches() -> None:
    assert list(map_batches(lambda batch: batch * 2, list(range(20)))) == list(range(0, 40, 2))


def test_batches_are_run_by_other_threads_unless_they_are_few() -> None:
    here = threading.get_ident()
    assert here not in set(map_batches(lambda _: threading.get_ident(), range(4)))
    assert set(map_batches(lambda _: threading.get_ident(), range(1))) == {here}


def test_what_a_batch_raises_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_batches(lambda batch: 1 // batch, [1, 2, 0, 3]))


def test_threads_of_torch_stay_what_they_were_for_everybody_else() -> None:
    """In a process of its own: the first use sets them."""
    program = """
    import threading, torch
    from retriever.models.torch_threads import map_batches

    torch.set_num_threads(2)
    # Enough numbers that torch would share them among its threads.
    one, two = torch.ones(4_000_000), []
    list(map_batches(lambda _: one.sum().item(), range(8)))
    other = threading.Thread(target=lambda: two.append(torch.get_num_threads()))
    other.start(); other.join()
    print(torch.get_num_threads(), *two)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert ran.stdout.split() == ["2", "2"]


def test_a_forked_process_has_workers_of_its_own() -> None:
    list(map_batches(abs, range(4)))
    child = os.fork()
    if child == 0:
        found = list(map_batches(abs, range(4)))
        os._exit(0 if found == [0, 1, 2, 3] else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_vectors_are_those_of_one_batch_after_the_other() -> None:
    model = load_model("minilm")
    texts = [f"Text {i} about {'soil and water ' * (i % 40)}" for i in range(90)]
    at_once = model.embed_chunks(texts)
    torch.set_num_threads(1)  # one thread runs them one after the other
    np.testing.assert_allclose(at_once, model.embed_chunks(texts), atol=1e-6)
