"""The commands on models: doctor, quantize."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from retriever.console import JsonOption, emit
from retriever.errors import ModelError

_CHUNK_COUNTS = (1_000, 100_000)
_VERDICT_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Short names, folders or hub names.")
    ],
    backend: Annotated[
        str | None, typer.Option(help="What runs them: torch, torch-bf16, onnx, onnx-int8, openvino, …")
    ] = None,
    over_length: Annotated[
        str, typer.Option(help="What becomes of a chunk longer than a model reads: refuse or windows.")
    ] = "refuse",
    chunk_tokens: Annotated[
        int, typer.Option(min=16, help="Length of the chunks to embed, special tokens included.")
    ] = 256,
    json: JsonOption = False,
) -> None:
    """Check models before a night is spent on them; status 4 if one fails a check."""
    from retriever.doctor import Verdict, examine_source, together

    found = [
        examine_source(source, backend=backend, over_length=over_length, chunk_tokens=chunk_tokens)
        for source in models
    ]
    all_of_them = together(found)

    def show(console: Console) -> None:
        for one in found:
            console.print(_doctor_table(one))
        if len(found) > 1:
            console.print(_together_line(all_of_them), markup=False, soft_wrap=True)

    emit(
        {"models": [one.to_json() for one in found], "together": asdict(all_of_them)}, as_json=json, show=show
    )
    if any(one.verdict is Verdict.FAIL for one in found):
        raise typer.Exit(ModelError.exit_status)


def quantize(
    model: Annotated[str, typer.Argument(help="Short name, folder or hub name.")],
    out: Annotated[Path, typer.Option(help="The folder to write; give it as a model from then on.")],
    method: Annotated[
        str,
        typer.Option(
            help="int8-dynamic, on ONNX Runtime; int8-static, on OpenVINO: fastest with VNNI; "
            "int8-weights, on OpenVINO: closest; float32, on ONNX Runtime: exact."
        ),
    ] = "int8-dynamic",
    texts: Annotated[
        Path | None,
        typer.Option(help="Texts like yours (.txt, .md, .jsonl): some set ranges, others measure."),
    ] = None,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Write it even if it agrees too little with the original.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a smaller or faster copy of a model, and measure what that costs."""
    from retriever.models.quantisation import quantize as make

    report = make(model, out, texts=texts, method=method, allow_loss=allow_loss)
    emit(
        report.to_json(),
        as_json=json,
        show=lambda console: console.print(_quantize_table(report)),
    )


def _quantize_table(report: Any) -> Table:
    measured = report.measured
    table = Table(title=Text(f"{report.name} in {report.folder}"), title_justify="left")
    for name in ("", "original", "copy"):
        table.add_column(name)
    table.add_row("weights", _megabytes(measured.original_bytes), _megabytes(measured.bytes))
    table.add_row("rate on this machine", "1", f"{measured.speed:.2f}")
    table.add_row(
        f"cosine to the original, {measured.texts} texts",
        "1",
        f"{measured.agreement_mean:.4f} on average, {measured.agreement_min:.4f} at least",
    )
    table.add_row("a text alone and in a batch", "", f"differ by {measured.batch_invariance:.0e}")
    return table


def _doctor_table(one: Any) -> Table:
    spec = one.spec
    table = Table(title=Text(f"model {spec.key}"), title_justify="left", show_header=False)
    table.add_column()
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("", "", Text(f"{spec.name}, revision {spec.revision}"))
    table.add_row("", "", Text(f"{spec.backend}, {spec.dtype}, fingerprint {spec.fingerprint}"))
    for finding in one.findings:
        verdict = finding.verdict.name.lower()
        table.add_row(Text(finding.check), Text(verdict, style=_VERDICT_STYLES[verdict]), Text(finding.text))
    for row in _cost_rows(one.cost):
        table.add_row(Text(row[0]), "", Text(row[1]))
    return table


def _cost_rows(cost: Any) -> list[tuple[str, str]]:
    if cost is None:
        return []
    times = ", ".join(f"{chunks:,} in {_duration(cost.seconds_for(chunks))}" for chunks in _CHUNK_COUNTS)
    rows = [("rate", f"{cost.chunks_per_second:,.1f} chunks of {cost.chunk_tokens} tokens a second: {times}")]
    if cost.loading is not None:
        rows.append(
            ("loading", f"{_duration(cost.loading.seconds)}, {_megabytes(cost.loading.bytes)} with libraries")
        )
    last = _CHUNK_COUNTS[-1]
    stored = _megabytes(cost.bytes_per_chunk * last)
    rows.append(
        (
            "memory",
            f"{_megabytes(cost.peak_bytes)} more at work; {stored} of vectors per {last:,}",
        )
    )
    return rows


def _together_line(all_of_them: Any) -> str:
    shared = [keys for keys in all_of_them.vocabularies if len(keys) > 1]
    said = [f"{', '.join(keys)} share a vocabulary: a text is tokenised once for them." for keys in shared]
    said = said or ["No two of them share a vocabulary."]
    if all_of_them.chunks_per_second is not None:
        rate = all_of_them.chunks_per_second
        last = _CHUNK_COUNTS[-1]
        said.append(
            f"One after the other: {rate:,.1f} chunks a second, {last:,} in {_duration(last / rate)}, "
            f"{_megabytes(all_of_them.bytes_per_chunk * last)} of vectors."
        )
    return " ".join(said)


def _duration(seconds: float) -> str:
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
