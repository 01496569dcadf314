"""Models of sentence-transformers on torch: the reference implementation."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from tokenizers import Tokenizer as FastTokenizer
from transformers import CONFIG_MAPPING
from transformers.utils import logging as transformers_logging

from retriever.errors import ModelError, ModelNotFoundError
from retriever.models.checked import as_texts, unit_rows
from retriever.models.folder import MODULES, content_hash, modules_of, name_of, read_json
from retriever.models.hub import first_line, snapshot
from retriever.models.prompts import choose_prompts
from retriever.models.protocol import FloatArray
from retriever.models.tokenizer import HFTokenizer, read_tokenizer
from retriever.records import ModelSpec

_BATCH_SIZE = 32
_ROUTERS = {"Router", "Asym"}
_NO_LIMIT = 1_000_000_000  # tokenizers without a maximum give 1e30 or infinity
_LOADING = threading.Lock()  # transformers builds models under global settings of torch


class SentenceTransformerModel:
    """A sentence-transformers model, computing in float32.

    float32 whatever the stored precision: in half precision the vector of a text depends on the texts
    it shares a batch with. The device is the one that sentence-transformers picks.

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
    """

    def __init__(self, model: SentenceTransformer, *, name: str, revision: str, source: str) -> None:
        self._model = model.float().eval()
        self._lock = threading.Lock()  # its tokenizer is changed and read in every call
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
            dtype="float32",
            tokenizer=self._tokenizer.fingerprint,
            source=source,
        )

    @classmethod
    def from_folder(
        cls, folder: Path, *, name: str | None = None, revision: str | None = None, source: str | None = None
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

        Raises
        ------
        ModelNotFoundError
            If there is no such folder, or no weights in it.
        ModelError
            If it is broken, or the model needs code of its own, which is never run.
        """
        folder = folder.expanduser().absolute()
        _check_folder(folder)
        return cls(
            _load(folder),
            name=name_of(folder) if name is None else name,
            revision=_revision_of(folder) if revision is None else revision,
            source=str(folder) if source is None else source,
        )

    @classmethod
    def from_hub(cls, source: str) -> SentenceTransformerModel:
        """Load a model of the Hugging Face hub: ``"publisher/model"`` or ``"publisher/model@revision"``.

        Raises
        ------
        ModelNotFoundError, ModelError
            As `from_folder`, and if it is neither in the cache nor to be had from the hub.
        """
        files = snapshot(source)
        return cls.from_folder(files.folder, name=files.name, revision=files.commit, source=source)

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
        if not texts:
            return np.empty((0, self._spec.dimensions), dtype=np.float32)
        with self._lock:
            # Even an empty prompt is given: without one the model would take its own default.
            vectors = self._model.encode(
                texts, prompt=prompt, batch_size=_BATCH_SIZE, show_progress_bar=False
            )
        return unit_rows(vectors, texts=texts, spec=self._spec)


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


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelNotFoundError(f"model in {folder}: expected a folder, got none of this name")
    modules = modules_of(folder)
    if not modules:
        raise ModelError(
            f"model in {folder}: expected {MODULES}, which says how token vectors become one vector, got "
            "none. Save the model with sentence-transformers, pooling included."
        )
    _check_code(folder, [module.type for module in modules])
    _check_routes(folder, {module.kind for module in modules})
    _check_weights(folder)


def _check_code(folder: Path, types: list[str]) -> None:
    config = read_json(folder / "config.json")
    foreign = [name for name in types if not name.startswith("sentence_transformers.")]
    if "auto_map" in config and config.get("model_type") not in CONFIG_MAPPING:
        foreign.append(str(config.get("model_type")))
    if foreign:
        raise ModelError(
            f"model in {folder}: expected a model that sentence-transformers and transformers know, got one "
            f"that brings code of its own ({', '.join(foreign)}). Such code is never run: trust_remote_code "
            "stays off. Choose another model."
        )


def _check_routes(folder: Path, kinds: set[str]) -> None:
    if kinds & _ROUTERS:
        raise ModelError(
            f"model in {folder}: expected one encoder for queries and documents, got one for each "
            f"({', '.join(kinds & _ROUTERS)}), whose tokens one tokenizer cannot count. Choose another model."
        )


def _check_weights(folder: Path) -> None:
    if any(folder.rglob("*.safetensors")):
        unsafe = [
            path for path in folder.rglob("pytorch_model*.bin") if not any(path.parent.glob("*.safetensors"))
        ]
        if not unsafe:
            return
        raise ModelError(
            f"{unsafe[0]}: expected weights as .safetensors, got a pickle, which can run code when it is "
            "opened. Save the model again with a newer sentence-transformers."
        )
    raise ModelNotFoundError(
        f"model in {folder}: expected weights as .safetensors, got none. Copy or download the model again; "
        "weights in older formats have to be converted."
    )


def _revision_of(folder: Path) -> str:
    """Hash what changes a vector, but for tokenizer and prompts, which the spec has apart."""
    files = [folder / MODULES, folder / "sentence_bert_config.json"]
    return content_hash(folder, [*files, *folder.rglob("config.json"), *folder.rglob("*.safetensors")])


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
