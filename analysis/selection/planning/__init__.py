"""A plan of a selection: what a few texts tell, what would be done and cost, and how it is shown."""
