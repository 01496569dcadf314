"""What a run tells about itself: how far it is, what failed, what came of it."""

from ingest.reports.failures import FailureFile, read_failures
from ingest.reports.log import JsonLog, json_on_standard_error
from ingest.reports.pace import Pace
from ingest.reports.summary import as_json, summary_file

__all__ = [
    "FailureFile",
    "JsonLog",
    "Pace",
    "as_json",
    "json_on_standard_error",
    "read_failures",
    "summary_file",
]
