"""From a sentence-transformers model to what a graph is made of."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer

from retriever.errors import ModelError
from retriever.models.sentence_transformer import SentenceTransformerModel

_STEPS = (Transformer, Pooling, Normalize)
_OPSET = 17


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What a graph does not say itself: the padding token, and the bytes of the original's weights."""

    pad_id: int
    bytes: int


class _TokenVectors(torch.nn.Module):
    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def export(model: SentenceTransformerModel, graph: Path, tokenizer_file: Path) -> Exported:
    """Write a model as an ONNX graph from token ids to token vectors, and its tokenizer.

    Raises
    ------
    ModelError
        If the model is not a Transformer, one way of pooling and nothing else: what comes after would
        be left out of the graph.
    """
    library = model._model  # noqa: SLF001  # the one place that needs what is inside
    beyond = sorted({type(step).__name__ for step in library if not isinstance(step, _STEPS)})
    if beyond or model.spec.pooling not in {"mean", "cls"}:
        raise ModelError(
            f"model {model.spec.name!r}: expected a Transformer with mean or cls pooling, got "
            f"{', '.join(beyond) or model.spec.pooling}, which a graph of token vectors leaves out. "
            "Use it on torch."
        )
    tokenizer = Tokenizer.from_str(library.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(tokenizer_file))
    transformer: Any = library[0].auto_model
    with _quiet(), _plain_attention(transformer), torch.inference_mode():
        torch.onnx.export(
            _TokenVectors(transformer).eval(),
            _example(tokenizer),
            graph,
            input_names=["input_ids", "attention_mask"],
            output_names=["last_hidden_state"],
            dynamic_axes={
                name: {0: "texts", 1: "tokens"}
                for name in ("input_ids", "attention_mask", "last_hidden_state")
            },
            opset_version=_OPSET,
            dynamo=False,  # the newer way needs another package, and gives the same graph
        )
    return Exported(
        pad_id=int(library.tokenizer.pad_token_id or 0),
        bytes=sum(weight.numel() * weight.element_size() for weight in transformer.parameters()),
    )


def _example(tokenizer: Tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([tokenizer.encode("warm soil").ids] * 2)
    mask = torch.ones_like(ids)
    mask[1, -1] = 0  # a mask of ones only would be followed on a path without masks
    return ids, mask


@contextmanager
def _plain_attention(transformer: Any) -> Iterator[None]:
    """Compute attention as products and a sum with the mask, which a graph runs a tenth faster.

    Followed through torch's own function it would look for rows without any token, in every layer.
    """
    implementation = transformer.config._attn_implementation  # noqa: SLF001  # there is no other name
    transformer.set_attn_implementation("eager")
    try:
        yield
    finally:
        transformer.set_attn_implementation(implementation)


@contextmanager
def _quiet() -> Iterator[None]:
    """Follow a module without the warnings of its library, which are for its authors."""
    library = logging.getLogger("transformers")
    level = library.level
    library.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        library.setLevel(level)
