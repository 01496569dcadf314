"""Texts on which a quantised model is made and measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from retriever.errors import InputError

_WORDS = (8, 120, 30, 150, 60)  # of one text after the other: queries are short, chunks are long
_MOST = 64  # of each kind
_FEWEST = 8
_SUFFIXES = (".txt", ".md", ".jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """Two lists without a common text: ranges are measured on one, fidelity on the other."""

    calibration: list[str]
    held_out: list[str]


def read_samples(path: Path | None) -> Samples:
    """Return texts of lengths from a query's to a chunk's, spread over all there are.

    Parameters
    ----------
    path
        A file, or a folder with files: ``.txt``, ``.md``, or ``.jsonl`` with strings or objects with
        ``"text"``. None: the language reference that comes with every Python.

    Raises
    ------
    InputError
        If there are no such files, or too little text.
    """
    texts = list(_pieces(_words(path)))
    if len(texts) < 2 * _FEWEST:
        raise InputError(
            f"texts in {path}: expected enough for {2 * _FEWEST} samples of up to {max(_WORDS)} words, got "
            f"{len(texts)}. Give more text, or leave --texts out for text that comes with Python."
        )
    return Samples(calibration=_spread(texts[::2]), held_out=_spread(texts[1::2]))


def _spread(texts: list[str]) -> list[str]:
    """Return at most `_MOST` of the texts, at even distances."""
    return [texts[i * len(texts) // _MOST] for i in range(_MOST)] if len(texts) > _MOST else texts


def _pieces(words: list[str]) -> Iterator[str]:
    start = 0
    for length in cycle(_WORDS):
        if start + length > len(words):
            return
        yield " ".join(words[start : start + length])
        start += length


def _words(path: Path | None) -> list[str]:
    if path is None:
        from pydoc_data.topics import topics

        return [word for topic in sorted(topics) for word in topics[topic].split()]
    return [word for text in _texts(path) for word in text.split()]


def _texts(path: Path) -> Iterator[str]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    readable = [file for file in files if file.suffix.lower() in _SUFFIXES and file.is_file()]
    if not readable:
        raise InputError(f"texts in {path}: expected files named {', '.join(_SUFFIXES)}, got none.")
    for file in readable:
        try:
            text = file.read_text(encoding="utf-8")
            yield from (
                (_line(line) for line in text.splitlines() if line) if file.suffix == ".jsonl" else [text]
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{file}: expected UTF-8 text, or lines of JSON with 'text', got {error!r}. Mend or move it."
            ) from error


def _line(line: str) -> str:
    value = json.loads(line)
    return value if isinstance(value, str) else str(value["text"])
