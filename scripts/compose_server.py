"""Finds the Qdrant server of docker-compose.yml, for scripts/test.

Prints its URL and its key, a line each, if it is that server which answers, and nothing is in it. Otherwise
it says why not, and ends with status 1. The key is sent to nothing else.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
KEY = "QDRANT_API_KEY"
LEASES = "_tandem-locks"
REFUSED = (401, 403)
OK = 200


class NotThereError(Exception):
    """What answers is not the server that is looked for."""


def main() -> None:
    """Look for the server."""
    try:
        port = int(_in_compose(r"127\.0\.0\.1:(\d+):6333"))
        key = _key()
        _check(port, key)
    except NotThereError as reason:
        sys.exit(f"no tests on a server: {reason}")
    url = f"http://127.0.0.1:{port}"
    sys.stderr.write(f"tests on a server: {url}, the one of docker-compose.yml\n")
    sys.stdout.write(f"{url}\n{key}\n")


def _check(port: int, key: str) -> None:
    """Ask who answers: first without the key, so that nobody else gets it."""
    where = f"127.0.0.1:{port}"
    version = _in_compose(r"qdrant/qdrant:v([\d.]+)")
    status, found = _get(port, "/")
    answers = found if isinstance(found, dict) else {}
    if status != OK or "qdrant" not in str(answers.get("title")):
        raise NotThereError(f"what answers at {where} is no Qdrant server")
    if answers.get("version") != version:
        raise NotThereError(
            f"at {where} is Qdrant {answers.get('version')}, not {version} of docker-compose.yml"
        )
    if _get(port, "/collections")[0] not in REFUSED:
        raise NotThereError(
            f"the Qdrant server at {where} wants no key, so it is not that of docker-compose.yml"
        )
    status, found = _get(port, "/collections", key)
    if status != OK:
        raise NotThereError(f"the Qdrant server at {where} refuses the key of docker-compose.yml ({status})")
    if names := sorted(set(_names(found)) - {LEASES}):
        raise NotThereError(
            f"the Qdrant server at {where} holds {', '.join(names)}, and tests want an empty one"
        )


def _key() -> str:
    """Return the key that docker compose gives the server: from the environment, then from .env."""
    file = ROOT / ".env"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    in_file = [line.partition("=")[2].strip().strip("'\"") for line in lines if line.startswith(f"{KEY}=")]
    for key in (os.environ.get(KEY), *reversed(in_file)):
        if key:
            return key
    raise NotThereError(
        f"none is set up (copy .env.example to .env, put {KEY} into it, docker compose up -d)"
    )


def _get(port: int, path: str, key: str | None = None) -> tuple[int, object]:
    """Return status and JSON of an answer; redirections are not followed."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"api-key": key} if key else {})
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException) as error:
        raise NotThereError(f"nothing answers at 127.0.0.1:{port} (docker compose up -d)") from error
    finally:
        connection.close()
    try:
        return response.status, json.loads(body)
    except ValueError:
        return response.status, None


def _names(found: object) -> Iterable[str]:
    try:
        return [collection["name"] for collection in found["result"]["collections"]]  # type: ignore[index]
    except (KeyError, TypeError) as error:
        raise NotThereError("what answers does not list its collections") from error


def _in_compose(pattern: str) -> str:
    found = re.search(pattern, COMPOSE)
    if found is None:
        raise NotThereError(f"docker-compose.yml has no {pattern}")
    return found[1]


if __name__ == "__main__":
    main()
