"""Where the work of a run is done: in this process, or on a Ray cluster."""

from ingest.executors.choice import open_executor
from ingest.executors.local import LocalExecutor
from ingest.executors.options import RayOptions
from ingest.executors.protocol import CutDocument, Executor

__all__ = ["CutDocument", "Executor", "LocalExecutor", "RayOptions", "open_executor"]
