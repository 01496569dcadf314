"""Numbers that may be undefined, as JSON has them."""

from __future__ import annotations

import math


def defined_or_none(value: float) -> float | None:
    """Return the number, or None for NaN, which JSON lacks."""
    return None if math.isnan(value) else value
