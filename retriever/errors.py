"""Every error that Tandem raises on purpose.

::

    TandemError                       1  unexpected
    ├── InputError                    2  usage: what was given cannot be used
    │   ├── SourceError                  a document source is missing, empty or broken
    │   ├── JudgementsError              queries or qrels cannot be used
    │   ├── ShapeError                   an array has the wrong shape, type or values
    │   ├── CorpusNotFoundError          no such corpus in this store
    │   ├── CorpusExistsError            a corpus of this name is there already
    │   └── DeploymentNotFoundError      the corpus has no such deployment
    ├── StoreError                    3  the store cannot be used
    │   ├── StoreUnreachableError        no answer, or refused
    │   ├── StoreLockedError             another process has it open, or writes it
    │   ├── StoreFullError               its disk has no room left
    │   ├── CorpusUnfinishedError        a copy of a corpus was cut short
    │   └── StoreCorruptError            what is stored cannot be read
    ├── ModelError                    4  an embedding model cannot be used
    │   ├── ModelNotFoundError           no such model, package or file
    │   ├── ModelMismatchError           not the model, prompt or chunking that was stored
    │   ├── ModelTooShortError           the model would truncate a chunk
    │   └── EmbeddingError               the model failed, or its vectors are unusable
    ├── DocumentsFailedError          5  some documents were not stored, the others were
    └── GateNotMetError               6  a required gain was not reached
        └── retriever.watch.DriftAlarm   live queries are no longer those it was reached on

Each message says what was expected, what was found and what to do. Errors are told apart by
type, never by their text. The number is the exit status of the command line.
"""

from __future__ import annotations

from typing import ClassVar


class TandemError(Exception):
    """Root of all errors that Tandem raises on purpose."""

    exit_status: ClassVar[int] = 1


class InputError(TandemError):
    """What was given cannot be used."""

    exit_status: ClassVar[int] = 2


class SourceError(InputError):
    """A document source is missing, empty or broken."""


class JudgementsError(InputError):
    """Queries or qrels cannot be used."""


class ShapeError(InputError, ValueError):
    """An array has the wrong shape, type or values."""


class CorpusNotFoundError(InputError):
    """The store has no corpus of this name."""


class CorpusExistsError(InputError):
    """The store already has a corpus of this name."""


class DeploymentNotFoundError(InputError):
    """The corpus has no such deployment."""


class StoreError(TandemError):
    """The store cannot be used."""

    exit_status: ClassVar[int] = 3


class StoreUnreachableError(StoreError):
    """The store does not answer, or refuses to."""


class StoreLockedError(StoreError):
    """Another process has the store open, or another writer is at work."""


class StoreFullError(StoreError):
    """The disk of the store has no room left."""


class CorpusUnfinishedError(StoreError):
    """The corpus is a copy that is not whole: copying was cut short, or goes on."""


class StoreCorruptError(StoreError):
    """What is stored cannot be read."""


class ModelError(TandemError):
    """An embedding model cannot be used."""

    exit_status: ClassVar[int] = 4


class ModelNotFoundError(ModelError):
    """There is no such model, package or model file."""


class ModelMismatchError(ModelError):
    """The model, prompt or chunking differs from what the corpus was made with."""


class ModelTooShortError(ModelError):
    """The model would truncate chunks of this size."""


class EmbeddingError(ModelError):
    """A model failed on a text, or returned vectors that cannot be used."""


class DocumentsFailedError(TandemError):
    """Some documents were not stored; all others were."""

    exit_status: ClassVar[int] = 5


class GateNotMetError(TandemError):
    """A gain that was required has not been reached."""

    exit_status: ClassVar[int] = 6
