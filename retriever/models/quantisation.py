"""A smaller, faster copy of a model, in a folder of its own, with what it cost measured beside it."""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retriever.errors import InputError, ModelError
from retriever.models.calibration import Samples, read_samples
from retriever.models.card import CARD, FLOAT32
from retriever.models.catalog import load_model
from retriever.models.folder import read_json
from retriever.models.graph_files import weights_of
from retriever.models.probe import batch_invariance, cosines
from retriever.models.protocol import EmbeddingModel
from retriever.records import ModelSpec

if TYPE_CHECKING:
    from retriever.models.graph import GraphModel
    from retriever.models.tokenizer import HFTokenizer

METHODS = ("int8-dynamic", "int8-static", "int8-weights", "float32")
"""How a copy computes.

``"int8-dynamic"``, on ONNX Runtime: 8-bit arithmetic whose ranges are those of each text.
``"int8-static"``, on OpenVINO: 8-bit arithmetic whose ranges were measured on sample texts.
``"int8-weights"``, on OpenVINO: 8-bit weights; the closest of the three to the original.
``"float32"``, on ONNX Runtime: as the original.
"""

MIN_AGREEMENT = 0.98
"""The lowest mean cosine to the original at which a copy is written."""

_ROUNDS = 3
_ON_ONNX = {"int8-dynamic", "float32"}
_SAID_BY_METHOD = {
    "int8-dynamic": "int8 weights and arithmetic, ranges of each text",
    "int8-static": "int8 weights and arithmetic, ranges measured on sample texts",
    "int8-weights": "int8 weights, one scale per row",
    "float32": "",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fidelity:
    """A copy measured against its original.

    Attributes
    ----------
    texts
        How many texts were embedded for it, none of which the copy was made with.
    agreement_mean, agreement_min
        Cosine between the vectors of copy and original, per text.
    batch_invariance
        Largest ``1 - cosine`` between a text's vectors of the copy alone and in a batch.
    speed
        Texts a second of the copy over those of the original, on this machine in one interleaved run.
    bytes, original_bytes
        Size of the weights.
    """

    texts: int
    agreement_mean: float
    agreement_min: float
    batch_invariance: float
    speed: float
    bytes: int
    original_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeReport:
    """What became of a model: `name` and `folder` are the copy's, `method` is of `METHODS`."""

    name: str
    original: str
    folder: str
    method: str
    measured: Fidelity

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def quantize(
    source: str,
    out: Path,
    *,
    texts: Path | None = None,
    method: str = "int8-dynamic",
    allow_loss: bool = False,
) -> QuantizeReport:
    """Write a copy of a model as a graph, and measure it against the original.

    Parameters
    ----------
    source
        What `load_model` takes: a model on torch, or a folder with a float32 ONNX graph.
    out
        The folder to write; `load_model` opens it. It must not exist.
    texts
        A file or folder with texts like those the model is for; by default text that comes with Python.
        One half sets the ranges of ``int8-static``, the other measures.
    method
        Of `METHODS`.
    allow_loss
        Write the copy even if its agreement is below `MIN_AGREEMENT`.

    Raises
    ------
    InputError
        If `out` exists, `method` is no such word, or there is too little text.
    ModelNotFoundError, ModelError
        If the model cannot be loaded or converted, or its copy agrees too little; nothing is left.
    """
    out = out.expanduser().absolute()
    _check_arguments(out, method)
    samples = read_samples(texts)
    original = load_model(source)
    _check_original(original.spec)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        original_bytes = _write(original, folder, samples, method)
        copy = _opened(folder, method)
        measured = _measured(original, copy, samples.held_out, original_bytes)
        report = QuantizeReport(
            name=copy.spec.name,
            original=original.spec.name,
            folder=str(out),
            method=method,
            measured=measured,
        )
        _check_agreement(report, allow_loss=allow_loss)
        _add_to_card(folder, measured)
        folder.rename(out)
    return report


def _check_arguments(out: Path, method: str) -> None:
    if method not in METHODS:
        raise InputError(f"method: expected one of {', '.join(METHODS)}, got {method!r}.")
    if out.exists():
        raise InputError(f"out: expected a folder that does not exist yet, got {out}. Name another one.")


def _check_original(spec: ModelSpec) -> None:
    if spec.dtype != FLOAT32 or spec.pooling not in {"mean", "cls"}:
        got = "a static model" if spec.pooling == "static" else f"{spec.dtype} with pooling {spec.pooling!r}"
        raise ModelError(
            f"model {spec.name!r}: expected float32 weights with mean or cls pooling, got {got}. "
            "Quantise the original of the model."
        )


def _write(original: EmbeddingModel, folder: Path, samples: Samples, method: str) -> int:
    """Write graph, tokenizer and card; return the bytes of the original's weights."""
    tokenizer = _tokenizer_of(original)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        graph, pad_id, original_bytes = _graph_of(original, Path(scratch), folder / "tokenizer.json")
        if method == "float32":
            _copy_graph(graph, folder / "model.onnx")
        elif method == "int8-dynamic":
            from retriever.models.onnx import with_int8_arithmetic

            with_int8_arithmetic(graph, folder / "model.onnx")
        else:
            from retriever.models.openvino import read_graph, save_graph

            reduced = _reduced(read_graph(graph), original.spec, tokenizer, samples, method)
            save_graph(reduced, folder / "openvino_model.xml")
    spec = original.spec
    card = {
        "name": spec.name if method == "float32" else f"{spec.name}-{method}",
        "dimensions": spec.dimensions,
        "max_tokens": spec.max_tokens,
        "pooling": spec.pooling,
        "query_prompt": spec.query_prompt,
        "document_prompt": spec.document_prompt,
        "add_special_tokens": tokenizer.add_special_tokens,
        "pad_id": pad_id,
        "quantisation": _SAID_BY_METHOD[method],
        "quantised_from": {"name": spec.name, "revision": spec.revision, "fingerprint": spec.fingerprint},
    }
    _write_card(folder, card)
    return original_bytes


def _graph_of(original: EmbeddingModel, scratch: Path, tokenizer_file: Path) -> tuple[Path, int, int]:
    """Return the original as an ONNX graph in float32, its padding token and the bytes of its weights."""
    from retriever.models.onnx import OnnxModel
    from retriever.models.sentence_transformer import SentenceTransformerModel

    if isinstance(original, OnnxModel):
        files = original.files
        shutil.copyfile(files.folder / "tokenizer.json", tokenizer_file)
        size = sum(path.stat().st_size for path in (files.graph, *files.weights))
        return files.graph, original.pad_id, size
    if isinstance(original, SentenceTransformerModel):
        from retriever.models.torch_export import export

        parts = export(original, scratch / "model.onnx", tokenizer_file)
        return scratch / "model.onnx", parts.pad_id, parts.bytes
    raise ModelError(
        f"model {original.spec.name!r}: expected a model on torch or an ONNX graph, got backend "
        f"{original.spec.backend!r}. Give the original of the model."
    )


def _copy_graph(graph: Path, target: Path) -> None:
    """Copy a graph; one with weights in other files names them, so they keep their names."""
    shutil.copyfile(graph, target)
    for name in weights_of(graph.name, [path.name for path in graph.parent.iterdir()]):
        shutil.copyfile(graph.parent / name, target.parent / name)


def _tokenizer_of(original: EmbeddingModel) -> HFTokenizer:
    from retriever.models.tokenizer import HFTokenizer

    tokenizer = original.tokenizer
    if not isinstance(tokenizer, HFTokenizer):
        raise ModelError(
            f"model {original.spec.name!r}: expected a fast tokenizer, got {type(tokenizer).__name__}."
        )
    return tokenizer


def _reduced(graph: Any, spec: ModelSpec, tokenizer: HFTokenizer, samples: Samples, method: str) -> Any:
    from retriever.models.nncf_graphs import with_int8_weights, with_measured_ranges

    if method == "int8-weights":
        return with_int8_weights(graph)
    prompted = [
        (spec.document_prompt if i % 2 else spec.query_prompt) + text
        for i, text in enumerate(samples.calibration)
    ]
    return with_measured_ranges(graph, tokenizer.encode(prompted, max_tokens=spec.max_tokens))


def _opened(folder: Path, method: str) -> GraphModel:
    if method in _ON_ONNX:
        from retriever.models.onnx import OnnxModel

        return OnnxModel(folder)
    from retriever.models.openvino import OpenVinoModel

    return OpenVinoModel(folder)


def _measured(original: EmbeddingModel, copy: GraphModel, texts: list[str], original_bytes: int) -> Fidelity:
    agreement = cosines(copy.embed_chunks(texts), original.embed_chunks(texts))
    return Fidelity(
        texts=len(texts),
        agreement_mean=float(agreement.mean()),
        agreement_min=float(agreement.min()),
        batch_invariance=batch_invariance(copy.embed_chunks),
        speed=_speed(copy, original, texts),
        bytes=sum(path.stat().st_size for path in (copy.files.graph, *copy.files.weights)),
        original_bytes=original_bytes,
    )


def _speed(copy: EmbeddingModel, original: EmbeddingModel, texts: list[str]) -> float:
    """Return the median ratio over rounds in which both embed the texts, one after the other."""
    return statistics.median(
        _seconds(lambda: original.embed_chunks(texts)) / _seconds(lambda: copy.embed_chunks(texts))
        for _ in range(_ROUNDS)
    )


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _check_agreement(report: QuantizeReport, *, allow_loss: bool) -> None:
    measured = report.measured
    if measured.agreement_mean < MIN_AGREEMENT and not allow_loss:
        raise ModelError(
            f"model {report.original!r}, method {report.method}: expected a mean cosine of at least "
            f"{MIN_AGREEMENT} to the original, got {measured.agreement_mean:.4f} (lowest "
            f"{measured.agreement_min:.4f}, {measured.texts} texts). Nothing was written. Try the method "
            "'int8-weights' or texts of your own, or accept the loss with --allow-loss."
        )


def _add_to_card(folder: Path, measured: Fidelity) -> None:
    agreement = {
        "mean": measured.agreement_mean,
        "min": measured.agreement_min,
        "texts": measured.texts,
        "batch_invariance": measured.batch_invariance,
        "speed": measured.speed,
        "bytes": measured.bytes,
        "original_bytes": measured.original_bytes,
    }
    _write_card(folder, {**read_json(folder / CARD), "agreement": agreement})


def _write_card(folder: Path, card: dict[str, Any]) -> None:
    text = json.dumps(card, ensure_ascii=False, indent=2) + "\n"
    (folder / CARD).write_text(text, encoding="utf-8")
