"""From models and queries to a verdict: evaluation, similarity, intervals."""
