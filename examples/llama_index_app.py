"""A LlamaIndex app on a Tandem corpus: the retriever takes the place of `index.as_retriever()`.

Before, in the folder of the checkout::

    ingest run examples/handbook --corpus handbook --models minilm,wordllama
    tandem deploy minilm+wordllama --corpus handbook

Then ``python examples/llama_index_app.py "How do I rotate a key?"``. The answer is written by a
stand-in that repeats its prompt; set ``Settings.llm`` to the model of your app.
"""

from __future__ import annotations

import sys

from llama_index.core import Settings
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine

from tandem import TandemRetriever


def main() -> None:
    """Answer a question and show what the answer rests on."""
    question = " ".join(sys.argv[1:]) or "How do I rotate a key?"
    Settings.llm = MockLLM()
    retriever = TandemRetriever.from_deployment("handbook", similarity_top_k=2)
    response = RetrieverQueryEngine.from_args(retriever).query(question)
    print(response)
    for node in response.source_nodes:
        shares = " + ".join(f"{share:.3f} {key}" for key, share in node.contributions.items())
        print(f"{node.score:.3f} = {shares}: {node.node.ref_doc_id}")


if __name__ == "__main__":
    main()
