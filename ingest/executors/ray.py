"""The work of a run, done on a Ray cluster.

The only module that imports Ray.

One data set of Ray Data serves a whole run. It has a single row, which a task on the driver's node
turns into as many rows as there are tasks of ours: it takes them from an inbox, an actor beside it,
until it is told that there are no more. A pool of actors maps those rows to rows with outcomes; each
actor holds all models and lives as long as the run does. So the three things that Ray Data is good at
are Ray Data's: it streams, it spreads blocks over nodes, and it starts actors again that die.

What else was considered:

- A data set per window of batches is simpler, and loads the models again for each.
- A data set for cutting and one for embedding run at the same time and share a cluster without knowing
  of each other: each reserves its own actors, and on a small cluster one waits for ever for what the
  other holds. Here all workers do both, whatever there is to do.
- Actors that take from the inbox themselves would be one operator less; a task that was taken by an
  actor that dies would be gone. As it is, the row lies in the object store until its outcome does.

Nothing waits in a circle: the inbox takes all it is given at once, the pool waits for nothing but work,
and outcomes are handed over without waiting; what bounds them all is how many tasks
`ingest.executors.exchange.Exchange` lets out.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import math
import os
import pickle  # of records between processes of one run
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayError

from ingest.executors.exchange import Exchange
from ingest.executors.options import RayOptions
from ingest.executors.protocol import CutDocument
from ingest.executors.worker import Outcome, Recipe, Task, Worker
from ingest.vectors import Batch, EmbeddedBatch
from retriever.errors import EmbeddingError, InputError, TandemError
from retriever.models.threads import available_cores
from retriever.records import Document

logger = logging.getLogger(__name__)

_BATCHES_PER_WORKER = 4
"""Under way: one at work, one waiting at the actor, two on their way there or back."""

_GROUPS_PER_WORKER = 8
"""Cutting is quick, but its tasks wait behind batches: with fewer, documents of one chunk each would not
keep the models at work."""

_LAYINGS = 4
"""How often a pipe is laid in one run, at most."""

_PATIENCE_SECONDS = 5.0
"""How long `close` waits for a pipe that has nothing left to do."""

_ATTEMPTS = 3
"""How many workers may die of one task before the run gives up."""


class RayExecutor:
    """Cuts and embeds on a Ray cluster; see `ingest.executors.protocol.Executor`.

    Workers start with the first task: a run that finds nothing new starts none.

    Parameters
    ----------
    recipe
        What workers build.
    options
        Where, and how many.

    Raises
    ------
    ModelError, InputError
        If no worker could build it; before a cluster is asked for or started.
    InputError
        If there is no such cluster, or no room in it for one worker.
    """

    def __init__(self, recipe: Recipe, options: RayOptions) -> None:
        recipe.check()
        self._recipe = replace(recipe, threads=options.threads)
        self._options = options
        with _sigterm_kept():
            self._is_ours = _connect(options)
        self._pipe: _Pipe | None = None
        self._starting = threading.Lock()
        self._exchange: Exchange[Task, Outcome] = Exchange(self._send)
        try:
            self._workers = _workers(options)
        except BaseException:
            self.close()
            raise

    def cut(self, groups: Iterable[Sequence[Document]]) -> Iterator[Sequence[CutDocument]]:
        """Yield the documents of each group with their chunks, as workers finish them."""
        tasks = (tuple(group) for group in groups)
        limit = _GROUPS_PER_WORKER * self._workers
        for _, outcome in self._exchange.stream(tasks, limit=limit):
            yield cast("list[CutDocument]", _or_raise(outcome))

    def embed(self, batches: Iterable[Batch]) -> Iterator[EmbeddedBatch]:
        """Yield each batch with its vectors, as workers finish them.

        Raises
        ------
        TandemError
            If a worker cannot use a model at all: as it was raised there.
        """
        limit = _BATCHES_PER_WORKER * self._workers
        for _, outcome in self._exchange.stream(batches, limit=limit):
            yield cast("EmbeddedBatch", _or_raise(outcome))

    def close(self) -> None:
        """End the workers, and the Ray that was started for them; one that was there stays."""
        with self._starting:
            if self._pipe is not None:
                self._pipe.close()
        if self._is_ours:
            ray.shutdown()
            self._is_ours = False

    def _send(self, number: int, task: Task) -> None:
        if task == ():  # all of a group is stored already
            self._exchange.deliver(number, [])
            return
        with self._starting:
            if self._pipe is None:
                self._pipe = _Pipe(self._exchange, self._recipe, self._options, self._workers)
        self._pipe.send(number, task)


def _or_raise(outcome: Outcome) -> list[CutDocument] | EmbeddedBatch:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class _Pipe:
    """Carries tasks to workers and outcomes back to an exchange, from a thread of its own.

    Ray starts workers again that die, with what they were about. Where it cannot help itself (an
    object is lost with its node, the task that empties the inbox dies), the pipe is laid anew, and all
    tasks without an outcome are sent again.
    """

    def __init__(
        self, exchange: Exchange[Task, Outcome], recipe: Recipe, options: RayOptions, workers: int
    ) -> None:
        self._exchange = exchange
        self._recipe = recipe
        self._options = options
        self._workers = workers
        self._inbox = _open_inbox()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="ingest-ray", daemon=True)
        self._thread.start()

    def send(self, number: int, task: Task) -> None:
        """Put a task into the inbox; from any thread."""
        request = pickle.dumps(task)
        try:
            ray.get(self._inbox.put.remote(number, request))
        except RayError:
            logger.debug("Inbox lost; its tasks are sent again once the pipe is laid anew.", exc_info=True)

    def close(self) -> None:
        """End the workers: at once where nobody waits for them any more."""
        self._is_closed = True
        try:
            self._inbox.put.remote(0, None)
            self._thread.join(_PATIENCE_SECONDS if not self._exchange.under_way() else 0)
            ray.kill(self._inbox)
        except RayError:
            logger.debug("Inbox was gone before its end.", exc_info=True)

    def _run(self) -> None:
        try:
            for laying in range(1, _LAYINGS + 1):
                broken = self._carried()
                if broken is None or self._is_closed:
                    return
                self._lay_anew(broken, laying)
        except Exception as error:  # noqa: BLE001  # it is raised in the threads that wait
            self._exchange.break_off(error)

    def _lay_anew(self, error: Exception, laying: int) -> None:
        if laying == _LAYINGS:
            raise TandemError(
                f"Ray: expected workers that answer, the way to them broke {_LAYINGS} times, at last with "
                f"{_in_short(error)}. What was stored stays; mend the cluster and run again."
            ) from error
        logger.warning("Ray: the way to the workers broke (%s); it is laid anew.", _in_short(error))
        self._inbox = _open_inbox()
        for number, task in self._exchange.under_way():
            self.send(number, task)

    def _carried(self) -> Exception | None:
        """Hand over outcomes until there are no more; return what the pipe broke with, if it did."""
        try:
            for number, outcome in _rows(self._outcomes()):
                self._exchange.deliver(number, pickle.loads(outcome))  # noqa: S301  # from our own workers
        except Exception as error:  # noqa: BLE001  # whatever it is, all that was sent can be sent again
            return error
        return None

    def _outcomes(self) -> ray.data.Dataset:
        """Return the data set; nothing happens before it is iterated over."""
        start = ray.data.from_items([{"number": 0}])
        _configure(start.context)
        empty: Any = _emptied  # a generator, which Ray Data takes and its annotation leaves out
        tasks = start.flat_map(
            empty, fn_kwargs={"inbox": self._inbox}, num_cpus=0, label_selector=_this_node()
        )
        return tasks.map_batches(
            _RayWorker,
            fn_constructor_args=[self._recipe, self._inbox],
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=self._workers, max_tasks_in_flight_per_actor=2),
            num_cpus=self._options.cpus_per_worker,
            num_gpus=self._options.gpus_per_worker,
        )


class _RayWorker:
    """An actor of the pool: answers the one task of a block."""

    def __init__(self, recipe: Recipe, inbox: Any) -> None:
        # An exit handler of Ray's (2.60, in `~CoreWorkerProcessImpl`) can wait for itself for ever; there is
        # nothing to be tidied up in a process that only embeds.
        atexit.register(os._exit, 0)
        self._worker = Worker(recipe)
        self._inbox = inbox

    def __call__(self, block: pa.Table) -> pa.Table:
        number, request = block["number"][0].as_py(), block["what"][0].as_py()
        outcome = self._outcome(number, request)
        ray.get(self._inbox.end.remote(number))
        return pa.table({"number": [number], "what": pa.array([outcome], pa.large_binary())})

    def _outcome(self, number: int, request: bytes) -> bytes:
        if ray.get(self._inbox.begin.remote(number)) <= _ATTEMPTS:
            return self._worker.answer(request)
        error = EmbeddingError(
            f"Ray: expected an answer to a task, its worker died {_ATTEMPTS} times (out of memory, say). "
            "Give each worker more, with fewer of them on a node, or leave out the text that does it."
        )
        return pickle.dumps(error)


class _Inbox:
    """What is to be done, in order; and how often each of it was begun."""

    def __init__(self) -> None:
        self._requests: asyncio.Queue[tuple[int, bytes | None]] = asyncio.Queue()
        self._begun: dict[int, int] = {}
        self._is_open = False

    async def open(self) -> None:
        """Refuse the second who wants to empty it: what the first has taken would be missing."""
        if self._is_open:
            raise RuntimeError("the task that empties the inbox was run again")
        self._is_open = True

    async def put(self, number: int, request: bytes | None) -> None:
        """Add a task; None ends all."""
        await self._requests.put((number, request))

    async def take(self) -> tuple[int, bytes | None]:
        """Return the next task as soon as there is one."""
        return await self._requests.get()

    async def begin(self, number: int) -> int:
        """Return how often the task was begun, this time included."""
        self._begun[number] = self._begun.get(number, 0) + 1
        return self._begun[number]

    async def end(self, number: int) -> None:
        """Forget a task."""
        self._begun.pop(number, None)


def _emptied(_: Mapping[str, Any], inbox: Any) -> Iterator[dict[str, Any]]:
    """Yield a row for each task in the inbox, until there will be no more."""
    ray.get(inbox.open.remote())
    while True:
        number, request = ray.get(inbox.take.remote())
        if request is None:
            return
        yield {"number": number, "what": request}


def _rows(outcomes: ray.data.Dataset) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the outcome of each task, as they come."""
    for block in outcomes.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        table: Any = block  # one of the formats, of which the annotation names all
        yield from zip(table["number"].to_pylist(), table["what"].to_pylist(), strict=True)


