"""A corpus taken from one store to another, whole, and checked."""

from retriever.copying.copier import CHECKED, CopyReport, copy

__all__ = ["CHECKED", "CopyReport", "copy"]
