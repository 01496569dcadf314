"""Which candidate to deploy, or none: with judgements, with few of them, or with none.

The data flow: `screening` finds the few of many models that are worth embedding; `scoring` lists what could
be served and ranks with it; `evidence` is what the corpus itself tells of its models; `measuring` tries
options on judged queries; `costs` is what an option takes; `deciding` turns evidence and judgements into
expectations and a verdict; `rows` puts side by side what is known of every option. `run` does all of it for
one corpus, `outcome` is what it found; `plan` says what it would do, from the parts in `planning`.
"""
