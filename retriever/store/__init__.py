"""The Qdrant store: one behaviour, two engines."""
