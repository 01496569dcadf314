"""Which few of many models to embed a corpus with, from a growing sample of it."""
