from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_MODULES = json.dumps([{"type": "sentence_transformers.models.Transformer", "path": ""}])
_WHOLE = {"modules.json": _MODULES, "model.safetensors": "weights", "onnx/model.onnx": "graph"}
_REPOSITORIES: dict[str, dict[str, str]] = {
    "acme/tiny": _WHOLE
    | {"pytorch_model.bin": "a pickle", "modeling_tiny.py": "code", "onnx/config.json": "{}"},
    "acme/graphs": {
        "modules.json": _MODULES,
        "config.json": "{}",
        "model.safetensors": "weights",
        "onnx/model.onnx": "graph",
        "onnx/model_O4.onnx": "graph",
        "onnx/model_quantized.onnx": "8-bit graph",
        "onnx/model_quantized.onnx_data": "8-bit weights",
        "openvino/openvino_model.xml": "graph",
        "openvino/openvino_model.bin": "weights",
        "pytorch_model.bin": "a pickle",
    },
    "acme/no-modules": {"config.json": "{}", "model.safetensors": "weights"},
    "acme/pickles": {"modules.json": _MODULES, "pytorch_model.bin": "a pickle"},
}


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download asks for."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_: object) -> None:
        """Keep standard error clean."""

    def _answer(self, *, with_body: bool) -> None:
        path = urlsplit(self.path).path
        status, body, headers = self._find(path.strip("/").split("/"))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _find(self, parts: list[str]) -> tuple[int, bytes, dict[str, str]]:
        api = parts[:2] == ["api", "models"]
        owner, model, kind, revision, *path = [*(parts[2:] if api else parts), "revision", "main"][
            : max(4, len(parts))
        ]
        files = _REPOSITORIES.get(f"{owner}/{model}")
        if files is None:
            return 404, b"", {"X-Error-Code": "RepoNotFound"}
        if revision not in {"main", "v1", _COMMIT}:
            return 404, b"", {"X-Error-Code": "RevisionNotFound"}
        if not api:
            body = files["/".join(path)].encode()
            return 200, body, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": _COMMIT}
        answer: object = {
            "id": f"{owner}/{model}",
            "sha": _COMMIT,
            "siblings": [{"rfilename": f} for f in files],
        }
        if kind == "tree":
            answer = [{"type": "file", "path": f, "size": len(files[f]), "oid": "0" * 40} for f in files]
        return 200, json.dumps(answer).encode(), {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _snapshot(source: str, *, endpoint: str, cache: Path) -> str:
    """Ask in a process of its own: the hub library reads where the hub is when it is imported."""
    code = (
        "import sys\nfrom retriever.errors import ModelError\nfrom retriever.models.hub import snapshot\n"
        "try: found = snapshot(sys.argv[1])\n"
        "except ModelError as error: print(type(error).__name__, error)\n"
        "else: print(found.name, found.commit, found.folder)"
    )
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", code, source]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def test_a_model_is_downloaded_once_and_only_its_data(hub: str, tmp_path: Path) -> None:
    """No pickle, no code, no graph; and afterwards nobody is asked."""
    name, commit, folder = _snapshot("acme/tiny@v1", endpoint=hub, cache=tmp_path).split()
    assert (name, commit) == ("acme/tiny", _COMMIT)
    files = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}
    assert files == {"modules.json", "model.safetensors"}
    for revision in ("v1", _COMMIT):
        again = _snapshot(f"acme/tiny@{revision}", endpoint="http://127.0.0.1:9", cache=tmp_path)
        assert again.split() == [name, commit, folder]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("acme/absent", "ModelNotFoundError model 'acme/absent': expected a public model of the hub"),
        ("acme/tiny@v9", "ModelNotFoundError model 'acme/tiny@v9': expected a commit, tag or branch"),
        ("acme/no-modules", "ModelError model 'acme/no-modules': expected a sentence-transformers model"),
        ("acme/pickles", "ModelError model 'acme/pickles': expected weights as .safetensors"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_before_the_download(
    source: str, words: str, hub: str, tmp_path: Path
) -> None:
    """One request tells, and the message says what is wrong."""
    assert _snapshot(source, endpoint=hub, cache=tmp_path).startswith(words)
    assert not list(tmp_path.rglob("*.safetensors"))


def _graph_snapshot(source: str, backend: str, *, endpoint: str, cache: Path) -> str:
    code = (
        "import sys\nfrom retriever.errors import ModelError\n"
        "from retriever.models.hub import graph_snapshot\n"
        "try: found, graph = graph_snapshot(sys.argv[1], sys.argv[2])\n"
        "except ModelError as error: print(type(error).__name__, error)\n"
        "else: print(found.name, found.commit, found.folder, graph)"
    )
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", code, source, backend]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("backend", "graph", "weights"),
    [
        ("onnx", "onnx/model.onnx", set()),
        ("onnx-int8", "onnx/model_quantized.onnx", {"onnx/model_quantized.onnx_data"}),
        ("openvino", "openvino/openvino_model.xml", {"openvino/openvino_model.bin"}),
    ],
)
def test_the_one_graph_that_is_wanted_is_downloaded(
    backend: str, graph: str, weights: set[str], hub: str, tmp_path: Path
) -> None:
    """With its weights, and without those for torch; and afterwards nobody is asked."""
    answer = _graph_snapshot("acme/graphs", backend, endpoint=hub, cache=tmp_path)
    name, commit, folder, found = answer.split()
    assert (name, commit, found) == ("acme/graphs", _COMMIT, graph)
    files = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}
    assert files == {"modules.json", "config.json", graph} | weights
    assert _graph_snapshot("acme/graphs", backend, endpoint="http://127.0.0.1:9", cache=tmp_path) == answer
    assert "got no answer from the hub" in _snapshot(
        "acme/graphs", endpoint="http://127.0.0.1:9", cache=tmp_path
    )


def test_a_graph_that_is_not_published_is_said_to_be_missing(hub: str, tmp_path: Path) -> None:
    """What there is, and how to make one."""
    answer = _graph_snapshot("acme/tiny", "openvino-int8", endpoint=hub, cache=tmp_path)
    assert answer.startswith("ModelNotFoundError model 'acme/tiny': expected a graph for backend")
    assert "got onnx/model.onnx. Make one with `tandem quantize acme/tiny --out FOLDER`" in answer
