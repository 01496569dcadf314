"""Who holds a corpus: what a process writes down about itself, and says of another one."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """A process that has a corpus open, and why; `since` is ISO 8601 in UTC."""

    pid: int
    host: str
    user: str
    program: str
    purpose: str
    since: str

    @classmethod
    def this_process(cls, purpose: str) -> Self:
        """Return this process, from now on."""
        return cls(
            pid=os.getpid(),
            host=socket.gethostname(),
            user=_user(),
            program=Path(sys.argv[0]).name or "python",
            purpose=purpose,
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @classmethod
    def from_json(cls, value: object) -> Self | None:
        """Read what `to_json` wrote; None if it is anything else."""
        try:
            found = cls(**value) if isinstance(value, Mapping) else None
        except TypeError:
            return None
        return found if found is not None and isinstance(found.pid, int) else None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"process {self.pid} of {self.user} on {self.host} "
            f"({self.program}, {self.purpose} since {self.since})"
        )

    @property
    def may_be_running(self) -> bool:
        """Whether this process may still exist: of another host nothing is known from here."""
        if self.host != socket.gethostname() or os.name == "nt":  # there, asking would end the process
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            return True
        return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container may run under a number without a name
        return "an unnamed user"
