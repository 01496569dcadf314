"""The numbers of the page on scale are those of its formulas."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
CHUNKS, TOKENS_PER_CHUNK = 100e6, 256
TOKENS = CHUNKS * TOKENS_PER_CHUNK
GB = 1e9
SIZES = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "binary": 1 / 8}


def rows(first: str) -> list[list[str]]:
    """Return the cells of the table whose header starts with this, the header left out."""
    table = PAGE[PAGE.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def number(cell: str) -> float:
    return float(re.sub(r"[^\d.e]|e(?!\d)", "", cell.replace(",", "")))


def test_compute_follows_from_layers_and_width() -> None:
    for _, layers, width, per_token, total, hours in rows("encoder"):
        flops = 24 * int(layers) * int(width) ** 2 + 4 * TOKENS_PER_CHUNK * int(width) * int(layers)
        assert number(per_token) == pytest.approx(flops / 1e6, abs=0.05)
        assert number(total) == pytest.approx(flops * TOKENS, rel=5e-3)
        assert number(hours) == pytest.approx(flops * TOKENS / 10e12 / 3600, abs=0.05)


def test_bytes_follow_from_dimensions() -> None:
    for numbers, *sizes in rows("numbers per chunk"):
        for size, cell in zip(SIZES.values(), sizes, strict=True):
            assert number(cell) == pytest.approx(CHUNKS * int(numbers) * size / GB)
    for _, per_chunk, total in rows("per chunk"):
        assert number(total) == pytest.approx(CHUNKS * number(per_chunk) / GB)


def test_scans_follow_from_bytes_and_bandwidth() -> None:
    for served, memory, disk in rows("served, on 8 machines"):
        numbers, kind = served.split(", ")
        size = CHUNKS * int(numbers) * SIZES[kind] / GB
        assert number(memory) == pytest.approx(size / (8 * 100), abs=0.005)
        assert number(disk) == pytest.approx(size / (8 * 3), abs=0.05)


def test_machines_hold_their_part_of_all_replicas() -> None:
    for kind, replicas, disk, memory in rows("stored"):
        quantised = "int8" in kind
        stored = CHUNKS * (1536 * 4 + 2000 + 768 * quantised) / GB
        served = CHUNKS * 768 * (1 if quantised else 4) / GB
        assert number(disk) == pytest.approx(stored * int(replicas) / 8, abs=0.05)
        assert number(memory) == pytest.approx(served * int(replicas) / 8, abs=0.05)


def test_numbers_in_the_text_follow_too() -> None:
    per_core = 26 * 190 / 2
    assert per_core == 2470
    assert TOKENS / per_core / 3600 == pytest.approx(2880, rel=2e-3)
    assert TOKENS / per_core / 86400 == pytest.approx(120, rel=2e-3)
    for rate, hours in ((1e3, 27.8), (5e3, 5.6), (1e4, 2.8)):
        assert CHUNKS / rate / 3600 == pytest.approx(hours, abs=0.05)
    graph = CHUNKS * 2 * 16 * 4 / GB
    assert graph == pytest.approx(12.8)
    # Measured: milliseconds of a scan in float32, float16 and int8; chunks a second of three models.
    for value, quotient in ((24.9 / 32, 0.78), (11.9 / 32, 0.37), (63 / 26, 2.4), (1200 / 26, 46)):
        assert value == pytest.approx(quotient, rel=0.02)
    for said in (
        "2,470",
        "2,880",
        "120 such",
        "27.8",
        "12.8 GB at m = 16",
        "0.78 of",
        "0.37 of",
        "2.4 times",
    ):
        assert said in PAGE
