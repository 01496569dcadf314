"""How a server lays out a corpus that is created: a decision of whoever runs the server."""

from __future__ import annotations

from dataclasses import dataclass

from retriever.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerLayout:
    """Settings for the creation of a corpus; None leaves one to the server.

    Attributes
    ----------
    shards
        Into how many parts the points are cut, at least 1; a cluster spreads them over its machines.
    replicas
        How many machines hold each part, at least 1. With more than one, a write counts when most of
        them have it.
    on_disk
        Whether vectors and payloads are read from disk where they are needed, instead of being kept in
        memory.
    """

    shards: int | None = None
    replicas: int | None = None
    on_disk: bool | None = None

    def __post_init__(self) -> None:
        for name in ("shards", "replicas"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"layout: expected {name} of at least 1, got {value}.")

    @property
    def write_consistency(self) -> int | None:
        """On how many replicas a write must be before it counts; None leaves it to the server."""
        return None if self.replicas is None or self.replicas == 1 else self.replicas // 2 + 1

    def check_embedded(self) -> None:
        """Refuse what the embedded engine cannot do: it has one part in one folder, and maps it from disk.

        Raises
        ------
        InputError
            If anything else is asked for.
        """
        asked = [f"{name}={getattr(self, name)}" for name in ("shards", "replicas") if getattr(self, name)]
        if self.on_disk is False:
            asked.append("on_disk=False")
        if asked:
            raise InputError(
                f"layout: expected none for a store in a folder, got {', '.join(asked)}. "
                "Leave it out, or serve the corpus from a Qdrant server (--url)."
            )
