"""The work of a run, done in a process on another machine, which builds all it needs from records."""

from __future__ import annotations

import pickle  # of records that another process of the same run has sent
import platform
import traceback
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from ingest.chunks import NODE_PARSER, chunker_of
from ingest.executors.local import LocalExecutor
from ingest.executors.protocol import CutDocument
from ingest.lengths import LengthGuard
from ingest.vectors import Batch, EmbeddedBatch, Embedder
from retriever.errors import InputError, ModelError, ModelMismatchError, TandemError
from retriever.models import load_stored
from retriever.models.catalog import LLAMA_INDEX
from retriever.models.protocol import EmbeddingModel
from retriever.models.threads import limit_threads
from retriever.records import ChunkerSpec, Document, ModelSpec

Task = tuple[Document, ...] | Batch
"""Documents to cut, or texts to embed."""

Outcome = list[CutDocument] | EmbeddedBatch | Exception
"""What became of a task; an exception is raised again on the driver."""

_DISTRIBUTION = "tandem-rag"


def _release() -> str:
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"  # run from a checkout that was never installed


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All that a worker needs to know.

    Attributes
    ----------
    corpus, chunker
        For whom and how documents are cut.
    models
        What embeds.
    counting
        Further models, whose tokenizers count when documents are cut.
    threads
        For the models of one worker.
    release
        Of Tandem, on the driver.
    """

    corpus: str
    chunker: ChunkerSpec
    models: tuple[ModelSpec, ...]
    counting: tuple[ModelSpec, ...] = ()
    threads: int = 1
    release: str = field(default_factory=_release)

    def check(self) -> None:
        """Refuse what no other process could build.

        Raises
        ------
        ModelError
            If a model is an object of the program.
        InputError
            If a node parser of the program cuts.
        """
        for spec in self.models:
            if spec.source.startswith(LLAMA_INDEX):
                raise ModelError(
                    f"model {spec.name!r}: expected a model that each Ray worker can load by name, got a "
                    "LlamaIndex embedding, which only the program has. Run this ingest without Ray."
                )
        if self.chunker.method == NODE_PARSER:
            raise InputError(
                f"chunking: expected a method that each Ray worker knows, got the node parser "
                f"{self.chunker.parser}, which only the program has. Run this ingest without Ray."
            )


class Worker:
    """Answers tasks; what it needs is built at the first one.

    Nothing but the death of its process is an exception here: the framework that runs a worker would
    wrap it, and its type, which says what to do, would be lost on the way.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._executor: LocalExecutor | None = None

    def answer(self, request: bytes) -> bytes:
        """Return what became of a pickled `Task`, a pickled `Outcome`."""
        try:
            task: Task = pickle.loads(request)  # noqa: S301  # from our own driver, over Ray's own channel
            return pickle.dumps(self._done(task))
        except Exception as error:  # noqa: BLE001  # it is raised on the driver
            return _pickled(error)

    def _done(self, task: Task) -> Outcome:
        if self._executor is None:
            self._executor = _built(self._recipe)
        if isinstance(task, Batch):
            return next(self._executor.embed([task]))
        return list(next(self._executor.cut([task])))


def _built(recipe: Recipe) -> LocalExecutor:
    """Load the models and make what `ingest.opening` makes of them."""
    try:
        return _executor(recipe)
    except TandemError as error:
        raise type(error)(f"{error} (on the Ray node {platform.node()!r})") from error


def _executor(recipe: Recipe) -> LocalExecutor:
    own = _release()
    if own != recipe.release:
        raise InputError(
            f"{_DISTRIBUTION}: expected release {recipe.release} as on the driver, got {own}. "
            "Install the same release on every node."
        )
    limit_threads(recipe.threads)
    models = {spec.key: _loaded(spec) for spec in recipe.models}
    counting = [*models.values(), *(_loaded(spec) for spec in recipe.counting)]
    tokenizers = [model.tokenizer for model in counting if model.tokenizer is not None]
    counted = [one for one in tokenizers if one.fingerprint in recipe.chunker.tokenizers]
    chunker = chunker_of(recipe.chunker, counted)
    guards = [LengthGuard.of(model, recipe.chunker) for model in models.values()]
    guarding = [guard for guard in guards if guard is not None]
    return LocalExecutor(recipe.corpus, chunker, guarding, Embedder(models))


def _loaded(spec: ModelSpec) -> EmbeddingModel:
    model = load_stored(spec)
    if model.spec.fingerprint != spec.fingerprint:
        raise ModelMismatchError(
            f"model {spec.name!r}: expected revision {spec.revision} as on the driver, got "
            f"{model.spec.name}@{model.spec.revision} for {spec.source!r}. Put the same files on every node."
        )
    return model


def _pickled(error: Exception) -> bytes:
    """Return an exception as bytes from which it can be made again, with the place where it was raised."""
    error.add_note("".join(traceback.format_exception(error)).rstrip())
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)  # noqa: S301  # some exceptions only notice here that they cannot be made again
    except Exception:  # noqa: BLE001  # whatever it is, it cannot travel
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return pickled
