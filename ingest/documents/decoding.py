"""Bytes into text, or a reason why not; an encoding is inferred only where there is no doubt."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from ingest.documents.options import DETECT
from retriever.errors import SourceError

_BYTE_ORDER_MARKS = (  # the longer ones first: that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF32_LE, "UTF-32-LE"),
    (codecs.BOM_UTF32_BE, "UTF-32-BE"),
    (codecs.BOM_UTF16_LE, "UTF-16-LE"),
    (codecs.BOM_UTF16_BE, "UTF-16-BE"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """A text; `detected` is the encoding where that had to be inferred."""

    text: str
    detected: str | None = None


def byte_order_mark(data: bytes) -> tuple[bytes, str] | None:
    """Return the byte order mark that `data` begins with, and the encoding it stands for."""
    return next((mark for mark in _BYTE_ORDER_MARKS if data.startswith(mark[0])), None)


def decode(data: bytes, encoding: str = "UTF-8", *, declared: str | None = None) -> Decoded:
    r"""Return the text that `data` holds, with every line end as ``\n`` and nothing else changed.

    A byte order mark decides the encoding (and is dropped), else it is `encoding`. With ``"detect"`` it
    is what the file itself declares, else UTF-8, else what `ingest.documents.detection` finds.

    Raises
    ------
    SourceError
        With the reason, if it is binary or not in that encoding.
    """
    mark, name = byte_order_mark(data) or (b"", (declared or "UTF-8") if encoding == DETECT else encoding)
    wide = name.upper().replace("_", "-").startswith(("UTF-16", "UTF-32"))
    if not mark and not wide:
        refuse_binary(data.find(b"\0"))
    detected = None
    try:
        text = data[len(mark) :].decode(name)
    except UnicodeDecodeError as error:
        detected = None if mark or declared or encoding != DETECT else _detected(data)
        if detected is None:
            raise _not_in(name, error, len(mark), guessing=encoding == DETECT and not mark) from error
        text = data.decode(detected)
    except (LookupError, UnicodeError) as error:
        raise SourceError(
            f"declares the encoding {name!r}: expected one that Python can read; convert it to UTF-8"
        ) from error
    refuse_binary(text.find("\0"))
    return Decoded(text=text.replace("\r\n", "\n").replace("\r", "\n"), detected=detected)


def refuse_binary(place: int) -> None:
    """Refuse data with a zero byte or character at `place`, unless that is negative.

    Raises
    ------
    SourceError
        With the reason.
    """
    if place >= 0:
        raise SourceError(
            f"binary: expected text, got a zero byte or character at {place}; convert it to UTF-8 text, or "
            "leave it out"
        )


def _not_in(name: str, error: UnicodeDecodeError, offset: int, *, guessing: bool) -> SourceError:
    doubt = ", and which encoding it has instead is open to doubt" if guessing else ""
    return SourceError(
        f"not {name} at byte {error.start + offset} (0x{error.object[error.start]:02x}){doubt}: expected "
        "UTF-8 text, or UTF-16 or UTF-32 with a byte order mark; convert it (from Latin-1: iconv -f LATIN1 "
        "-t UTF-8), or name its encoding (--encoding)"
    )


def _detected(data: bytes) -> str | None:
    from ingest.documents.detection import detected_encoding

    return detected_encoding(data)
