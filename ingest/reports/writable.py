"""Files that a run writes beside the store."""

from __future__ import annotations

from pathlib import Path

from retriever.errors import InputError


def draft_of(path: Path) -> Path:
    """Return where a file is written before it takes its place."""
    return path.with_name(f"{path.name}.part")


def check_writable(path: Path, option: str) -> None:
    """Refuse a path that cannot be written, before a night's work and not after it.

    Raises
    ------
    InputError
        With the option that names another one.
    """
    if path.is_dir():
        raise InputError(
            f"{path}: expected a file that can be written, got a folder. Name another one with {option}."
        )
    draft = draft_of(path)
    try:
        draft.touch()
        draft.unlink()
    except OSError as error:
        raise unwritable(path, option, error) from error


def unwritable(path: Path, option: str, error: OSError) -> InputError:
    """Return the error that says that a file could not be written."""
    return InputError(
        f"{path}: expected a file that can be written, got: {error.strerror}. Name another one with {option}."
    )
