"""The Qdrant server of docker-compose.yml: reachable from this machine alone, behind a key, its data kept."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture
def qdrant() -> dict[str, Any]:
    return COMPOSE["services"]["qdrant"]


def test_the_image_is_one_named_version(qdrant: dict[str, Any]) -> None:
    assert re.fullmatch(r"qdrant/qdrant:v1\.\d+\.\d+", qdrant["image"])


def test_only_this_machine_reaches_the_ports(qdrant: dict[str, Any]) -> None:
    assert set(qdrant["ports"]) == {"127.0.0.1:6333:6333", "127.0.0.1:6334:6334"}
    assert "network_mode" not in qdrant  # host networking would ignore the list of ports


def test_no_server_starts_without_a_key(qdrant: dict[str, Any]) -> None:
    # `:?` refuses what is unset and what is empty, `?` alone only what is unset.
    key = qdrant["environment"]["QDRANT__SERVICE__API_KEY"]
    assert re.fullmatch(r"\$\{QDRANT_API_KEY:\?[^}]*\.env\.example[^}]*\}", key)


def test_a_missing_read_only_key_is_never_an_empty_one(qdrant: dict[str, Any]) -> None:
    key = qdrant["environment"]["QDRANT__SERVICE__READ_ONLY_API_KEY"]
    assert key == "${QDRANT_READ_ONLY_API_KEY:-${QDRANT_API_KEY}}"


def test_the_server_reports_to_nobody(qdrant: dict[str, Any]) -> None:
    assert qdrant["environment"]["QDRANT__TELEMETRY_DISABLED"] == "true"


def test_the_data_outlive_the_container(qdrant: dict[str, Any]) -> None:
    assert qdrant["volumes"] == ["qdrant-storage:/qdrant/storage"]
    assert "qdrant-storage" in COMPOSE["volumes"]
    assert qdrant["restart"] == "unless-stopped"


def test_memory_and_logs_are_bounded(qdrant: dict[str, Any]) -> None:
    assert re.fullmatch(r"\$\{QDRANT_MEMORY:-\d+g\}", qdrant["mem_limit"])
    assert {"max-size", "max-file"} <= set(qdrant["logging"]["options"])


def test_the_example_explains_every_variable_and_sets_no_key() -> None:
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == used
    assert not re.search(r"^\w+=.", example, re.MULTILINE)


# The health check, run for real: the very command of the file, sent to a server of ours.


def health(qdrant: dict[str, Any], port: int) -> int:
    """Return the status of the health check's command, with `port` in place of Qdrant's."""
    check = qdrant["healthcheck"]["test"]
    assert check[:3] == ["CMD", "bash", "-c"]
    assert check[3].count("127.0.0.1/6333") == 1
    # Compose turns `$$` into `$` before the container sees it.
    script = check[3].replace("$$", "$").replace("127.0.0.1/6333", f"127.0.0.1/{port}")
    bash = shutil.which("bash")
    assert bash is not None, "these tests run the scripts and need bash"
    return subprocess.run([bash, "-c", script], capture_output=True, check=False, timeout=30).returncode


@contextmanager
def answering(status: int) -> Iterator[ThreadingHTTPServer]:
    """Serve `status` on a free port, and keep the paths asked for in `server.asked`."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = asked  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_ready_server_is_healthy(qdrant: dict[str, Any]) -> None:
    with answering(200) as server:
        assert health(qdrant, server.server_port) == 0
        assert server.asked == ["/readyz"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", [503, 401, 404, 301])
def test_a_server_that_answers_anything_else_is_not_healthy(qdrant: dict[str, Any], status: int) -> None:
    with answering(status) as server:
        assert health(qdrant, server.server_port) != 0


def test_a_server_that_never_answers_is_not_healthy(qdrant: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert health(qdrant, silent.getsockname()[1]) != 0


def test_no_server_at_all_is_not_healthy(qdrant: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert health(qdrant, port) != 0


def test_the_check_gives_up_before_compose_does(qdrant: dict[str, Any]) -> None:
    wait = re.search(r"read -r -t (\d+)", qdrant["healthcheck"]["test"][3])
    assert wait is not None
    assert int(wait[1]) < int(qdrant["healthcheck"]["timeout"].removesuffix("s"))


# scripts/compose_server.py, which tells scripts/test whether that server is there.

VERSION = COMPOSE["services"]["qdrant"]["image"].rsplit(":v", 1)[1]
SECRET = "a key of our own"  # noqa: S105  # of no server


class Answering:
    """What listens at the port of the compose file: a Qdrant server, or what a test makes of it."""

    def __init__(self) -> None:
        self.title, self.version, self.key = "qdrant - vector search engine", VERSION, SECRET
        self.is_open = False
        self.collections: list[str] = ["_tandem-locks"]
        self.keys: list[str | None] = []
        self.redirect: str | None = None

    def __call__(self, path: str, key: str | None) -> tuple[int, object]:
        self.keys.append(key)
        if path == "/":
            return 200, {"title": self.title, "version": self.version}
        if not self.is_open and key != self.key:
            return 401, None
        return 200, {"result": {"collections": [{"name": name} for name in self.collections]}}


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[tuple[Answering, Path]]:
    """Return what answers, and a checkout whose compose file names its port."""
    answers = Answering()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, value = answers(self.path, self.headers.get("api-key"))
            if answers.redirect:
                status = 307
                answers.redirect = None
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("location", "/")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        compose = (ROOT / "docker-compose.yml").read_text()
        compose = compose.replace("127.0.0.1:6333:6333", f"127.0.0.1:{server.server_port}:6333")
        (tmp_path / "docker-compose.yml").write_text(compose)
        (tmp_path / ".env").write_text(f'QDRANT_MEMORY=1g\nQDRANT_API_KEY="{SECRET}"\n')
        (tmp_path / "scripts").mkdir()
        shutil.copy(ROOT / "scripts/compose_server.py", tmp_path / "scripts")
        try:
            yield answers, tmp_path
        finally:
            server.shutdown()
            thread.join()


def find(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, folder / "scripts/compose_server.py"]
    rest = {name: value for name, value in os.environ.items() if name != "QDRANT_API_KEY"}
    return subprocess.run(
        command, env=rest | environment, capture_output=True, text=True, check=False, timeout=60
    )


def port_of(folder: Path) -> str:
    found = re.search(r"127\.0\.0\.1:(\d+):6333", (folder / "docker-compose.yml").read_text())
    assert found is not None
    return found[1]


def test_the_server_of_the_compose_file_is_found_with_its_key(checkout: tuple[Answering, Path]) -> None:
    answers, folder = checkout
    url = f"http://127.0.0.1:{port_of(folder)}"
    ran = find(folder)
    assert (ran.returncode, ran.stdout) == (0, f"{url}\n{SECRET}\n")
    assert ran.stderr == f"tests on a server: {url}, the one of docker-compose.yml\n"
    assert answers.keys == [None, None, SECRET]
    answers.key = "of the environment"  # which docker compose takes before that of the file
    assert find(folder, QDRANT_API_KEY=answers.key).stdout == f"{url}\n{answers.key}\n"
    (folder / ".env").unlink()
    assert find(folder, QDRANT_API_KEY=answers.key).returncode == 0


@pytest.mark.parametrize(
    ("change", "words", "keys"),
    [
        ({"title": "another service"}, "is no Qdrant server", 0),
        ({"version": "1.2.3"}, f"is Qdrant 1.2.3, not {VERSION} of", 0),
        ({"is_open": True}, "wants no key, so it is not that of", 0),
        ({"key": "another"}, r"refuses the key of docker-compose.yml \(401\)", 1),
        ({"collections": ["handbook", "_tandem-locks"]}, "holds handbook, and tests want an empty one", 1),
        ({"redirect": "elsewhere"}, "is no Qdrant server", 0),
    ],
)
def test_anything_else_is_left_alone_and_does_not_get_the_key(
    checkout: tuple[Answering, Path], change: dict[str, Any], words: str, keys: int
) -> None:
    answers, folder = checkout
    vars(answers).update(change)
    ran = find(folder)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert re.search(rf"^no tests on a server: .*{words}", ran.stderr)
    assert [key for key in answers.keys if key] == [SECRET] * keys


def test_without_a_server_or_a_key_it_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    compose = (ROOT / "docker-compose.yml").read_text()
    (tmp_path / "docker-compose.yml").write_text(compose.replace("127.0.0.1:6333", f"127.0.0.1:{port}"))
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/compose_server.py", tmp_path / "scripts")
    ran = find(tmp_path)
    assert (ran.returncode, "copy .env.example to .env" in ran.stderr) == (1, True)
    ran = find(tmp_path, QDRANT_API_KEY=SECRET)
    assert (ran.returncode, f"nothing answers at 127.0.0.1:{port}" in ran.stderr) == (1, True)
