"""JSON files beside a shard: a reader sees the old or the new one, never half of one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retriever.errors import StoreCorruptError
from retriever.store import space


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Return the JSON object in a file that holds `what`.

    Raises
    ------
    StoreCorruptError
        If it cannot be read.
    """
    try:
        value: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise StoreCorruptError(
            f"{path}: expected the JSON {what}, got: {error}. Restore the file."
        ) from error
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a new file and rename it over the old one."""
    draft = path.with_suffix(".new")
    with space.writing_file(path):
        with draft.open("w", encoding="utf-8") as file:
            json.dump(dict(value), file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
