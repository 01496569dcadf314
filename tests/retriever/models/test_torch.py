from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from retriever.errors import EmbeddingError, ModelError, ModelNotFoundError
from retriever.models import SentenceTransformerModel
from retriever.models.packaged import PACKAGED, _locate, load_packaged
from retriever.models.protocol import EmbeddingModel
from retriever.testing import EmbeddingModelContract

_DIMENSIONS = 4


class TestMiniLM(EmbeddingModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, minilm: EmbeddingModel) -> EmbeddingModel:
        return minilm

    @pytest.fixture(scope="class")
    @classmethod
    def again(cls) -> EmbeddingModel:
        return load_packaged("minilm")


class TestWordLlama(EmbeddingModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, wordllama: EmbeddingModel) -> EmbeddingModel:
        return wordllama

    @pytest.fixture(scope="class")
    @classmethod
    def again(cls) -> EmbeddingModel:
        return load_packaged("wordllama")


def _save_static(folder: Path) -> Path:
    """Save a model of three words: each has a direction of its own, and unknown words have none."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    vocabulary = {"[UNK]": 0, "warm": 1, "soil": 2, "basil": 3, "query:": 4}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    weights = np.vstack([np.zeros(_DIMENSIONS), np.eye(_DIMENSIONS)]).astype(np.float32)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)]).save_pretrained(
        str(folder), create_model_card=False
    )
    return folder


@pytest.fixture(scope="module")
def static_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save_static(tmp_path_factory.mktemp("models") / "tiny-static")


@pytest.fixture
def folder(static_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(static_folder, tmp_path / "tiny-static"))


def _minilm_copy(target: Path) -> Path:
    """A copy of the packaged MiniLM that shares its weights."""
    source = _locate(PACKAGED["minilm"], "minilm")[0]
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("model.safetensors"))
    (target / "model.safetensors").symlink_to(source / "model.safetensors")
    return target


def test_the_spec_of_minilm(minilm: EmbeddingModel) -> None:
    """Reference: the model card of sentence-transformers/all-MiniLM-L6-v2 and its files."""
    spec = minilm.spec
    assert (spec.name, spec.key) == ("sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2")
    assert (spec.dimensions, spec.max_tokens, spec.pooling) == (384, 256, "mean")
    assert (spec.query_prompt, spec.document_prompt) == ("", "")
    assert (spec.backend, spec.dtype, spec.source) == ("torch", "float32", "minilm")
    assert spec.revision.startswith("sha256:")


def test_the_spec_of_wordllama(wordllama: EmbeddingModel) -> None:
    """A static model reads texts of any length."""
    spec = wordllama.spec
    assert (spec.name, spec.key) == ("dleemiller/word-llama-l2-supercat-256", "word-llama-l2-supercat-256")
    assert (spec.dimensions, spec.max_tokens, spec.pooling, spec.source) == (256, None, "static", "wordllama")


def test_a_static_vector_is_the_mean_of_its_token_vectors(static_folder: Path) -> None:
    """By hand: two of four axes, each with 1/√2."""
    model = SentenceTransformerModel.from_folder(static_folder)
    np.testing.assert_allclose(model.embed_chunks(["warm soil"]), [[0.5**0.5, 0.5**0.5, 0, 0]], atol=1e-6)


def test_a_text_without_known_words_is_refused_by_position(static_folder: Path) -> None:
    """A zero vector would have no direction, and a score of 0 with everything."""
    model = SentenceTransformerModel.from_folder(static_folder)
    with pytest.raises(EmbeddingError, match=r"'tiny-static': .*zero vector for text 1 of 2 \('zebra'\)"):
        model.embed_chunks(["warm", "zebra"])


def test_the_prompts_in_the_files_of_a_model_are_used(folder: Path) -> None:
    """config_sentence_transformers.json wins over our table and the folder's name."""
    path = folder / "config_sentence_transformers.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"prompts": {"query": "query: ", "document": "warm "}}))
    model = SentenceTransformerModel.from_folder(folder)
    assert (model.spec.query_prompt, model.spec.document_prompt) == ("query: ", "warm ")
    np.testing.assert_allclose(model.embed_queries(["soil"]), [[0, 0.5**0.5, 0, 0.5**0.5]], atol=1e-6)
    np.testing.assert_allclose(model.embed_chunks(["soil"]), [[0.5**0.5, 0.5**0.5, 0, 0]], atol=1e-6)


