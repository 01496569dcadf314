"""A results folder holds every number exactly, is equal for equal results, and is refused once changed."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.results.folder import read_results, write_results
from analysis.results.record import Results
from retriever.errors import InputError


@pytest.fixture(scope="module")
def folder(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "deep" / "out"
    write_results(results, folder, figures=False)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_read_is_what_was_written(results: Results, folder: Path) -> None:
    read = read_results(folder)
    assert read.models == results.models
    assert (read.settings, read.versions, read.machine) == (
        results.settings,
        results.versions,
        results.machine,
    )
    for got, given in zip(read.collections, results.collections, strict=True):
        assert got.facts == given.facts
        assert got.query_texts == given.query_texts
        assert got.evaluation.to_json() == given.evaluation.to_json()
        for pair, expected in zip(got.evaluation.similarities, given.evaluation.similarities, strict=True):
            assert (pair.models, pair.cka, pair.cka_debiased) == (
                expected.models,
                expected.cka,
                expected.cka_debiased,
            )
            for overlap, other in zip(pair.overlaps, expected.overlaps, strict=True):
                assert overlap.k == other.k
                for name in ("jaccard", "rank_similarity", "rank_biased_overlap", "kendall_tau"):
                    np.testing.assert_array_equal(getattr(overlap, name), getattr(other, name))


def test_numbers_that_are_not_defined_come_back(folder: Path) -> None:
    taus = [
        overlap.kendall_tau
        for one in read_results(folder).collections
        for pair in one.evaluation.similarities
        for overlap in pair.overlaps
    ]
    assert np.isnan(np.concatenate(taus)).any()  # else this test sees nothing
    assert b"NaN" not in b"".join(map(gzip.decompress, _data(folder).values()))


def test_what_was_read_is_written_with_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_results(read_results(folder), tmp_path / "again", figures=False)
    assert files(tmp_path / "again") == files(folder)


def test_no_data_file_holds_a_time(folder: Path) -> None:
    # RFC 1952, section 2.3: bytes 4 to 7 are the time of change
    assert {content[4:8] for content in _data(folder).values()} == {bytes(4)}


def test_the_manifest_has_the_hash_of_every_data_file(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["files"] == {
        name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in _data(folder).items()
    }
    assert len(manifest["files"]) == 3


def test_nothing_is_left_beside_the_folder(folder: Path) -> None:
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


def test_results_are_replaced_only_if_asked(results: Results, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()  # empty: may be filled
    write_results(results, out, figures=False)
    (out / "tables" / "old.csv").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match=r"holds results.*--overwrite"):
        write_results(results, out, figures=False)
    assert (out / "tables" / "old.csv").exists()
    write_results(results, out, overwrite=True, figures=False)
    assert files(out) == files(folder)


@pytest.mark.parametrize("is_folder", [True, False])
def test_what_is_no_results_folder_is_never_replaced(
    results: Results, tmp_path: Path, *, is_folder: bool
) -> None:
    other = tmp_path / "other"
    if is_folder:
        other.mkdir()
        (other / "thesis.txt").write_text("mine", encoding="utf-8")
    else:
        other.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="other: expected a new folder, or one with results"):
        write_results(results, other, overwrite=True, figures=False)
    assert [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


def test_a_failure_leaves_what_was_there(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_results(results, out, figures=False)
    before = files(out)
    monkeypatch.setattr("analysis.results.folder._write_tables", _fail)
    with pytest.raises(InputError, match="out: expected a folder that can be written, got: disk is full"):
        write_results(results, out, overwrite=True, figures=False)
    assert files(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def _fail(*_: object) -> None:
    raise OSError(28, "disk is full")


def _data(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in files(folder).items() if name.startswith("per_query/")}


def _rewrite(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def _set_version(manifest: Any) -> None:
    manifest["format_version"] = 2


def _set_format(manifest: Any) -> None:
    manifest["format"] = "other"


def _drop_models(manifest: Any) -> None:
    del manifest["models"]


def _climb(manifest: Any) -> None:
    manifest["collections"][0]["name"] = "../../secret"


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (lambda folder: (folder / "manifest.json").unlink(), "manifest.json: expected the manifest"),
    "no JSON": (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json: expected what"),
    "a list": (lambda folder: (folder / "manifest.json").write_text("[]"), "manifest.json: expected a man"),
    "another format": (lambda folder: _rewrite(folder / "manifest.json", _set_format), "got another file"),
    "a later version": (
        lambda folder: _rewrite(folder / "manifest.json", _set_version),
        "manifest.json: expected format version 1, got 2",
    ),
    "a field is missing": (
        lambda folder: _rewrite(folder / "manifest.json", _drop_models),
        "manifest.json: .*KeyError: 'models'",
    ),
    "a path upwards": (
        lambda folder: _rewrite(folder / "manifest.json", _climb),
        "manifest.json: .*corpus name: expected",
    ),
    "a file is missing": (
        lambda folder: (folder / "per_query" / "scifact.json.gz").unlink(),
        "scifact.json.gz: expected a file of the results",
    ),
    "a file was changed": (
        lambda folder: (folder / "per_query" / "scifact.json.gz").write_bytes(gzip.compress(b"{}")),
        "scifact.json.gz: expected the hash sha256:.*the file was changed",
    ),
}


@pytest.mark.parametrize(("damage", "message"), BROKEN.values(), ids=BROKEN)
def test_a_damaged_folder_is_refused_with_the_name_of_the_file(
    folder: Path, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    shutil.copytree(folder, tmp_path / "out")
    damage(tmp_path / "out")
    with pytest.raises(InputError, match=message):
        read_results(tmp_path / "out")


def test_numbers_of_other_queries_are_refused_though_the_hash_is_right(folder: Path, tmp_path: Path) -> None:
    out = shutil.copytree(folder, tmp_path / "out")
    path = out / "per_query" / "scifact.json.gz"
    values = json.loads(gzip.decompress(path.read_bytes()))
    values["singles"][0]["per_query"]["ndcg@10"].pop()
    path.write_bytes(gzip.compress(json.dumps(values).encode()))
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    _rewrite(
        out / "manifest.json", lambda manifest: manifest["files"].update({f"per_query/{path.name}": digest})
    )
    with pytest.raises(
        InputError, match=r"scifact.json.gz: .*one number for each of 12 queries, got \(11,\)"
    ):
        read_results(out)
