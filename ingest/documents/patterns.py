"""Which files of a folder are meant, by patterns as in a ``.gitignore``, through pathspec."""

from __future__ import annotations

from collections.abc import Sequence

from pathspec import GitIgnoreSpec

from retriever.errors import SourceError


class Patterns:
    """Patterns that are matched against paths relative to one folder.

    Parameters
    ----------
    lines
        The patterns; of several that match, the last one decides, and ``!`` turns one around.
    where
        What they were read from, for messages.

    Raises
    ------
    SourceError
        If a line is no pattern.
    """

    def __init__(self, lines: Sequence[str], where: str) -> None:
        try:
            self._spec = GitIgnoreSpec.from_lines(lines)
        except ValueError as error:
            raise SourceError(
                f"{where}: expected patterns as in a .gitignore, got one that is none: {error}. Correct it."
            ) from error

    def verdict(self, path: str, *, folder: bool = False) -> bool | None:
        """Return whether `path` is matched; None where no pattern says anything about it."""
        return self._spec.check_file(f"{path}/" if folder else path).include
