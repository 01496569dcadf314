"""Files that a run writes beside the store."""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import replace
from pathlib import Path

from retriever.errors import InputError
from retriever.store.holder import Holder

_OF_PROCESS = re.compile(r"(\d+)-[0-9a-f]+\.part")


def draft_of(path: Path) -> Path:
    """Return where a file is written before it takes its place: nowhere else, and nobody else's."""
    return path.with_name(f"{_stem(path)}{os.getpid()}-{secrets.token_hex(4)}.part")


def check_writable(path: Path, option: str) -> None:
    """Refuse a path that cannot be written, before a night's work and not after it.

    Drafts of it that processes left which were killed are removed.

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
        for left in _left_behind(path):
            left.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, option, error) from error


def unwritable(path: Path, option: str, error: OSError) -> InputError:
    """Return the error that says that a file could not be written."""
    return InputError(
        f"{path}: expected a file that can be written, got: {error.strerror}. Name another one with {option}."
    )


def _stem(path: Path) -> str:
    return f"{path.name}.{socket.gethostname()}-"  # of another machine nobody knows which processes live


def _left_behind(path: Path) -> list[Path]:
    stem, this = _stem(path), Holder.this_process("write")
    drafts = {
        one: _OF_PROCESS.fullmatch(one.name.removeprefix(stem))
        for one in path.parent.iterdir()
        if one.name.startswith(stem)
    }
    return [
        one for one, found in drafts.items() if found and not replace(this, pid=int(found[1])).may_be_running
    ]
