"""`tandem reproduce` on two corpora with two real models, and again from its own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.fixture
def reproduce(command: Command, store: Path, data: Path) -> Command:
    def run(*arguments: str | Path) -> Any:
        on = ("--store", store, "--corpora", "handbook,scifact", "--data", data)
        return command("reproduce", *on, *arguments)

    return run


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_is_drawn_again_from_the_files_without_a_store(reproduce: Command, command: Command) -> None:
    first = reproduce("--out", "out")
    assert first.status == 0, first.err
    assert "1 of 2: handbook, " in first.err
    assert "2 of 2: scifact, " in first.err
    assert "Table 1" in first.out
    assert "Table 2" in first.out
    assert "handbook: " in first.out
    again = command("reproduce", "--from", "out", "--out", "again", "--store", "nowhere")
    assert again.status == 0, again.err
    assert again.out == first.out
    assert files(Path("again")) == files(Path("out"))
    assert {
        "tables/table1.csv",
        "tables/table2_equal.tex",
        "figures/figure1.svg",
        "figures/figure2_equal.png",
    } <= (files(Path("out")).keys())
    assert not Path("nowhere").exists()


def test_the_json_has_every_table(reproduce: Command) -> None:
    ran = reproduce("--json", "--quiet")
    assert (ran.status, ran.err) == (0, "")
    assert ran.json.keys() >= {"verdicts", "singles", "pairs", "similarities", "table2_equal", "costs"}
    singles = ran.json["singles"]["rows"]
    assert [row["collection"] for row in singles] == ["handbook", "handbook", "scifact", "scifact"]
    assert singles[0]["ndcg@10"] == singles[2]["ndcg@10"]  # the same documents and queries
    (overall,) = [
        row
        for row in ran.json["table2_equal"]["rows"]
        if (row["collection"], row["model"]) == ("scifact", "overall")
    ]
    assert overall["paper_jaccard"] == 0.779  # Table 2 of the paper, SciFact
    assert overall["jaccard"] is None  # one pair alone has no ρ


def test_collections_may_lie_anywhere(command: Command, store: Path, data: Path) -> None:
    given = ("--collection", f"handbook={data / 'scifact'}", "--drop-own", "handbook", "--json", "--quiet")
    ran = command("reproduce", "--store", store, *given)
    assert (ran.status, ran.err) == (0, "")
    assert {row["collection"] for row in ran.json["pairs"]["rows"]} == {"handbook"}


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "nothing": ((), "corpora: expected --corpora with --data, --collection, or --from"),
    "corpora without data": (("--corpora", "handbook"), "--corpora: expected --data"),
    "no folder of a collection": (("--collection", "handbook"), "--collection: expected CORPUS=FOLDER"),
    "a corpus twice": (
        ("--collection", "a=x", "--collection", "a=y"),
        "corpora: expected each once, got a, a",
    ),
    "no judgements": (("--collection", "handbook=none"), "queries.jsonl: expected a file"),
    "another corpus to drop from": (
        ("--collection", "handbook=none", "--drop-own", "arguana"),
        "--drop-own: expected one of handbook, got arguana",
    ),
    "files and a store": (("--from", "out", "--collection", "a=x"), "--from: expected no corpora beside it"),
    "no results": (("--from", "none"), "manifest.json: expected the manifest of results"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_reproduced_is_refused_with_2(
    command: Command, store: Path, arguments: tuple[str, ...], message: str
) -> None:
    ran = command("reproduce", "--store", store, *arguments)
    assert ran.status == 2
    assert message in ran.err
    assert ran.err.startswith("error: ")
    assert len(ran.err.splitlines()) == 1
    assert ran.out == ""