def _open_inbox() -> Any:
    """Start an inbox on the node of the driver: where that is gone, so is the run."""
    return ray.remote(num_cpus=0, label_selector=_this_node())(_Inbox).remote()


def _this_node() -> dict[str, str]:
    return {"ray.io/node-id": ray.get_runtime_context().get_node_id()}


def _configure(context: ray.data.DataContext) -> None:
    context.target_max_block_size = 1  # a block per task: each is handed on as soon as it is there
    context.execution_no_progress_timeout_s = -1  # a slow source is no failure
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def _in_short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1] if lines else ''}".rstrip(". ")


def _connect(options: RayOptions) -> bool:
    """Connect this process to a cluster, or start Ray on this machine; return whether it was started."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray starts: nothing is reported to anybody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        _check_same(options)
        return False
    if options.address is None:
        workers = options.workers or max(1, int(available_cores() / options.cpus_per_worker))
        cpus = math.ceil(workers * options.cpus_per_worker)
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            configure_logging=True,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
        return True
    try:
        ray.init(address=options.address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        raise InputError(
            f"ray: expected a cluster at {options.address!r}, got {_in_short(error)}. Check the address "
            "and that `ray status` answers there."
        ) from error
    return True


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Keep what SIGTERM does, if the program has a say in that: Ray would end it without a word."""
    kept = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        is_main = threading.current_thread() is threading.main_thread()  # no other one may set a handler
        if is_main and kept not in {signal.SIG_DFL, None}:
            signal.signal(signal.SIGTERM, kept)