def test_a_folder_named_like_a_known_model_gets_its_prompts(static_folder: Path, tmp_path: Path) -> None:
    """A downloaded folder has no publisher in its name; 'passage:' is no word of this model."""
    model = SentenceTransformerModel.from_folder(
        Path(shutil.copytree(static_folder, tmp_path / "e5-small-v2"))
    )
    assert (model.spec.query_prompt, model.spec.document_prompt) == ("query: ", "passage: ")
    np.testing.assert_allclose(model.embed_queries(["warm"]), [[0.5**0.5, 0, 0, 0.5**0.5]], atol=1e-6)
    np.testing.assert_allclose(model.embed_chunks(["warm"]), [[1, 0, 0, 0]], atol=1e-6)


def test_the_revision_follows_the_weights_and_not_the_place(static_folder: Path, folder: Path) -> None:
    """The same files elsewhere are the same model, other weights are not."""
    here = SentenceTransformerModel.from_folder(static_folder).spec
    there = SentenceTransformerModel.from_folder(folder).spec
    assert here.source != there.source
    assert here.fingerprint == there.fingerprint
    weights = folder / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    assert SentenceTransformerModel.from_folder(folder).spec.revision != here.revision


def test_a_limit_in_the_tokenizer_of_a_static_model_is_its_maximum(folder: Path) -> None:
    """Some static models carry a tokenizer that cuts texts."""
    path = folder / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(2)
    tokenizer.save(str(path))
    model = SentenceTransformerModel.from_folder(folder)
    assert model.spec.max_tokens == 2
    assert model.tokenizer.count(["warm soil basil"]) == [3]


