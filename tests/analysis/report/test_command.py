"""`tandem report`: from a folder of results to a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from analysis.commands.report import report
from analysis.report import report_page
from analysis.results.folder import write_results
from analysis.results.record import Results
from retriever import console

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    app = typer.Typer(cls=console.ErrorBoundary, callback=console.main_callback)
    app.command("report")(report)

    def run_it(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            console.run(app, ["report", *map(str, arguments)])
        said = capsys.readouterr()
        return int(exited.value.code or 0), said.out, said.err

    return run_it


@pytest.fixture
def folder(made_up: Callable[..., Results], tmp_path: Path) -> Path:
    write_results(made_up(), tmp_path / "results", figures=False)
    return tmp_path / "results"


def test_the_page_of_a_folder_is_that_of_its_results(
    run: Run, folder: Path, tmp_path: Path, made_up: Callable[..., Results]
) -> None:
    status, out, err = run(folder)
    assert status == 0, err
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page == report_page(made_up())
    assert out.startswith("Report: report.html (")


def test_the_place_and_the_size_are_told_to_machines(run: Run, folder: Path, tmp_path: Path) -> None:
    status, out, _ = run(folder, "--out", tmp_path / "page.html", "--json")
    assert status == 0
    said = json.loads(out)
    assert said == {"report": str(tmp_path / "page.html"), "bytes": (tmp_path / "page.html").stat().st_size}


def test_a_folder_without_results_is_named(run: Run, tmp_path: Path) -> None:
    status, _, err = run(tmp_path / "nothing")
    assert status == 2
    assert "nothing" in err
    assert not (tmp_path / "report.html").exists()
