"""What makes records the same: fingerprints of their values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

NOT_A_RECORD = (AttributeError, KeyError, TypeError, ValueError)
"""What is raised where a record is made from something else."""


def fingerprint_of(value: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that change with any value in `value`."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def without_defaults(record: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a record but for those of `names` that have their default value.

    A field that a later release adds to a fingerprint goes through here: at its default it changes
    nothing, so what was stored before it existed keeps its identity.
    """
    defaults = {one.name: one.default for one in fields(record)}
    return {
        name: value for name, value in asdict(record).items() if name not in names or value != defaults[name]
    }
