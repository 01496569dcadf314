"""Bytes into text, or a reason why not; an encoding is never guessed."""

from __future__ import annotations

import codecs

from retriever.errors import SourceError

_BYTE_ORDER_MARKS = (  # the longer ones first: that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF32_LE, "UTF-32-LE"),
    (codecs.BOM_UTF32_BE, "UTF-32-BE"),
    (codecs.BOM_UTF16_LE, "UTF-16-LE"),
    (codecs.BOM_UTF16_BE, "UTF-16-BE"),
)


def byte_order_mark(data: bytes) -> tuple[bytes, str] | None:
    """Return the byte order mark that `data` begins with, and the encoding it stands for."""
    return next((mark for mark in _BYTE_ORDER_MARKS if data.startswith(mark[0])), None)


def decode(data: bytes, declared: str | None = None) -> str:
    r"""Return the text that `data` holds, with every line end as ``\n`` and nothing else changed.

    A byte order mark decides the encoding (and is dropped), else what the file itself declares, else it
    is UTF-8.

    Raises
    ------
    SourceError
        With the reason, if it is binary or not in that encoding.
    """
    mark, encoding = byte_order_mark(data) or (b"", declared or "UTF-8")
    if not mark:
        _refuse_binary(data.find(b"\0"))
    text = _decoded(data[len(mark) :], encoding, len(mark))
    _refuse_binary(text.find("\0"))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(data: bytes, encoding: str, offset: int) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        place = error.start + offset
        raise SourceError(
            f"not {encoding} at byte {place} (0x{data[error.start]:02x}): expected UTF-8 text, or UTF-16 or "
            "UTF-32 with a byte order mark; convert it (from Latin-1: iconv -f LATIN1 -t UTF-8)"
        ) from error
    except (LookupError, UnicodeError) as error:
        raise SourceError(
            f"declares the encoding {encoding!r}: expected one that Python can read; convert it to UTF-8"
        ) from error


def _refuse_binary(place: int) -> None:
    if place >= 0:
        raise SourceError(
            f"binary: expected text, got a zero byte or character at {place}; convert it to UTF-8 text, or "
            "leave it out"
        )
