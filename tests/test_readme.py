"""Every code block of the README runs, in the order of the page, as its reader would run it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = Path(sys.executable).parent
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DEMO_OUTPUT = re.compile(
    r"<!-- demo output: begin -->\n```text\n(.*?)```\n<!-- demo output: end -->", re.DOTALL
)

# Everything a reader's app has before it uses the example: some LLM. LlamaIndex's own stand-in will do.
APP = """
from llama_index.core import Settings
from llama_index.core.llms import MockLLM

Settings.llm = MockLLM()
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to run in, with what the commands of the page name."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "examples", folder / "examples")
    return folder


def run(folder: Path, arguments: list[str], **more: str) -> str:
    environment = {
        **os.environ,
        "PATH": f"{COMMANDS}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "80",
        **more,
    }
    result = subprocess.run(
        arguments, cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=900
    )
    assert result.returncode == 0, f"{shlex.join(arguments)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def commands(block: str) -> list[list[str]]:
    """The commands of a shell block; `scripts/demo` is `tandem demo` of the environment under test."""
    lines = [shlex.split(line) for line in block.splitlines() if line.strip()]
    return [["tandem", "demo", *line[1:]] if line[0] == "scripts/demo" else line for line in lines]


def test_the_page_has_blocks_of_every_kind_and_no_other() -> None:
    assert {language for language, _ in BLOCK.findall(README)} == {"sh", "python", "text"}


def test_every_block_runs_in_the_order_of_the_page(checkout: Path) -> None:
    printed: dict[str, str] = {}
    for language, block in BLOCK.findall(README):
        if language == "sh":
            for command in commands(block):
                printed[shlex.join(command)] = run(checkout, command)
    python = APP + "\n".join(block for language, block in BLOCK.findall(README) if language == "python")
    answer = run(checkout, [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", python])
    assert "access-keys.md" in answer

    (shown,) = DEMO_OUTPUT.findall(README)
    assert figures(shown) == pytest.approx(figures(second_part(printed["tandem demo"])), abs=0.011)


def second_part(demo: str) -> str:
    """What the demo prints between its second and its third heading."""
    lines = demo.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("2. "))
    end = next(i for i, line in enumerate(lines) if line.startswith("3. "))
    return "\n".join(lines[start:end])


def figures(text: str) -> list[float]:
    """All quality and similarity figures of a text: numbers with three decimals."""
    return [float(number) for number in re.findall(r"[+-]?\d\.\d{3}\b", text)]


def test_the_example_app_runs(checkout: Path) -> None:
    run(
        checkout,
        ["ingest", "run", "examples/handbook", "--corpus", "handbook", "--models", "minilm,wordllama"],
    )
    run(checkout, ["tandem", "deploy", "minilm+wordllama", "--corpus", "handbook"])
    assert "access-keys.md" in run(checkout, [sys.executable, "examples/llama_index_app.py"])
