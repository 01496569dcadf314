"""The command that tells how alike models are, without judgements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from analysis.commands.options import (
    CostOption,
    CutoffsOption,
    DropOwnOption,
    ModelsOption,
    NoFiguresOption,
    OutOption,
    OverwriteOption,
    check_out,
    keys_of,
    note,
    write_out,
)
from retriever import console
from retriever.console import ApiKeyOption, CorpusOption, JsonOption, QuietOption, StoreOption, UrlOption
from retriever.errors import InputError


def compare(
    corpus: CorpusOption,
    models: ModelsOption = "",
    queries: Annotated[
        Path | None, typer.Option(help="Queries, JSON lines with _id and text (BEIR); without them only CKA.")
    ] = None,
    drop_own: DropOwnOption = False,
    k: CutoffsOption = None,
    cost: CostOption = False,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    no_figures: NoFiguresOption = False,
    store: StoreOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tell how alike the models of a corpus are, by their vectors and by what they find: no judgements.

    Models that are alike have little to give each other.
    """
    from analysis.collect import Collection, collect_results
    from analysis.judgements import read_queries
    from analysis.results.record import Settings
    from analysis.tables import SIMILARITIES, Letters, heat_map
    from retriever.store.place import open_store

    if k and queries is None:
        raise InputError("--k: expected --queries as well, got none. Without queries only CKA can be told.")
    if drop_own and queries is None:
        raise InputError("--drop-own: expected --queries as well, got none. It is about what queries find.")
    check_out(out, overwrite=overwrite, figures=not no_figures)
    asked = {} if queries is None else read_queries(queries)
    if not asked:
        note(
            "without --queries the models are compared by their vectors alone (CKA), not by what they find.",
            quiet=quiet,
        )
    results = collect_results(
        open_store(store, url=url, api_key=api_key),
        [Collection(corpus=corpus, queries=asked, drop_own=drop_own)],
        keys=keys_of(models),
        settings=Settings(ks=tuple(k)) if k else Settings(),
        cost=cost,
    )
    write_out(results, out, overwrite=overwrite, figures=not no_figures, quiet=quiet)
    evaluation = results.collections[0].evaluation
    letters = Letters([model.key for model in results.models])
    measures = [name for name in SIMILARITIES if asked or name.startswith("CKA")]
    if asked and max(one.k for one in evaluation.similarities[0].overlaps) == evaluation.n_chunks:
        note(
            f"the corpus has {evaluation.n_chunks} chunks, and of as many every model finds the same: give a "
            f"smaller --k to tell models apart by what they find.",
            quiet=quiet,
        )

    def show(console: Console) -> None:
        console.print(letters.legend(), markup=False)
        for measure in measures:
            console.print()
            console.print(heat_map(evaluation.similarities, letters, measure))

    value = {
        "corpus": corpus,
        "queries": len(evaluation.query_ids),
        "chunks": evaluation.n_chunks,
        "documents": evaluation.n_documents,
        "models": [model.to_json() for model in results.models],
        "similarities": [similarity.to_json() for similarity in evaluation.similarities],
    }
    console.emit(value, as_json=json, show=show)
