"""Kinds of named vectors, and how dense ones are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from retriever.errors import InputError
from retriever.records import FULL_STORAGE

HALF_STORAGE = "float16"
QUANTIZED = ("int8", "binary")

STORAGES = (FULL_STORAGE, HALF_STORAGE, *QUANTIZED)
"""In 4 bytes a dimension, in 2, or in 2 and beside that in the 1 byte or 1 bit that an approximate search
scans. What is not float32 comes back rounded to float16."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dense:
    """A dense vector: how many numbers, and how they are kept."""

    size: int
    storage: str = FULL_STORAGE

    def __post_init__(self) -> None:
        if self.storage not in STORAGES:
            raise InputError(f"storage: expected one of {', '.join(STORAGES)}, got {self.storage!r}.")

    def __str__(self) -> str:
        return f"dense, {self.size} numbers as {self.storage}"

    @property
    def is_quantized(self) -> bool:
        """Whether the engine keeps a compact representation beside the numbers."""
        return self.storage in QUANTIZED


@dataclass(frozen=True, kw_only=True, slots=True)
class Sparse:
    """A sparse vector, searched with inverse document frequencies."""

    def __str__(self) -> str:
        return "sparse"


Kind: TypeAlias = Dense | Sparse


def is_there(name: str, wanted: Kind, layout: Mapping[str, Kind]) -> bool:
    """Return whether a layout has a vector of this name and kind.

    Raises
    ------
    InputError
        If it has one of this name that is of another kind.
    """
    found = layout.get(name)
    if found not in {None, wanted}:
        raise InputError(
            f"vector {name!r}: expected none yet, or one that is {wanted}; there is one that is {found}. "
            "Drop it first, or choose another name."
        )
    return found is not None
