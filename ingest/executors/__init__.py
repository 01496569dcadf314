"""Where the work of a run is done: in this process, or on a Ray cluster."""

from ingest.executors.local import LocalExecutor
from ingest.executors.protocol import CutDocument, Executor

__all__ = ["CutDocument", "Executor", "LocalExecutor"]