def test_loading_leaves_no_progress_bar_and_no_setting(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Standard error belongs to the application, and so do the settings of transformers."""
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.is_progress_bar_enabled()
    SentenceTransformerModel.from_folder(_minilm_copy(tmp_path / "all-MiniLM-L6-v2")).embed_chunks(["warm"])
    assert capfd.readouterr() == ("", "")
    assert transformers_logging.is_progress_bar_enabled() == before


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    """Not a traceback of a library."""
    with pytest.raises(ModelNotFoundError, match="absent: expected a folder, got none"):
        SentenceTransformerModel.from_folder(tmp_path / "absent")


def test_pooling_is_never_guessed(folder: Path) -> None:
    """Without modules.json sentence-transformers would take the mean, which is wrong for many models."""
    (folder / "modules.json").unlink()
    with pytest.raises(ModelError, match=r"expected modules.json, which says how token vectors become one"):
        SentenceTransformerModel.from_folder(folder)


def test_a_model_with_modules_of_its_own_is_refused(folder: Path) -> None:
    """No code of a model runs."""
    path = folder / "modules.json"
    (folder / "evil.py").write_text("raise SystemExit('this code ran')")
    modules = json.loads(path.read_text())
    path.write_text(json.dumps([modules[0] | {"type": "evil.Module"}]))
    with pytest.raises(ModelError, match=r"brings code of its own \(evil.Module\)"):
        SentenceTransformerModel.from_folder(folder)


def test_a_model_with_an_architecture_of_its_own_is_refused(tmp_path: Path) -> None:
    """`auto_map` points transformers to code beside the weights."""
    folder = _minilm_copy(tmp_path / "custom")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    custom = {"model_type": "custom-bert", "auto_map": {"AutoModel": "modeling_custom.Model"}}
    path.write_text(json.dumps(config | custom))
    with pytest.raises(
        ModelError, match=r"brings code of its own \(custom-bert\).*trust_remote_code stays off"
    ):
        SentenceTransformerModel.from_folder(folder)


def test_a_model_with_two_encoders_is_refused(folder: Path) -> None:
    """One tokenizer cannot count for both."""
    path = folder / "modules.json"
    router = {"type": "sentence_transformers.base.modules.router.Router", "path": ""}
    path.write_text(json.dumps([router]))
    with pytest.raises(
        ModelError, match=r"expected one encoder for queries and documents, got one for each \(Router\)"
    ):
        SentenceTransformerModel.from_folder(folder)


def test_a_default_prompt_does_not_reach_the_chunks(folder: Path) -> None:
    """sentence-transformers puts a default prompt before whatever is given none."""
    path = folder / "config_sentence_transformers.json"
    changes = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    model = SentenceTransformerModel.from_folder(folder)
    np.testing.assert_allclose(model.embed_chunks(["warm"]), [[1, 0, 0, 0]], atol=1e-6)


def test_a_pickle_is_refused(folder: Path) -> None:
    """Opening a pickle can run code."""
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(
        ModelError, match=r"pytorch_model.bin: expected weights as .safetensors, got a pickle"
    ):
        SentenceTransformerModel.from_folder(folder)


def test_missing_weights_are_said_to_be_missing(folder: Path) -> None:
    """A download that broke off leaves such a folder."""
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match=r"expected weights as .safetensors, got none"):
        SentenceTransformerModel.from_folder(folder)


@pytest.mark.parametrize("name", ["modules.json", "model.safetensors", "tokenizer.json"])
def test_a_broken_file_is_a_model_error(name: str, folder: Path) -> None:
    """Each kind of damage has its own exception in the libraries, and one with us."""
    (folder / name).write_bytes(b'{"broken":')
    with pytest.raises(ModelError):
        SentenceTransformerModel.from_folder(folder)


def _cache(root: Path, static_folder: Path) -> str:
    """Lay out the cache of the hub library with one model, and return its commit."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = root / "models--acme--tiny"
    shutil.copytree(static_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return commit


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a hub that does not answer: port 9 of this machine."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "hub"


@pytest.mark.parametrize("pin", [False, True])
def test_a_cached_hub_model_needs_no_network(pin: bool, hub_cache: Path, static_folder: Path) -> None:  # noqa: FBT001
    """Its revision is the commit."""
    commit = _cache(hub_cache, static_folder)
    source = f"acme/tiny@{commit}" if pin else "acme/tiny"
    spec = SentenceTransformerModel.from_hub(source).spec
    assert (spec.name, spec.revision, spec.source) == ("acme/tiny", commit, source)


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize("pin", ["", "@v1.0", "@" + "a" * 40])
def test_a_hub_out_of_reach_is_said_at_once(pin: str, caplog: pytest.LogCaptureFixture) -> None:
    """No retries, and the message says what to do."""
    with caplog.at_level(logging.WARNING), pytest.raises(ModelNotFoundError) as caught:
        SentenceTransformerModel.from_hub(f"acme/absent{pin}")
    assert "got no answer from the hub" in str(caught.value)
    assert "give the path of a folder" in str(caught.value)
    assert caught.value.__cause__ is None
    assert "Retrying" not in caplog.text


def test_a_download_that_broke_off_is_not_used(hub_cache: Path, static_folder: Path) -> None:
    """A cached snapshot without its pooling would be loaded with the wrong one."""
    commit = _cache(hub_cache, static_folder)
    folder = hub_cache / "models--acme--tiny" / "snapshots" / commit
    modules = json.loads((folder / "modules.json").read_text())
    pooling = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
    (folder / "modules.json").write_text(json.dumps([*modules, pooling]))
    with pytest.raises(ModelNotFoundError, match="got no answer from the hub"):
        SentenceTransformerModel.from_hub("acme/tiny")


@pytest.mark.parametrize("name", ["acme", "acme/tiny/more", "acme/tiny@", "ac me/tiny"])
def test_a_malformed_hub_name_is_refused(name: str) -> None:
    """Before anyone is asked."""
    with pytest.raises(ModelNotFoundError, match="expected a hub name"):
        SentenceTransformerModel.from_hub(name)
