from __future__ import annotations

import json
from pathlib import Path

import pytest

from retriever.errors import InputError
from retriever.models.calibration import read_samples

_WORDS = " ".join(f"word{i}" for i in range(3000))


def test_the_default_is_text_that_python_ships() -> None:
    """Short and long ones, and none that is both set on and measured on."""
    samples = read_samples(None)
    assert len(samples.calibration) == len(samples.held_out) == 64
    assert set(samples.calibration).isdisjoint(samples.held_out)
    lengths = {len(text.split()) for text in samples.held_out}
    assert (min(lengths), max(lengths)) == (8, 150)


@pytest.mark.parametrize("name", ["a.txt", "a.MD", "a.jsonl"])
def test_files_of_the_user_are_read(name: str, tmp_path: Path) -> None:
    """Alone, or in a folder with others that are not text."""
    lines = f"{json.dumps(_WORDS)}\n\n{json.dumps({'text': 'last words'})}\n"
    (tmp_path / name).write_text(lines if name.endswith("jsonl") else _WORDS)
    (tmp_path / "picture.png").write_bytes(b"\xff")
    one, folder = read_samples(tmp_path / name), read_samples(tmp_path)
    assert one == folder
    assert one.calibration[0] == "word0 word1 word2 word3 word4 word5 word6 word7"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"too little", "Give more text"),
        ("a.pdf", b"text", "expected files named"),
        ("a.txt", b"\xff\xfe", "expected UTF-8"),
        ("a.jsonl", b'{"title": 1}', "lines of JSON with 'text'"),
        ("a.jsonl", b"{", "lines of JSON with 'text'"),
    ],
)
def test_what_is_no_text_is_refused(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    """By the name of the file."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_samples(tmp_path)
