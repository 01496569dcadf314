"""What a candidate may cost, as text on the command line and as a record."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from analysis.selection.record import Cost
from retriever.errors import InputError

_FIELDS = {
    "seconds": "seconds_per_1000_chunks",
    "bytes": "bytes_per_chunk",
    "ms": "milliseconds_per_query",
}
_WORDS = {
    "seconds": "seconds per 1,000 chunks",
    "bytes": "bytes per chunk",
    "ms": "milliseconds per query",
}
_LIMIT = re.compile(r"\s*([a-z]+)\s*<=\s*([0-9.eE+-]+)\s*")
_EXAMPLE = "'ms<=40,bytes<=4000,seconds<=20'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """The most that a candidate may cost; None where that does not matter.

    Attributes
    ----------
    seconds_per_1000_chunks, bytes_per_chunk, milliseconds_per_query
        As in `Cost`; above 0.
    """

    seconds_per_1000_chunks: float | None = None
    bytes_per_chunk: float | None = None
    milliseconds_per_query: float | None = None

    def __post_init__(self) -> None:
        for name, field in _FIELDS.items():
            limit = getattr(self, field)
            if limit is not None and not (math.isfinite(limit) and limit > 0):
                raise InputError(
                    f"budget: expected a number of {_WORDS[name]} above 0, got {limit}. Leave out what does "
                    f"not matter."
                )

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read limits separated by commas: ``"ms<=40,bytes<=4000,seconds<=20"``, each at most once.

        Raises
        ------
        InputError
            If a part is no such limit, or one comes twice.
        """
        limits: dict[str, float] = {}
        for part in text.split(","):
            found = _LIMIT.fullmatch(part)
            if found is None or found[1] not in _FIELDS:
                raise _unreadable(text, part)
            if _FIELDS[found[1]] in limits:
                raise InputError(
                    f"budget: expected {found[1]} once, got it twice in {text!r}. Give one limit."
                )
            try:
                limits[_FIELDS[found[1]]] = float(found[2])
            except ValueError as error:
                raise _unreadable(text, part) from error
        return cls(**limits)

    def admits(self, cost: Cost) -> bool:
        """Return whether a cost is within the budget.

        Raises
        ------
        InputError
            If there is a limit for something that was not measured.
        """
        for name, field in _FIELDS.items():
            limit, found = getattr(self, field), getattr(cost, field)
            if limit is None:
                continue
            if found is None:
                raise InputError(
                    f"budget: expected {_WORDS[name]} of every candidate, got one where they were not "
                    f"measured. Measure costs, or leave {name} out of the budget."
                )
            if found > limit:
                return False
        return True


def _unreadable(text: str, part: str) -> InputError:
    known = "; ".join(f"{name}: {words}" for name, words in _WORDS.items())
    return InputError(
        f"budget: expected limits as in {_EXAMPLE} ({known}), got {part.strip()!r} in {text!r}. Write a "
        f"name, <= and a number."
    )
