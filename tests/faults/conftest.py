"""A Qdrant server in a process of its own, and a wire to it that can be cut."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

HERE = Path(__file__).parent


def started(program: str, *arguments: object) -> tuple[subprocess.Popen[str], str]:
    """Start a program of this folder; return it and the URL that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", HERE / program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.fixture(scope="session")
def qdrant_server() -> Iterator[str]:
    """Return the URL of what answers as a Qdrant server."""
    process, url = started("qdrant_over_http.py")
    yield url
    process.kill()
    process.communicate()


class Wire:
    """A process between a client and a server: cut it and the server is away, mend it and it is back."""

    def __init__(self, server: str) -> None:
        self._server = urlsplit(server)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[str] | None = None
        self.mend()

    def cut(self) -> None:
        """Kill it: connections break, new ones are refused."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def mend(self) -> None:
        """Start it again, at the same port."""
        address = (self._port, self._server.hostname, self._server.port)
        self._process, _ = started("wire.py", *address)

    def freeze(self) -> None:
        """Stop it: connections are taken, and nothing is answered."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


@pytest.fixture
def wire(qdrant_server: str) -> Iterator[Wire]:
    """Return a wire to the server."""
    wire = Wire(qdrant_server)
    yield wire
    wire.cut()
