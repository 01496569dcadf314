"""The names of the package, and what importing it loads."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys

import pytest

import analysis

HEAVY = {"torch", "sentence_transformers", "llama_index", "qdrant_client", "matplotlib", "scipy"}


def test_every_public_name_is_defined_in_the_module_it_is_loaded_from() -> None:
    for name in analysis.__all__:
        value = getattr(analysis, name)
        assert value.__module__ == f"analysis.{analysis._LOADED_ON_USE[name]}"
        assert value.__doc__
    assert set(analysis.__all__) <= set(dir(analysis))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = analysis.nothing


def loaded_after(code: str) -> set[str]:
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    return {name.split(".")[0] for name in shown.stdout.split()}


def test_importing_the_package_loads_no_library() -> None:
    assert (HEAVY | {"numpy"}).isdisjoint(loaded_after("import analysis"))


def test_using_every_public_name_loads_nothing_heavier_than_numpy() -> None:
    loaded = loaded_after("import analysis; [getattr(analysis, name) for name in analysis.__all__]")
    assert "numpy" in loaded
    assert HEAVY.isdisjoint(loaded)


@pytest.mark.parametrize("module", ["measures", "resampling"])
def test_examples_in_docstrings_are_true(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"analysis.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
