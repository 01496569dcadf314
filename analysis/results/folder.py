"""Results as a folder of plain files: what was measured, and every table and figure drawn from it.

::

    manifest.json                  models, collections, settings, versions, machine, SHA-256 of the data
    per_query/COLLECTION.json.gz   the data: every number of every query, texts of the queries
    tables/NAME.csv, NAME.tex      derived, full precision in the CSV
    figures/NAME.svg, NAME.png     derived

Only the first two are read again; the rest can be drawn again from them. Equal results give equal
bytes: floats are written so that they are read back exactly, and no file holds a time.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from analysis.results.record import CollectionResults, Results
from analysis.results.values import collection_of, collection_values, facts_of, model_of, settings_of
from retriever.errors import InputError
from retriever.records import check_corpus_name

FORMAT = "tandem-results"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"

_PER_QUERY = "per_query"
_COMPRESSION = 9


def write_results(
    results: Results, folder: str | Path, *, overwrite: bool = False, figures: bool = True
) -> None:
    """Write results with all tables and figures.

    The folder is made whole beside its place and then renamed, so nobody sees half of it.

    Parameters
    ----------
    results
        What was measured.
    folder
        Must not exist, or be empty; with `overwrite` it may hold results, which are replaced whole.
    overwrite
        Whether to replace results that are there. Anything else is never replaced.
    figures
        Whether to draw figures too, which needs the extra ``figures``.

    Raises
    ------
    InputError
        If something is in the way, the folder cannot be written, a collection comes twice, or
        matplotlib is missing.
    """
    target = Path(folder)
    check_place(target, overwrite=overwrite)
    if figures:
        check_figures()
    try:
        with _draft_beside(target) as draft:
            _write_all(results, draft / "new", figures=figures)
            if target.exists():
                target.rename(draft / "old")
            (draft / "new").rename(target)
    except OSError as error:
        raise InputError(
            f"{target}: expected a folder that can be written, got: {error.strerror or error}. Name another "
            f"one, or make room."
        ) from error


def read_results(folder: str | Path) -> Results:
    """Read what `write_results` wrote: the numbers, exactly as they were.

    Raises
    ------
    InputError
        If this is no results folder, of another format version, or a file is missing, was changed or
        cannot be read; the message names the file.
    """
    path = Path(folder) / MANIFEST
    manifest = _read_manifest(path)
    try:
        files, facts = manifest["files"], [facts_of(one) for one in manifest["collections"]]
        hashes = [files[_data_file(one.name)] for one in facts]
        models = tuple(model_of(one) for one in manifest["models"])
        settings = settings_of(manifest["settings"])
        versions, machine = dict(manifest["versions"]), dict(manifest["machine"])
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from error
    return Results(
        models=models,
        collections=tuple(
            _read_collection(Path(folder) / _data_file(one.name), one, expected)
            for one, expected in zip(facts, hashes, strict=True)
        ),
        settings=settings,
        versions=versions,
        machine=machine,
    )


def check_place(folder: Path, *, overwrite: bool) -> None:
    """Refuse a place where results cannot be written, before anything is measured.

    Raises
    ------
    InputError
        If something is there that may not be replaced.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder}: expected a new folder, or one with results, got something else. Name another folder."
        )
    _read_manifest(folder / MANIFEST)
    if not overwrite:
        raise InputError(
            f"{folder}: expected a new folder, got one that holds results. Name another one, or say "
            f"--overwrite (from Python: overwrite=True) to replace them."
        )


def check_figures() -> None:
    """Refuse to draw without matplotlib, before anything is measured.

    Raises
    ------
    InputError
        If matplotlib is missing.
    """
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise InputError(
            "figures: expected matplotlib, found none. Install it with: "
            'pip install "tandem-rag[figures]", or leave the figures out with --no-figures (from Python: '
            "figures=False)."
        )


@contextmanager
def _draft_beside(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_all(results: Results, folder: Path, *, figures: bool) -> None:
    _write_data(results, folder)
    _write_tables(results, folder)
    if figures:
        _write_figures(results, folder)


def _write_data(results: Results, folder: Path) -> None:
    (folder / _PER_QUERY).mkdir(parents=True)
    hashes: dict[str, str] = {}
    for collection in results.collections:
        name = _data_file(check_corpus_name(collection.facts.name))
        if name in hashes:
            raise InputError(
                f"results: expected each collection once, got {collection.facts.name!r} twice. Leave one out."
            )
        packed = gzip.compress(_json(collection_values(collection)), _COMPRESSION, mtime=0)
        (folder / name).write_bytes(packed)
        hashes[name] = _sha256(packed)
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "models": [model.to_json() for model in results.models],
        "collections": [collection.facts.to_json() for collection in results.collections],
        "settings": results.settings.to_json(),
        "versions": dict(results.versions),
        "machine": dict(results.machine),
        "files": hashes,
    }
    (folder / MANIFEST).write_bytes(_json(manifest, indent=1))


def _write_tables(results: Results, folder: Path) -> None:
    from analysis.results.tables import results_tables

    (folder / "tables").mkdir()
    for table in results_tables(results):
        (folder / "tables" / f"{table.name}.csv").write_text(table.csv(), encoding="utf-8", newline="")
        (folder / "tables" / f"{table.name}.tex").write_text(table.latex(), encoding="utf-8", newline="")


def _write_figures(results: Results, folder: Path) -> None:
    from analysis.results.figures import draw_figures

    (folder / "figures").mkdir()
    for name, content in draw_figures(results):
        (folder / "figures" / name).write_bytes(content)


def _read_manifest(path: Path) -> Mapping[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: expected the manifest of results, got: {error.strerror or error}. Name a folder that "
            f"`--out` of a command has written."
        ) from error
    except ValueError as error:
        raise _unreadable(path, error) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"{path}: expected a manifest of {FORMAT}, got another file. Name a results folder.")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{path}: expected format version {FORMAT_VERSION}, got {manifest.get('format_version')!r}. Read "
            f"it with the release of Tandem that wrote it."
        )
    return manifest


def _read_collection(path: Path, facts: Any, expected: str) -> CollectionResults:
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: expected a file of the results, got: {error.strerror or error}. Restore it from a copy."
        ) from error
    if _sha256(packed) != expected:
        raise InputError(
            f"{path}: expected the hash {expected} of the manifest, got {_sha256(packed)}: the file was "
            f"changed since. Restore it from a copy, or measure again."
        )
    try:
        return collection_of(facts, json.loads(gzip.decompress(packed)))
    except (OSError, EOFError, zlib.error, KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: expected what format version {FORMAT_VERSION} of results holds, got "
        f"{type(error).__name__}: {error}. Restore the file from a copy, or measure again."
    )


def _data_file(collection: str) -> str:
    return f"{_PER_QUERY}/{check_corpus_name(collection)}.json.gz"


def _json(value: Mapping[str, Any], *, indent: int | None = None) -> bytes:
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    return (text + "\n").encode()


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
