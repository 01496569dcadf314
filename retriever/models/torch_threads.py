"""Several batches at once on the processor, each by one thread of torch.

Threads of torch that share one batch wait for each other in each of its many small steps: on two cores a
fifth of the time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch

_Batch = TypeVar("_Batch")
_Result = TypeVar("_Result")


def map_batches(run: Callable[[_Batch], _Result], batches: Sequence[_Batch]) -> Iterator[_Result]:
    """Yield `run` of each batch, in order; whoever stops reading cancels what has not begun.

    Batches that are fewer than the threads of torch are run one after the other by all of them.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(batches) < threads:
        return map(run, batches)
    return _pool(threads, os.getpid()).map(run, batches)


@cache
def _pool(threads: int, _process: int) -> ThreadPoolExecutor:
    """Return the workers of this process; those of its parent are gone after a fork.

    The number of threads is that of the thread that sets it and the first one of threads to come, so
    it is set in each worker, and again here: nobody else's threads change.
    """
    started = Barrier(threads + 1)

    def start() -> None:
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="tandem-torch", initializer=start)
    for _ in range(threads):
        pool.submit(int)  # starts one worker, for those before it wait in `start`
    started.wait()
    torch.set_num_threads(threads)
    return pool
