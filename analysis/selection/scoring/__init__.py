"""What could be served, and how it ranks: legs, options of them, one pass over the scores of each leg."""
