"""Whether live queries are still those a deployment was chosen for.

The data flow: a `Watch` is told of answered queries (`watch`), measures how each was answered and how far
the legs agree on it (`measuring`), and writes these numbers to a log (`log`); `baselines` says which of them
are those of the time of deployment, `drift` compares the others with these, and `report` is what comes of it.
"""

from retriever.watch.log import default_log
from retriever.watch.observation import Observation
from retriever.watch.report import Change, DriftAlarm, Summary, WatchReport, WatchSettings
from retriever.watch.watch import Watch

__all__ = [
    "Change",
    "DriftAlarm",
    "Observation",
    "Summary",
    "Watch",
    "WatchReport",
    "WatchSettings",
    "default_log",
]
