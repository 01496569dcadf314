"""Room on the disk, asked for before the embedded engine writes.

The engine writes through files mapped into memory, most of them made larger than what is in them.
Where the disk cannot back such a page the operating system ends the process with a bus error:
there is nothing to catch, so what is about to be written is refused while there is still room.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from retriever.errors import StoreError, StoreFullError
from retriever.store.protocol import Point

MEBIBYTE = 2**20

TO_WRITE = 128 * MEBIBYTE
"""Room that must be left: one write may begin a new file of 32 MiB for its log, its vectors, its payloads and
an index."""

TO_OPEN = 64 * MEBIBYTE
"""Room to open: what the log holds is applied again, and a new file of it begun."""

_COPIES = 4
"""Of a write: in the log (numbers take 5 bytes there), as vectors, as payload, in the indexes."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


def free_bytes(folder: Path) -> int:
    """Return the room on the disk of `folder`, or of the nearest folder above that exists."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_room(folder: Path, needed: int) -> None:
    """Refuse to go on unless the disk of `folder` has room for this many bytes.

    Raises
    ------
    StoreFullError
        If it has not.
    """
    free = free_bytes(folder)
    if free < needed:
        raise StoreFullError(
            f"store {folder}: expected {_mebibytes(needed)} MiB of room on its disk, found "
            f"{_mebibytes(free)} MiB: the disk is full. {_ADVICE}"
        )


def size_of(points: Sequence[Point]) -> int:
    """Return how many bytes of disk these points may take, rather too many than too few."""
    vectors = sum(vector.nbytes for point in points for vector in point.vectors.values())
    payloads = sum(len(str(point.payload)) for point in points)
    return _COPIES * (vectors + payloads)


def size_on_disk(folder: Path) -> int:
    """Return how many bytes of disk the files of a folder take; holes in them take none."""
    # What has no blocks to count (Windows) counts whole.
    found = (path.stat() for path in folder.rglob("*") if path.is_file())
    return sum(512 * stat.st_blocks if hasattr(stat, "st_blocks") else stat.st_size for stat in found)


@contextmanager
def writing_file(path: Path) -> Iterator[None]:
    """Turn what the operating system says while a file is written into our errors.

    Raises
    ------
    StoreFullError
        If the disk is full.
    StoreError
        If the file cannot be written for another reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFullError(f"{path}: expected room to write it, the disk is full. {_ADVICE}") from error
        raise StoreError(f"{path}: expected a file that can be written, got: {error}.") from error


_ADVICE = (
    "What was stored before is safe. Make room and run the same command again: it continues where it stopped."
)


def _mebibytes(size: int) -> int:
    return size // MEBIBYTE
