"""The serving side and the core that all packages share: records, models, store, retriever."""
