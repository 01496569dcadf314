"""How to use a graph: what the files beside it say about the model, never a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retriever.errors import ModelError
from retriever.models.folder import modules_of, name_of, pooling_of, read_json, saved_prompts
from retriever.models.prompts import choose_prompts

CARD = "card.json"
"""Says all of a model in one file, where it is there."""

FLOAT32 = "float32"

_SAYS_NOTHING = 1_000_000_000  # the model_max_length of tokenizers that know none
_LOW_PRECISION = re.compile(r"int8|int4|float16|fp16|\b[48]-bit")


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What a model folder says about its model; `pooling` is None where it says nothing.

    `agreement` is the mean cosine to the model it was quantised from, None where nobody measured it.
    """

    name: str
    pooling: str | None
    max_tokens: int | None
    query_prompt: str
    document_prompt: str
    add_special_tokens: bool
    pad_id: int
    dtype: str
    agreement: float | None = None


def read_card(folder: Path) -> Card:
    """Return what ``card.json`` says, or the usual files of an exported model if there is none.

    Raises
    ------
    ModelError
        If a file is broken, or something about the model is said nowhere.
    """
    card = read_json(folder / CARD)
    return _written_card(folder, card) if card else _exported_card(folder)


def _written_card(folder: Path, card: Mapping[str, Any]) -> Card:
    try:
        return Card(
            name=re.sub(r"\s*\(.*\)", "", card["name"]),  # a remark in brackets is no part of a name
            pooling=card["pooling"],
            max_tokens=card["max_tokens"],
            query_prompt=card["query_prompt"] or "",
            document_prompt=card["document_prompt"] or "",
            add_special_tokens=card["add_special_tokens"],
            pad_id=card["pad_id"],
            dtype=_dtype_of(card.get("quantisation") or ""),
            agreement=_agreement_of(card.get("agreement")),
        )
    except (KeyError, TypeError) as error:
        raise ModelError(f"{folder / CARD}: expected a field {error}, got none. Add it.") from error


def _agreement_of(measured: Mapping[str, Any] | None) -> float | None:
    return None if measured is None else float(measured["mean"])


def _dtype_of(quantisation: str) -> str:
    """Return the precision that a card names first (``"int8"``, ``"4-bit"``)."""
    match = _LOW_PRECISION.search(quantisation)
    return FLOAT32 if match is None else match[0]


def _exported_card(folder: Path) -> Card:
    name = name_of(folder)
    prompts = choose_prompts(name, saved_prompts(folder))
    return Card(
        name=name,
        pooling=_exported_pooling(folder),
        max_tokens=_exported_max_tokens(folder),
        query_prompt=prompts.query,
        document_prompt=prompts.document,
        add_special_tokens=True,
        pad_id=_exported_pad_id(folder),
        dtype=FLOAT32,
    )


def _exported_pooling(folder: Path) -> str | None:
    paths = {module.kind: module.path for module in modules_of(folder)}
    beyond = sorted(set(paths) - {"Transformer", "Pooling", "Normalize"})
    if beyond:
        raise ModelError(
            f"model in {folder}: expected a model of Transformer, Pooling and Normalize, got also "
            f"{', '.join(beyond)}, which the graph leaves out. Load it from its .safetensors weights."
        )
    return pooling_of(folder / paths.get("Pooling", "1_Pooling"))


def _exported_max_tokens(folder: Path) -> int:
    limits = (
        read_json(folder / "sentence_bert_config.json").get("max_seq_length"),
        read_json(folder / "tokenizer_config.json").get("model_max_length"),
    )
    for limit in limits:
        if limit is not None and limit < _SAYS_NOTHING:
            return int(limit)
    raise ModelError(
        f"model in {folder}: expected to know how many tokens it reads, got nothing that says so. Add "
        'sentence_bert_config.json with {"max_seq_length": 512}, or what its publisher names.'
    )


def _exported_pad_id(folder: Path) -> int:
    pad_id = read_json(folder / "config.json").get("pad_token_id")
    if pad_id is None:
        raise ModelError(
            f"model in {folder}: expected 'pad_token_id' in config.json, got none. Copy config.json of the "
            "original model there."
        )
    return int(pad_id)
