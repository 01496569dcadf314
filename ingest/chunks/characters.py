"""What single characters mean for cutting text: one number of flags each, read for a whole text at once.

These are simple classes, not the full Unicode algorithms for graphemes (UAX 29) and lines (UAX 14): there is
no dictionary and no library in them whose next release would cut stored text anew.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Flags: TypeAlias = NDArray[np.uint16]
Mask: TypeAlias = NDArray[np.bool_]
Positions: TypeAlias = NDArray[np.int64]

SPACE = 1
"""White space, as `str.isspace` and `str.strip` see it."""
UNSPACED = 2
"""Belongs to a script that is written without spaces between words."""
EXTENDS = 4
"""Continues the grapheme before it: marks, joiners, skin tones, Hangul vowels and finals."""
JOINS = 8
"""Pulls what follows into its own grapheme or syllable."""
CLOSES = 16
"""Does not begin a line: closing brackets, stops, small kana."""
OPENS = 32
"""Does not end a line: opening brackets and quotes."""
ENDS_SENTENCE = 64
"""Full stop and its kin."""
WRAPS = 128
"""Closing bracket or quote that may stand between the end of a sentence and the next one."""
LOWER = 256
"""Small letter: what it begins is no new sentence."""

_SIZE = 0x110000

# Hangul is absent on purpose: Korean puts spaces between words.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x109F),  # Tibetan, Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19FF),  # Tai Le, New Tai Lue, Khmer symbols
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x2E80, 0x2FDF),  # CJK radicals
    (0x3001, 0x312F),  # CJK punctuation, Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31BF),  # Bopomofo
    (0x31F0, 0x31FF),  # Katakana
    (0x3400, 0x4DBF),  # CJK ideographs
    (0x4E00, 0xA4CF),  # CJK ideographs, Yi
    (0xA980, 0xA9FF),  # Javanese, Myanmar
    (0xAA60, 0xAADF),  # Myanmar, Tai Viet
    (0xF900, 0xFAFF),  # CJK ideographs
    (0xFE30, 0xFE4F),  # CJK punctuation for columns
    (0xFF01, 0xFF0F),  # full width punctuation, here and in the next three
    (0xFF1A, 0xFF20),
    (0xFF3B, 0xFF40),
    (0xFF5B, 0xFF65),
    (0xFF66, 0xFF9F),  # half width Katakana
    (0x1B000, 0x1B16F),  # Kana
    (0x20000, 0x3FFFD),  # CJK ideographs
)
_EXTENDS = (
    (0x0E2F, 0x0E33),  # Thai signs and vowels that follow their consonant
    (0x0E45, 0x0E46),
    (0x0EAF, 0x0EB3),  # Lao
    (0x0EC6, 0x0EC6),
    (0x1160, 0x11FF),  # Hangul vowels and finals
    (0x200C, 0x200D),  # zero width non-joiner and joiner
    (0xFF9E, 0xFF9F),  # half width voice marks
    (0x1F3FB, 0x1F3FF),  # skin tones
    (0xE0020, 0xE007F),  # tags of flags
    (0xE0100, 0xE01EF),  # variation selectors
)
_JOINS = (
    (0x0E40, 0x0E44),  # Thai vowels that precede their consonant
    (0x0EC0, 0x0EC4),  # Lao
    (0x1039, 0x1039),  # Myanmar: stacks the next consonant
    (0x17D2, 0x17D2),  # Khmer
    (0x200D, 0x200D),  # zero width joiner
)
_CATEGORIES = {
    "Mn": EXTENDS,
    "Mc": EXTENDS,
    "Me": EXTENDS,
    "Pe": CLOSES | WRAPS,
    "Pf": CLOSES | WRAPS,
    "Po": CLOSES,
    "Ps": OPENS,
    "Pi": OPENS,
    "Ll": LOWER,
}
_SMALL_KANA_AND_MARKS = "々〻ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶーゝゞヽヾ"
STOPS = ".!?…‼⁇⁈⁉।॥؟۔።။។。｡！．？"  # noqa: RUF001 - stops of many scripts, alike on purpose
"""Full stops and their kin."""
_REGIONAL = (0x1F1E6, 0x1F1FF)


def codes_of(text: str) -> NDArray[np.uint32]:
    """Return the code points of `text`."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def flags_of(codes: NDArray[np.uint32]) -> Flags:
    """Return the flags of each code point."""
    return _table()[codes]


def grapheme_starts(codes: NDArray[np.uint32], flags: Flags) -> Mask:
    """Tell before which characters a text can be cut without dividing what is seen as one character."""
    starts: Mask = (flags & EXTENDS) == 0
    starts[1:] &= (flags[:-1] & JOINS) == 0
    starts &= ~_second_halves_of_flags(codes)
    return starts


def _second_halves_of_flags(codes: NDArray[np.uint32]) -> Mask:
    """Tell which characters are the second letter of a flag: every even one of a run of such letters."""
    letters = (codes >= _REGIONAL[0]) & (codes <= _REGIONAL[1])
    if not letters.any():
        return letters
    places = np.arange(codes.size)
    before_run = np.maximum.accumulate(np.where(letters, -1, places))
    seconds: Mask = letters & ((places - before_run) % 2 == 0)
    return seconds


@cache
def _table() -> Flags:
    table = np.zeros(_SIZE, dtype=np.uint16)
    for code in _assigned():
        table[code] = _CATEGORIES.get(unicodedata.category(chr(code)), 0) | (SPACE * chr(code).isspace())
    for ranges, flag in ((_UNSPACED, UNSPACED), (_EXTENDS, EXTENDS), (_JOINS, JOINS)):
        for first, last in ranges:
            table[first : last + 1] |= flag
    for characters, flag in (
        (_SMALL_KANA_AND_MARKS, CLOSES),
        (STOPS, ENDS_SENTENCE | CLOSES),
        ("'\"", WRAPS),
    ):
        table[[ord(character) for character in characters]] |= flag
    table.flags.writeable = False
    return table


def _assigned() -> Iterator[int]:
    """Yield the code points whose category counts; the ideographs of the upper planes have none that does."""
    yield from range(0x3400)
    yield from range(0xA000, 0xAC00)
    yield from range(0xD7B0, 0xD800)
    yield from range(0xF900, 0x20000)
