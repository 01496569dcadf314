"""What importing costs, and what a user can import: each in a process of its own, away from the checkout."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ["tandem", "retriever", "ingest", "analysis"]

HEAVY = {
    "llama_index",
    "matplotlib",
    "onnxruntime",
    "qdrant_client",
    "qdrant_edge",
    "ray",
    "sentence_transformers",
    "torch",
    "transformers",
}

HELP = """
import sys
from tandem.cli import main
sys.argv = ["tandem", "--help"]
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
else:
    raise AssertionError("--help came back")
"""

UNDESCRIBED = """
import importlib, inspect
package = importlib.import_module({package!r})
assert package.__all__
undescribed = []
for name in package.__all__:
    thing = getattr(package, name)
    if inspect.isclass(thing):
        words = vars(thing).get("__doc__")  # its own, not that of a base
        described = words and not words.startswith(name + "(")  # a dataclass without words gets its signature
    elif inspect.isroutine(thing) or inspect.ismodule(thing):
        described = thing.__doc__
    else:
        described = True  # a constant or an alias has no docstring
    if not described:
        undescribed.append(name)
"""


def run(code: str, answer: str, folder: Path) -> tuple[list[str], str]:
    """Run `code` in a fresh process in `folder`; return its list `answer`, and what it printed."""
    code += f"\nimport json, sys\nprint(json.dumps({answer}), file=sys.stderr)\n"
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stderr.splitlines()[-1]), process.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_no_heavy_library(package: str, tmp_path: Path) -> None:
    loaded, _ = run(f"import {package}", "list(sys.modules)", tmp_path)
    assert package in loaded
    assert HEAVY.isdisjoint(loaded)


def test_help_loads_no_heavy_library(tmp_path: Path) -> None:
    loaded, printed = run(HELP, "list(sys.modules)", tmp_path)
    assert "Usage" in printed
    assert HEAVY.isdisjoint(loaded)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_described(package: str, tmp_path: Path) -> None:
    undescribed, _ = run(UNDESCRIBED.format(package=package), "undescribed", tmp_path)
    assert undescribed == []
