"""The page: findings of each collection, laid out by a template, closed to everything from outside."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from analysis.framework import Line
from analysis.report.associations import BASELINE, Association
from analysis.report.charts import differences, interval_chart, scatter
from analysis.report.figures import Letters, clean, number, percent, signed
from analysis.report.findings import Duel, Findings, Quality, find
from analysis.report.heatmaps import heat_maps
from analysis.report.overview import (
    badge,
    collections_table,
    decision_class,
    models_table,
    settings_table,
    summary_table,
)
from analysis.report.tables import (
    MEASURES,
    association_table,
    cost_table,
    difference_tables,
    models_of,
    pair_table,
    similarity_table,
    singles_table,
)
from analysis.results.record import Results, Settings
from analysis.verdict import CandidateGain
from retriever.errors import InputError

_ASSETS = "assets"


def report_page(results: Results) -> str:
    """Return results as one HTML page that loads nothing and needs no script to be read.

    Everything is computed from `results`, intervals and verdicts with the seed of its settings: equal
    results give equal pages. The page holds its style and its script, the only ones that its content
    security policy admits; texts of models, collections and queries are escaped.

    Parameters
    ----------
    results
        At least one collection; those without judgements show similarities alone.

    Returns
    -------
    str
        To be written as UTF-8.
    """
    letters = Letters(model.key for model in results.models)
    template = _environment().get_template("page.html")
    findings = [find(collection, results.settings) for collection in results.collections]
    style, script = _asset("style.css"), _asset("script.js")
    return template.render(
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704  # our own file
        script=Markup(script),  # noqa: S704  # likewise
        results=results,
        n_pairs=len({pair.models for one in findings for pair in one.collection.evaluation.similarities}),
        summary=summary_table(findings, letters),
        sections=[_section(one, results, letters) for one in findings],
        method=[
            models_table(results, letters),
            collections_table(findings, letters),
            settings_table(results),
        ],
    )


def write_report(results: Results, path: str | Path) -> int:
    """Write results as one HTML page, in place of what is there; half a page is never seen.

    Returns
    -------
    int
        Bytes of the page.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    file, page = Path(path), report_page(results).encode()
    draft = file.with_name(f".{file.name}.draft")
    try:
        draft.write_bytes(page)
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InputError(
            f"{file}: expected a file that can be written, got: {error.strerror or error}. Name another one."
        ) from error
    return len(page)


def _section(findings: Findings, results: Results, letters: Letters) -> dict[str, Any]:
    """Return what the template shows of one collection; what it lacks is left out."""
    evaluation, quality = findings.collection.evaluation, findings.quality
    keys = tuple(models_of(evaluation))
    return {
        "facts": findings.collection.facts,
        "quality": None if quality is None else _quality(findings, quality, results.settings, letters),
        "maps": heat_maps(evaluation, keys),
        "similarities": similarity_table(findings, letters) if evaluation.similarities else None,
        "costs": cost_table(findings, results, letters),
        "letters": letters,
    }


def _quality(findings: Findings, quality: Quality, settings: Settings, letters: Letters) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "badge": badge(quality),
        "decision": decision_class(quality),
        "verdict": quality.verdict,
        "n_models": len(findings.collection.evaluation.singles),
        "singles": singles_table(findings.collection.evaluation, quality, letters),
        "best": quality.best,
        "panels": _panels(quality, letters),
    }
    if quality.duel is not None:
        shown |= _pairs(findings, quality, quality.duel, settings, letters)
    return shown


def _pairs(
    findings: Findings, quality: Quality, duel: Duel, settings: Settings, letters: Letters
) -> dict[str, Any]:
    won, equal, lost = duel.counts
    return {
        "interval": interval_chart(duel.pair.gain, minimum_gain=settings.minimum_gain),
        "pairs": pair_table(findings, quality, letters),
        "associations": association_table(quality.associations) if quality.associations else None,
        "counts": (won, equal, lost),
        "bars": differences(
            duel.gains.tolist(), label=f"Gains per query: {won} wins, {equal} equal, {lost} losses"
        ),
        "duel": difference_tables(duel),
    }


def _panels(quality: Quality, letters: Letters) -> list[dict[str, Any]]:
    """Return what stands above a plot, and the plot; none where nothing can be correlated."""
    shown = [(one, one.line) for one in quality.associations if one.name != BASELINE and one.line is not None]
    gains = [point.gain for one, _ in shown for point in one.points]
    return [_panel(one, line, (min(gains), max(gains)), quality.best, letters) for one, line in shown]


def _panel(
    one: Association,
    line: Line,
    vertical: tuple[float, float],
    best: CandidateGain | None,
    letters: Letters,
) -> dict[str, Any]:
    found, points = one.correlations, one.points
    name = f"{MEASURES[one.name]}, α = {found.alpha:g}, {found.weighting} weights"
    rho = f"ρ = {number(found.overall, 2)}"
    pairs = [point.pair for point in points]
    shown = () if best is None or best.candidate.weighting != found.weighting else best.candidate.models
    marked = pairs.index(shown) if shown in pairs else None
    drawing = scatter(
        [point.adjusted for point in points],
        [point.gain for point in points],
        [letters.joined(pair) for pair in pairs],
        vertical=vertical,
        line=line,
        marked=marked,
        label=f"Gain over the better half against adjusted dissimilarity: {name}, {rho}",
    )
    return {"name": name, "rho": rho, "drawing": drawing}


def _policy(style: str, script: str) -> str:
    """Return a policy that admits this style and this script and nothing else, not even an image."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        f"base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return (resources.files(__package__) / _ASSETS / name).read_text(encoding="utf-8")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: clean(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": number, "signed": signed}
    return environment
