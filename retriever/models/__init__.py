"""Embedding models: the seam and its implementations, one module per heavy library."""
