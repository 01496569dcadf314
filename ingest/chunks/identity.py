"""What a chunk is called."""

from __future__ import annotations

import json
from uuid import UUID, uuid5

NAMESPACE = UUID("77ffd335-2e2e-431b-91ef-7280b0955725")
"""Of the chunk ids; with another one every stored chunk would be a stranger."""


def chunk_id(  # noqa: PLR0913  # all by name
    *, corpus: str, doc_id: str, index: int, text: str, prefix: str, fingerprint: str
) -> str:
    """Return a UUID that changes with any of these; without a prefix it is as if there were no such thing."""
    identity = [corpus, doc_id, index, text, fingerprint, *([prefix] if prefix else [])]
    return str(uuid5(NAMESPACE, json.dumps(identity)))
