"""What a model is examined with: texts that mean the same, texts that are unusual, chunks of any length."""

from __future__ import annotations

import random

from retriever.models.protocol import Tokenizer

PARAPHRASES = (
    ("How do I keep basil alive over the winter?", "Bring the herb indoors before frost and give it light."),
    ("When does the ferry to the island depart?", "Boats leave the harbour for the isle every day at noon."),
    ("interest rate on savings", "Money in a deposit account earns two per cent a year."),
    (
        "My computer does not start any more.",
        "If a laptop fails to boot, hold its power button down.",
    ),
    ("symptoms of influenza", "The flu begins with fever, aching muscles and a dry cough."),
    (
        "Who painted the ceiling of the Sistine Chapel?",
        "Michelangelo made those frescoes in Rome.",
    ),
    ("How are volcanoes formed?", "Magma rises through cracks in the Earth's crust and erupts as lava."),
    ("cheap places to sleep in Paris", "Hostels near the Seine offer beds for travellers on a small budget."),
    ("What do bees eat?", "Nectar and pollen from flowers are the food of these insects."),
    ("How to train for a marathon", "Runners slowly increase their weekly distance before the long race."),
    (
        "causes of the French Revolution",
        "Hunger and unjust taxes led the people to rise against Louis XVI.",
    ),
    ("remove a red wine stain", "Put salt on the spilled drink at once, then wash the cloth in cold water."),
)
"""Pairs of a question and a text that answers it, with hardly a word in common."""

BLANK = ("", " ", "\n\n\t")
"""Texts without a word: a model may refuse these."""

UNUSUAL = (
    "a",
    "?!",
    "42",
    "日本語のテキスト。中文、한국어",
    "مرحبا بالعالم — שלום",
    "👩‍👩‍👧 🤖 🇩🇪",
    "e\u0301" * 40,
    "a\x00b\x07c\u200b\ufeff",
    "x" * 500,
    "<div class='a'>{\"b\": [1, 2]}</div>",
    "warm soil " * 1000,
)
"""Texts that are rare and real: each gets a vector from a model that is fit for documents."""

_STORY = (
    "warm soil helps basil the ferry leaves at noon interest is paid on first working day of each quarter "
    "garden water winter island harbour account deposit rate model paper method result river mountain "
    "history science music letter engine market policy doctor patient window bridge "
    "language number season teacher"
)


def chunk_texts(count: int, *, tokens: int, tokenizer: Tokenizer | None, seed: int) -> list[str]:
    """Return texts of about so many tokens, special ones included, no two alike.

    Without a tokenizer, three words are taken for four tokens.
    """
    rng = random.Random(seed)  # noqa: S311  # no secret
    words = tokens * 3 // 4
    vocabulary = _STORY.split()
    if tokenizer is not None:
        sample = " ".join(rng.choices(vocabulary, k=200))
        special, whole = tokenizer.count(["", sample])
        words = int((tokens - special) * 200 / max(1, whole - special))
    return [" ".join(rng.choices(vocabulary, k=max(1, words))) for _ in range(count)]
