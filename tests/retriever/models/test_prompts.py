from __future__ import annotations

import logging

import pytest

from retriever.models.prompts import Prompts, choose_prompts, prompts_for

_REPRESENT = "Represent this sentence for searching relevant passages: "


# Origin of each line: the model card of the named model.
@pytest.mark.parametrize(
    ("name", "query", "document"),
    [
        ("intfloat/e5-small", "query: ", "passage: "),
        ("intfloat/e5-large-v2", "query: ", "passage: "),
        ("intfloat/multilingual-e5-base", "query: ", "passage: "),
        ("BAAI/bge-small-en-v1.5", _REPRESENT, ""),
        ("BAAI/bge-large-en", _REPRESENT, ""),
        ("BAAI/bge-m3", "", ""),
        ("thenlper/gte-base", "", ""),
        ("Snowflake/snowflake-arctic-embed-xs", _REPRESENT, ""),
        ("Snowflake/snowflake-arctic-embed-m-v1.5", _REPRESENT, ""),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", "query: ", ""),
        ("mixedbread-ai/mxbai-embed-large-v1", _REPRESENT, ""),
        ("WhereIsAI/UAE-Large-V1", _REPRESENT, ""),
        ("avsolatorio/GIST-small-Embedding-v0", "", ""),
        ("avsolatorio/GIST-Embedding-v0", "", ""),
        ("avsolatorio/NoInstruct-small-Embedding-v0", "", ""),
        ("nomic-ai/nomic-embed-text-v1.5", "search_query: ", "search_document: "),
        ("ibm-granite/granite-embedding-30m-english", "", ""),
        ("ibm-granite/granite-embedding-english-r2", "", ""),
        ("sentence-transformers/all-MiniLM-L12-v2", "", ""),
        ("sentence-transformers/all-mpnet-base-v2", "", ""),
        ("sentence-transformers/multi-qa-mpnet-base-dot-v1", "", ""),
        ("minishlab/potion-base-8M", "", ""),
        ("minishlab/M2V_base_output", "", ""),
        ("dleemiller/word-llama-l2-supercat-256", "", ""),
    ],
)
def test_known_models_have_the_prompts_of_their_card(name: str, query: str, document: str) -> None:
    """Every family is found by the full name of its models."""
    found = prompts_for(name)
    assert found is not None
    assert (found.query, found.document) == (query, document)
    assert found.source.startswith("model card of ")


def test_a_folder_has_no_publisher() -> None:
    """The last part of a name is enough, in any case."""
    assert prompts_for("E5-small-v2") == prompts_for("intfloat/e5-small-v2")


@pytest.mark.parametrize(
    "name",
    ["someone/e5-small-v2", "intfloat/e5-mistral-7b-instruct", "my-e5-small-v2", "BAAI/bge-small-en-v1x5"],
)
def test_a_name_that_only_resembles_a_family_is_unknown(name: str) -> None:
    """A fine-tuned model of someone else may have been trained with other prompts."""
    assert prompts_for(name) is None


def test_an_unknown_model_gets_no_prompts_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The log says once per name that nobody described the model."""
    with caplog.at_level(logging.WARNING):
        first = choose_prompts("acme/never-seen", {})
        second = choose_prompts("acme/never-seen", {})
    assert (first.query, first.document) == ("", "")
    assert first == second
    assert [record.name for record in caplog.records] == ["retriever.models.prompts"]
    assert "acme/never-seen" in caplog.text


@pytest.mark.parametrize("key", ["document", "passage", "corpus"])
def test_prompts_in_the_files_of_the_model_win(key: str) -> None:
    """Its own publisher knows better than our table."""
    chosen = choose_prompts("intfloat/e5-small-v2", {"query": "Q: ", key: "D: "})
    assert (chosen.query, chosen.document) == ("Q: ", "D: ")


def test_a_saved_query_prompt_alone_leaves_documents_without() -> None:
    """A file that names one prompt has decided on the other."""
    chosen = choose_prompts("intfloat/e5-small-v2", {"query": "Q: "})
    assert chosen == Prompts(query="Q: ", document="", source="the model's own files")


def test_empty_saved_prompts_say_nothing() -> None:
    """sentence-transformers saves empty prompts for every model."""
    assert choose_prompts("intfloat/e5-small-v2", {"query": "", "document": ""}) == prompts_for(
        "intfloat/e5-small-v2"
    )
