"""Is a model fit to be used? Checks, rate and memory, before a night is spent on it."""

from retriever.doctor.checks import Verdict
from retriever.doctor.examination import Diagnosis, Finding, Together, examine, examine_source, together

__all__ = ["Diagnosis", "Finding", "Together", "Verdict", "examine", "examine_source", "together"]
