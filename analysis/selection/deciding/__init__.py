"""From numbers to a decision: what to expect, what is proven, what a gate asks."""