def _check_same(options: RayOptions) -> None:
    """Refuse another cluster than the one this process uses already."""
    used = ray.get_runtime_context().gcs_address
    if options.address not in {None, "auto", "local", used}:
        raise InputError(
            f"ray: expected the cluster at {used}, which this process uses already, got "
            f"{options.address!r}. Leave the address out, or call ray.shutdown() before."
        )


def _workers(options: RayOptions) -> int:
    """Return how many workers there will be.

    Raises
    ------
    InputError
        If no node has room for one.
    """
    nodes = [node["Resources"] for node in _nodes() if node["Alive"]]
    room = sum(_room(node, options) for node in nodes)
    if not room:
        cpus, gpus = (max((node.get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU"))
        raise InputError(
            f"ray: expected a node with room for a worker ({options.cpus_per_worker:g} CPUs and "
            f"{options.gpus_per_worker:g} GPUs), the largest have {cpus:g} CPUs and {gpus:g} GPUs. "
            "Ask for less per worker, or add a node."
        )
    return room if options.workers is None else options.workers


def _nodes() -> list[dict[str, Any]]:
    ask: Any = ray.nodes  # annotated by half
    found: list[dict[str, Any]] = ask()
    return found


def _room(node: Mapping[str, float], options: RayOptions) -> int:
    """Return how many workers fit on a node with these resources."""
    cpus = node.get("CPU", 0) / options.cpus_per_worker
    gpus = node.get("GPU", 0) / options.gpus_per_worker if options.gpus_per_worker else math.inf
    return int(min(cpus, gpus))
