"""Concatenated vectors: what they are made of, and how parts and vectors are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from retriever.errors import InputError

COMBINED = "+"
"""Joins the parts in the name of a concatenated vector: ``A+B``."""

TRUNCATED = "@"
"""Stands between a model key and a number of dimensions: ``A@128`` is the first 128 of A, normalised."""

LEXICAL = "bm25"
"""The name of the sparse vector, and of its leg wherever legs are named."""

FULL_STORAGE = "float32"
"""How vectors are stored that every score is computed from; other kinds only find candidates for these."""

STORED_AS = "~"
"""Stands between the parts and the storage in the name of a vector: ``A+B~int8``."""

_LONGEST_NAME = 200
"""Bytes of the name of a vector that every engine takes."""


@dataclass(frozen=True, slots=True)
class Combination:
    """A concatenated vector of a corpus.

    `parts` are model keys, each whole or its first dimensions (``"A@128"``), in the order of the
    manifest. `storage` is what the engine scans: ``"float32"``, ``"float16"``, ``"int8"``,
    ``"binary"``.
    """

    parts: tuple[str, ...]
    storage: str = FULL_STORAGE

    def __post_init__(self) -> None:
        if len(self.vector.encode()) > _LONGEST_NAME:
            raise InputError(
                f"combination: expected a name of at most {_LONGEST_NAME} bytes, got {self.vector!r}. Ingest "
                "with models of shorter names, or combine fewer."
            )

    @property
    def vector(self) -> str:
        """The name of its vector in the store."""
        name = COMBINED.join(self.parts)
        return name if self.storage == FULL_STORAGE else f"{name}{STORED_AS}{self.storage}"

    @property
    def is_stored_anyway(self) -> bool:
        """Whether it is the vector of one model as every corpus keeps it."""
        return self.storage == FULL_STORAGE and len(self.parts) == 1 and TRUNCATED not in self.parts[0]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of its models."""
        return tuple(split_part(part)[0] for part in self.parts)

    def to_json(self) -> Any:
        """Return JSON values from which `from_json` makes an equal record."""
        return list(self.parts) if self.storage == FULL_STORAGE else asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Combination:
        """Read what `to_json` wrote."""
        if isinstance(value, Mapping):
            return cls(tuple(value["parts"]), value["storage"])
        return cls(tuple(value))


def split_part(part: str) -> tuple[str, int | None]:
    """Return model key and number of dimensions of a part of a combination; None where it is whole.

    Raises
    ------
    InputError
        If what follows the ``@`` is no number of at least 1.
    """
    key, mark, dimensions = part.rpartition(TRUNCATED)
    if not mark:
        return part, None
    if not (dimensions.isascii() and dimensions.isdecimal() and int(dimensions)):
        raise InputError(f"combination: expected a number of dimensions after '@', got {part!r}.")
    return key, int(dimensions)
