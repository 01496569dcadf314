"""Models of sentence-transformers on torch: the reference implementation."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from tokenizers import Tokenizer as FastTokenizer
from transformers import CONFIG_MAPPING
from transformers.utils import logging as transformers_logging

from retriever.errors import ModelError
from retriever.models.batches import padded_rows, token_batches
from retriever.models.checked import as_texts, unit_rows
from retriever.models.folder import name_of
from retriever.models.hub import first_line, snapshot
from retriever.models.loadable import check_loadable, revision_of
from retriever.models.prompts import choose_prompts
from retriever.models.protocol import FloatArray
from retriever.models.threads import computes_in_bfloat16
from retriever.models.tokenizer import HFTokenizer, TokenIds, read_tokenizer
from retriever.models.torch_threads import map_batches
from retriever.records import ModelSpec

logger = logging.getLogger(__name__)

_BATCH_SIZE = 32
_TOKENS_PER_BATCH = 2048  # rows times the longest of them: what a processor's caches like
_TOKENS_PER_BATCH_ON_A_CARD = 32768  # where a small batch leaves most of it idle
_NO_LIMIT = 1_000_000_000  # tokenizers without a maximum give 1e30 or infinity
_LOADING = threading.Lock()  # transformers builds models under global settings of torch
_PROBES = (
    "Warm soil helps basil.",
    "  The ferry LEAVES at noon;\tna\u00efve caf\u00e9s open later, \U0001f916 or never.\n",
)
_AGREEMENT = 1e-5
_CHANGES_AS_IT_RUNS = ("dynamic", "longrope")  # position embeddings that remember the longest text


class SentenceTransformerModel:
    """A sentence-transformers model, computing in float32 unless told otherwise.

    float32 whatever the stored precision: in half precision the vector of a text depends on the texts
    it shares a batch with. The device is the one that sentence-transformers picks.

    The modules of the model run on token ids that the chunker and other models of the vocabulary share,
    in batches of texts of about one length. A model that this does not suit, as a comparison with the
    library on loading finds out, is run by the library's own ``encode``.

    Parameters
    ----------
    model
        The loaded model; from here on it belongs to this object.
    name
        Its name, by which its prompts are found.
    revision
        What identifies its weights.
    source
        What loads it again with `load_model`.
    dtype
        ``"float32"`` or ``"bfloat16"``. In bfloat16 each text is run alone, so that its vector is the
        same in any company.

    Raises
    ------
    ModelError
        If the model cannot be used, or this machine does not compute in `dtype`.
    """

    def __init__(
        self, model: SentenceTransformer, *, name: str, revision: str, source: str, dtype: str = "float32"
    ) -> None:
        _check_dtype(dtype, name, model.device.type)
        self._model = model.float().eval()
        self._tokenizer = _tokenizer_of(model, name)
        prompts = choose_prompts(name, {key: text or "" for key, text in model.prompts.items()})
        self._spec = ModelSpec(
            name=name,
            revision=revision,
            dimensions=_dimensions_of(model, name),
            max_tokens=_max_tokens_of(model),
            query_prompt=prompts.query,
            document_prompt=prompts.document,
            pooling=_pooling_of(model),
            backend="torch",
            dtype=dtype,
            tokenizer=self._tokenizer.fingerprint,
            source=source,
        )
        self._budget = _budget(dtype, model.device.type)
        self._runs_ids = self._agrees_with_the_library()
        # The library's way changes and reads its tokenizer in every call; ours shares nothing.
        needs_lock = not self._runs_ids or _changes_as_it_runs(model)
        self._lock = threading.Lock() if needs_lock else nullcontext()
        self._runs_at_once = not needs_lock and model.device.type == "cpu" and self._spec.pooling != "static"
        if dtype == "bfloat16":
            self._model = model.bfloat16()

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        name: str | None = None,
        revision: str | None = None,
        source: str | None = None,
        dtype: str = "float32",
    ) -> SentenceTransformerModel:
        """Load a model that lies in a folder.

        Parameters
        ----------
        folder
            As sentence-transformers saves it, with ``modules.json``.
        name
            By default the name of the folder.
        revision
            By default a content hash of weights and configuration.
        source
            By default the absolute path of the folder.
        dtype
            Arithmetic, ``"float32"`` or ``"bfloat16"``.

        Raises
        ------
        ModelNotFoundError
            If there is no such folder, or no weights in it.
        ModelError
            If it is broken, if the model needs code of its own, which is never run, or if this machine
            does not compute in `dtype`.
        """
        folder = folder.expanduser().absolute()
        check_loadable(folder, CONFIG_MAPPING)
        return cls(
            _load(folder),
            name=name_of(folder) if name is None else name,
            revision=revision_of(folder) if revision is None else revision,
            source=str(folder) if source is None else source,
            dtype=dtype,
        )

    @classmethod
    def from_hub(cls, source: str, *, dtype: str = "float32") -> SentenceTransformerModel:
        """Load a model of the Hugging Face hub: ``"publisher/model"`` or ``"publisher/model@revision"``.

        Raises
        ------
        ModelNotFoundError, ModelError
            As `from_folder`, and if it is neither in the cache nor to be had from the hub.
        """
        files = snapshot(source)
        return cls.from_folder(
            files.folder, name=files.name, revision=files.commit, source=source, dtype=dtype
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._spec

    @property
    def tokenizer(self) -> HFTokenizer:
        """Its tokenizer."""
        return self._tokenizer

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        return self._embed(as_texts(texts), self._spec.query_prompt)

    def embed_chunks(self, texts: Sequence[str]) -> FloatArray:
        """Return unit rows, float32, shape (n_texts, dimensions)."""
        return self._embed(as_texts(texts), self._spec.document_prompt)

    def _embed(self, texts: list[str], prompt: str) -> FloatArray:
        vectors = self._vectors_of_ids(texts, prompt) if self._runs_ids else self._encode(texts, prompt)
        return unit_rows(vectors, texts=texts, spec=self._spec)

    def _vectors_of_ids(self, texts: list[str], prompt: str) -> NDArray[np.floating]:
        """Return one vector per text, not normalised."""
        ids = self._ids_of(texts, prompt)
        # A text without tokens is never run: its row stays zero, and unit_rows refuses it by name.
        vectors = np.zeros((len(texts), self._spec.dimensions), dtype=np.float32)

        def run(batch: list[int]) -> NDArray[np.floating]:
            features = _features(self._model, [ids[i] for i in batch])
            with self._lock, torch.inference_mode():
                rows = self._model(features)["sentence_embedding"]
                found: NDArray[np.floating] = rows[:, : self._model.truncate_dim].float().cpu().numpy()
            return found

        batches = list(token_batches([len(row) for row in ids], budget=self._budget))
        for batch, rows in zip(batches, self._runs(run, batches), strict=True):
            vectors[batch] = rows
        return vectors

    def _runs(
        self, run: Callable[[list[int]], NDArray[np.floating]], batches: list[list[int]]
    ) -> Iterator[NDArray[np.floating]]:
        return map_batches(run, batches) if self._runs_at_once else map(run, batches)

    def _ids_of(self, texts: list[str], prompt: str) -> list[TokenIds]:
        return self._tokenizer.encode([prompt + text for text in texts], max_tokens=self._spec.max_tokens)

    def _encode(self, texts: list[str], prompt: str) -> NDArray[np.floating]:
        """Return what the library makes of the texts."""
        if not texts:
            return np.empty((0, self._spec.dimensions), dtype=np.float32)
        with self._lock:
            # Even an empty prompt is given: without one the model would take its own default.
            vectors: NDArray[np.floating] = (
                self._model.encode(
                    texts,
                    prompt=prompt,
                    batch_size=_BATCH_SIZE if self._budget > 1 else 1,
                    convert_to_tensor=True,
                    show_progress_bar=False,
                )
                .float()
                .cpu()
                .numpy()
            )
        return vectors

    def _agrees_with_the_library(self) -> bool:
        """Tell whether the modules make of our token ids what the library makes of the texts."""
        self._lock, self._runs_at_once = nullcontext(), False
        difference = next(self._differences_to_the_library(), None)
        if difference is not None:
            logger.debug("Model %r is run by its library's encode: %s.", self._spec.name, difference)
        return difference is None

    def _differences_to_the_library(self) -> Iterator[str]:
        prompts = list(dict.fromkeys((self._spec.query_prompt, self._spec.document_prompt)))
        beyond = " ".join(_PROBES[:1] * (1 + (self._spec.max_tokens or 1) // 4))
        for prompt in prompts:
            texts = [*_PROBES, beyond, ""]
            try:
                theirs = self._model.preprocess(texts, prompt=prompt)
                ours = _features(self._model, self._ids_of(texts, prompt))
                if not _are_equal(ours, theirs):
                    yield f"it prepares its input in another way, with prompt {prompt!r}"
                found = self._vectors_of_ids(list(_PROBES), prompt)
            except Exception as error:  # noqa: BLE001  # whatever it is, the library's way is left
                yield first_line(error)
                return
            expected = self._encode(list(_PROBES), prompt)
            if not np.allclose(found, expected, rtol=_AGREEMENT, atol=_AGREEMENT * np.abs(expected).max()):
                yield f"vectors differ by up to {np.abs(found - expected).max():.1e}"


def _features(model: SentenceTransformer, ids: Sequence[TokenIds]) -> dict[str, Any]:
    """Return the input of a model for one batch of texts."""
    if isinstance(model[0], StaticEmbedding):
        lengths = np.array([len(row) for row in ids])
        features = {
            "input_ids": np.concatenate(ids).astype(np.int64),
            "offsets": np.cumsum(lengths) - lengths,
        }
    else:
        tokenizer = model.tokenizer
        padded, mask = padded_rows(
            ids, pad_id=tokenizer.pad_token_id or 0, left=tokenizer.padding_side == "left"
        )
        features = {"input_ids": padded, "attention_mask": mask}
        if "token_type_ids" in tokenizer.model_input_names:
            features["token_type_ids"] = np.zeros_like(padded)
    return {name: torch.from_numpy(values).to(model.device) for name, values in features.items()}


def _are_equal(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    tensors = {name: value for name, value in theirs.items() if isinstance(value, torch.Tensor)}
    return tensors.keys() == ours.keys() and all(
        torch.equal(value.cpu(), ours[name].cpu()) for name, value in tensors.items()
    )


def _budget(dtype: str, device: str) -> int:
    if dtype != "float32":
        return 1
    return _TOKENS_PER_BATCH if device == "cpu" else _TOKENS_PER_BATCH_ON_A_CARD


def _changes_as_it_runs(model: SentenceTransformer) -> bool:
    kinds = [str(getattr(module, "rope_type", "")) for module in model.modules()]
    return any(kind in found for kind in _CHANGES_AS_IT_RUNS for found in kinds)


def _check_dtype(dtype: str, name: str, device: str) -> None:
    if dtype == "float32" or (dtype == "bfloat16" and _computes_in_bfloat16(device)):
        return
    if dtype == "bfloat16":
        raise ModelError(
            f"model {name!r}: expected a processor that computes in bfloat16 (avx512_bf16 or amx_bf16), got "
            "one that does not: there it would be slower than float32. Leave the backend out for float32, or "
            "use an 8-bit backend."
        )
    raise ModelError(f"model {name!r}: expected dtype 'float32' or 'bfloat16', got {dtype!r}")


def _computes_in_bfloat16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and computes_in_bfloat16()


def static_model(tokenizer_file: Path, weights_file: Path, *, key: str) -> SentenceTransformer:
    """Return a model whose vectors are means of fixed token vectors.

    Parameters
    ----------
    tokenizer_file
        A ``tokenizer.json``.
    weights_file
        A ``.safetensors`` file.
    key
        Name of the token vectors in it, shape (vocabulary, dimensions).

    Raises
    ------
    ModelError
        If a file is missing or broken.
    """
    tokenizer = read_tokenizer(tokenizer_file)
    try:
        weights = load_file(weights_file)[key]
    except Exception as error:  # each kind of damage has its own exception
        raise ModelError(
            f"{weights_file}: expected token vectors under {key!r}, got {first_line(error)}. "
            "Install the package again."
        ) from error
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights.float())])


def _load(folder: Path) -> SentenceTransformer:
    try:
        with _LOADING, _no_progress_bars():
            return SentenceTransformer(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each kind of damage has its own exception
        raise ModelError(
            f"model in {folder}: expected a folder that sentence-transformers can load, got "
            f"{first_line(error)}. Copy or download the model again."
        ) from error


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # its types are partial
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _tokenizer_of(model: SentenceTransformer, name: str) -> HFTokenizer:
    tokenizer = model.tokenizer
    if isinstance(tokenizer, FastTokenizer):  # a static model: no special tokens
        return HFTokenizer(tokenizer, add_special_tokens=False)
    if not isinstance(getattr(tokenizer, "backend_tokenizer", None), FastTokenizer):
        raise ModelError(
            f"model {name!r}: expected a fast tokenizer (tokenizer.json), got {type(tokenizer).__name__}, "
            "which cannot say where its tokens lie in a text"
        )
    return HFTokenizer(tokenizer.backend_tokenizer, add_special_tokens=True)


def _dimensions_of(model: SentenceTransformer, name: str) -> int:
    dimensions = model.get_embedding_dimension()
    if dimensions is None:
        raise ModelError(f"model {name!r}: expected a model that says its dimensions, got None")
    return dimensions


def _max_tokens_of(model: SentenceTransformer) -> int | None:
    """Return after how many tokens a text is cut; a static model may have a limit in its tokenizer."""
    if isinstance(model[0], StaticEmbedding):
        truncation = model[0].tokenizer.truncation
        return None if truncation is None else int(truncation["max_length"])
    limit = model.max_seq_length
    return None if limit is None or limit > _NO_LIMIT else int(limit)


def _pooling_of(model: SentenceTransformer) -> str:
    if isinstance(model[0], StaticEmbedding):
        return "static"
    modes = [module.pooling_mode for module in model if isinstance(module, Pooling)]
    return "+".join(mode if isinstance(mode, str) else "+".join(mode) for mode in modes) or "in-model"
