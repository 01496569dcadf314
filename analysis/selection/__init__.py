"""Which candidate to deploy, or none: with judgements, with few of them, or with none.

The data flow: `candidates` says what could be served, `scoreboard` ranks with each of them, `evidence`
is what the corpus itself tells of the quality of its models, `prediction` turns evidence and judgements
into expected quality, `decision` into a verdict.
"""
