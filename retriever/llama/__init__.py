"""LlamaIndex's side: the retriever, its settings and filters, and a client for LlamaIndex's own Qdrant store.

Import from the modules, or from `retriever`: importing this package loads no library.
"""
