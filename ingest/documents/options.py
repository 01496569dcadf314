"""What can be said about how a source is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from retriever.errors import InputError, SourceError

DETECT = "detect"
"""Infer an encoding where the text is not in UTF-8 and says nothing itself."""

MIB = 1 << 20

COLUMNS = ("text_columns", "id_column", "title_column", "metadata_columns")
"""The options of sources that have named columns, or fields."""

_FLAGS = {
    "include": "--include",
    "exclude": "--exclude",
    "max_bytes": "--max-file-size",
    "encoding": "--encoding",
    "text_columns": "--text-column",
    "id_column": "--id-column",
    "title_column": "--title-column",
    "metadata_columns": "--metadata-column",
    "number_columns": "--number-column",
    "delimiter": "--delimiter",
}
"""How the command line calls them, so that a message helps on either side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceOptions:
    """How a source is read; one that does not apply to it is refused.

    Attributes
    ----------
    include
        Of a folder, only files that match one of these patterns, written as in a ``.gitignore``.
    exclude
        Nothing that matches one of these patterns, folders included.
    max_bytes
        The most that one document may take: a file (of a Word file, its XML unpacked), a line of JSON, a
        row of a table. What is larger fails before it is in memory.
    encoding
        ``"detect"``: a byte order mark decides, else what a page declares, else UTF-8; only where that
        fails, the encoding is inferred, if there is no doubt, and the metadata then have ``encoding``.
        JSON Lines are in UTF-8 by definition. Any other name is the encoding of all text without a mark.
    text_columns
        Columns (fields of JSON Lines) that make up the text, with empty lines between them; by default
        ``text``.
    id_column, title_column
        By default ``_id`` or ``id``, and ``title`` if there is one.
    metadata_columns
        Columns that become metadata. By default all others of a table, and of JSON Lines the fields of
        the object ``metadata``.
    number_columns
        Columns of a CSV file whose metadata are numbers: all else in it is strings.
    delimiter
        What separates the cells of a CSV file; by default a comma, or a tab in ``.tsv``.

    Raises
    ------
    InputError
        If a value cannot be used, or a single string is given for several.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_bytes: int = 50 * MIB
    encoding: str = DETECT
    text_columns: tuple[str, ...] = ()
    id_column: str | None = None
    title_column: str | None = None
    metadata_columns: tuple[str, ...] | None = None
    number_columns: tuple[str, ...] = ()
    delimiter: str | None = None

    def __post_init__(self) -> None:
        for name in ("include", "exclude", "text_columns", "metadata_columns", "number_columns"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise InputError(f"{name}: expected several strings, got one: {value!r}. Write ({value!r},).")
            if value is not None:
                object.__setattr__(self, name, tuple(value))  # a list does as well
        if self.max_bytes < 1:
            raise InputError(f"max_bytes: expected 1 or more, got {self.max_bytes}.")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise InputError(f"delimiter: expected one character, got {self.delimiter!r}.")
        _check_encoding(self.encoding)

    def given(self) -> tuple[str, ...]:
        """Return the names of the options that differ from their defaults."""
        standard = SourceOptions.__dataclass_fields__
        return tuple(
            one.name for one in fields(self) if getattr(self, one.name) != standard[one.name].default
        )

    def accept(self, allowed: Iterable[str], kind: str) -> None:
        """Refuse options that are not among `allowed`.

        Raises
        ------
        SourceError
            With their names.
        """
        refused = [name for name in self.given() if name not in set(allowed)]
        if refused:
            names = ", ".join(f"{name} ({_FLAGS[name]})" for name in refused)
            raise SourceError(
                f"{kind}: expected no option that does not apply to it, got {names}. Leave it out."
            )


def check_size(size: int, limit: int, kind: str) -> None:
    """Refuse a document that is larger than `limit`; `kind` says what the size is of.

    Raises
    ------
    SourceError
        With the reason, for a `FailedDocument`.
    """
    if size > limit:
        raise SourceError(too_large(f"{in_mebibytes(size)} {kind}".strip(), limit))


def too_large(size: str, limit: int) -> str:
    """Return the reason for a document that is larger than `limit`."""
    return (
        f"too large: expected at most {in_mebibytes(limit)}, got {size}; leave it out, or raise the limit "
        f"(max_bytes, {_FLAGS['max_bytes']})"
    )


def in_mebibytes(size: int) -> str:
    """Return a number of bytes for people."""
    return f"{size / MIB:,.1f} MiB" if size >= MIB // 10 else f"{size:,} bytes"


def _check_encoding(name: str) -> None:
    if name == DETECT:
        return
    try:
        "".encode(name)
    except LookupError as error:
        raise InputError(
            f"encoding: expected {DETECT!r} or an encoding that Python can read, got {name!r}. "
            "See https://docs.python.org/3/library/codecs.html for their names."
        ) from error


DEFAULTS = SourceOptions()
