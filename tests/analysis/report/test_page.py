"""The page as a file: closed, escaped, well-formed, small, the same for the same results."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from bs4 import BeautifulSoup

from analysis.evaluation import Evaluation
from analysis.report import report_page, write_report
from analysis.report.tables import ROWS, TEXT_LENGTH
from analysis.results.record import CollectionResults, Results, Settings
from retriever.errors import InputError

MEGABYTE = 1_000_000
HOSTILE = (
    '</script><script>alert(1)</script><img src=x onerror=alert(1)>"\' onmouseover="alert(1) &amp; {{ 7*7 }}'
)
UNFIT = "zero\x00bell\x07half\ud800override\u202etext\u2066isolate\nline"


def parsed(page: str) -> BeautifulSoup:
    return BeautifulSoup(page, "html.parser")


def as_tree(page: str) -> ET.Element:
    """Parse as XML, which forgives nothing; a script may hold what XML would take for markup."""
    assert page.startswith("<!doctype html>\n")
    without_script = re.sub(r"<script>.*?</script>", "", page.partition("\n")[2], flags=re.DOTALL)
    return ET.fromstring(without_script)  # noqa: S314  # our own page


def with_collection(results: Results, **changes: object) -> Results:
    collection = replace(results.collections[0], **changes)
    return replace(results, collections=(collection,))


def without_judgements(collection: CollectionResults, *, overlaps: bool = True) -> CollectionResults:
    similarities = collection.evaluation.similarities
    if not overlaps:
        similarities = tuple(replace(one, overlaps=()) for one in similarities)
    return replace(
        collection,
        facts=replace(collection.facts, qrels_hash=""),
        evaluation=replace(collection.evaluation, singles=(), pairs=(), similarities=similarities),
    )


@pytest.mark.parametrize("n_models", [1, 2, 3, 6])
@pytest.mark.parametrize("effect", [-0.05, 0.0, 0.05])
def test_the_page_is_well_formed_for_any_number_of_models_and_any_verdict(
    made_up: Callable[..., Results], n_models: int, effect: float
) -> None:
    page = report_page(made_up([f"m{i}" for i in range(n_models)], effect=effect))
    tree = as_tree(page)
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    links = [element.get("href", "") for element in tree.iter("a")]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    labelled = [element.get("aria-labelledby") for element in tree.iter() if element.get("aria-labelledby")]
    assert set(labelled) <= set(ids)
    for table in tree.iter("table"):
        widths = {len(row) for row in table.iter("tr")}
        assert len(widths) == 1


def test_the_policy_admits_its_own_style_and_script_alone(made_up: Callable[..., Results]) -> None:
    page = parsed(report_page(made_up()))
    [policy] = page.find_all("meta", {"http-equiv": "Content-Security-Policy"})
    [style], [script] = page.find_all("style"), page.find_all("script")

    def hash_of(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert dict(part.split(" ", 1) for part in policy["content"].split("; ")) == {
        "default-src": "'none'",
        "style-src": hash_of(style.string),
        "script-src": hash_of(script.string),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert page.head.index(policy) < page.head.index(style)


def test_the_page_refers_to_nothing_outside_itself(made_up: Callable[..., Results]) -> None:
    page = report_page(made_up())
    for reference in ("http:", "https:", "//", "url(", "@import", "data:", "javascript:"):
        assert reference not in page.replace("// rows", "")  # a comment of the script
    for element in as_tree(page).iter():
        assert element.tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "video"}
        assert not {name for name in element.attrib if name == "style" or name.startswith("on")}
        assert element.get("href", "#").startswith("#")
        assert element.get("src") is None


def test_what_others_wrote_is_text_and_never_markup(made_up: Callable[..., Results]) -> None:
    results = made_up((HOSTILE, UNFIT, "שלום"), effect=0.05)
    texts = dict.fromkeys(results.collections[0].query_texts, HOSTILE + UNFIT)
    facts = replace(
        results.collections[0].facts, name=HOSTILE, chunker={HOSTILE: UNFIT, "nested": {"text": HOSTILE}}
    )
    results = with_collection(results, query_texts=texts, facts=facts)
    results = replace(results, versions={HOSTILE: HOSTILE}, machine={"processor": UNFIT})
    page = report_page(results)
    assert page.encode()  # a lone surrogate would fail
    tree, soup = as_tree(page), parsed(page)
    assert len(soup.find_all("script")) == 1
    assert not list(tree.iter("img"))
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on")]
    text = soup.find(id="measured").get_text()
    assert HOSTILE in text
    assert "zero\ufffdbell\ufffdhalf\ufffdoverride\ufffdtext\ufffdisolate line" in text
    assert HOSTILE in soup.find(id="c1").find("h2").get_text()  # no template is filled in twice
    assert not re.search("[\x00-\x08\ud800-\udfff\u202a-\u202e\u2066-\u2069]", page)
    assert soup.find("bdi", string="שלום")


def test_a_long_query_is_cut_and_a_long_word_is_kept_whole(made_up: Callable[..., Results]) -> None:
    results = made_up(("a" * 300, "b", "c"), effect=0.05)
    texts = dict.fromkeys(results.collections[0].query_texts, "w" * 5000)
    page = report_page(with_collection(results, query_texts=texts))
    assert "a" * 300 in page
    assert "w" * (TEXT_LENGTH - 1) + "…" in page
    assert "w" * TEXT_LENGTH not in page


def test_fifteen_models_on_five_collections_stay_below_a_megabyte(made_up: Callable[..., Results]) -> None:
    keys = [f"maker-embed-{i}-{'large-en-v1.5'}" for i in range(15)]
    page = report_page(made_up(keys, n_queries=648, ks=(10, 100), effect=0.01)).encode()
    section = page[page.index(b'<section id="c1"') : page.index(b'<section id="measured"')]
    assert len(page) + 4 * len(section) < MEGABYTE - 50_000  # with room for the longer texts of real queries


def test_candidates_of_a_fine_grid_are_listed_as_far_as_there_is_room_and_it_is_said(
    made_up: Callable[..., Results],
) -> None:
    results = made_up([f"m{i}" for i in range(8)], grid=9)
    page = parsed(report_page(results))
    table = page.find(id="c1-pairs").find_parent("table")
    rows = [row.find_all("td")[0].get_text() for row in table.find("tbody").find_all("tr")]
    pairs = results.collections[0].evaluation.pairs
    assert len(pairs) == 28 * 11
    assert ROWS <= len(rows) <= ROWS + 1
    assert sum(not row.startswith("explicit") for row in rows) == 2 * 28
    assert f"{len(rows)} of {len(pairs)} candidates are listed" in page.find(id="c1").get_text()


def test_without_judgements_similarities_are_shown_and_the_lack_is_said(
    made_up: Callable[..., Results],
) -> None:
    results = made_up()
    for overlaps in (True, False):
        collection = without_judgements(results.collections[0], overlaps=overlaps)
        page = report_page(replace(results, collections=(collection,)))
        section = parsed(page).find(id="c1")
        assert "No quality was measured" in section.get_text()
        assert section.find(id="c1-alike")
        assert not section.find(id="c1-pairs")
        assert len(section.select("figure.heat")) == (3 if overlaps else 1)
        as_tree(page)


def test_collections_may_differ_in_models_and_in_judgements(made_up: Callable[..., Results]) -> None:
    large, small = made_up(("a", "b", "c")), made_up(("b", "c"), ("second",))
    unjudged = without_judgements(made_up(("a", "b", "c"), ("third",)).collections[0])
    results = replace(large, collections=(*large.collections, *small.collections, unjudged))
    page = report_page(results)
    as_tree(page)
    soup = parsed(page)
    assert [row.find("a").get_text() for row in soup.select("#summary tbody tr")] == [
        "first",
        "second",
        "third",
    ]
    letters = [head.get_text() for head in soup.find(id="c2-map-1").find_parent("table").select("thead th")]
    assert letters == ["B", "C"]  # the same letter for the same model on the whole page


def test_equal_results_give_equal_pages(made_up: Callable[..., Results]) -> None:
    assert report_page(made_up()) == report_page(made_up())
    other = made_up(settings=Settings(seed=1))
    assert report_page(made_up()) != report_page(other)


def test_a_similarity_that_is_not_defined_is_a_dash(made_up: Callable[..., Results]) -> None:
    results = made_up(settings=Settings(alphas={"jaccard": 0.7, "cka_debiased": 0.5}))
    evaluation: Evaluation = results.collections[0].evaluation
    first, *others = evaluation.similarities
    undefined = replace(evaluation, similarities=(replace(first, cka_debiased=None), *others))
    page = parsed(report_page(with_collection(results, evaluation=undefined)))
    cells = [cell.get_text() for cell in page.find(id="c1-alike").find_parent("table").select("tbody tr")[0]]
    assert cells[2] == "–"
    assert cells[-1] == "–"


def test_writing_replaces_a_page_and_says_its_size(made_up: Callable[..., Results], tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    assert write_report(made_up(), file) == len(file.read_bytes())
    assert file.read_text(encoding="utf-8") == report_page(made_up())
    assert list(tmp_path.iterdir()) == [file]


def test_a_place_that_cannot_be_written_is_named(made_up: Callable[..., Results], tmp_path: Path) -> None:
    for place in (tmp_path / "no folder" / "report.html", tmp_path):
        with pytest.raises(InputError, match=re.escape(str(place))):
            write_report(made_up(("a",)), place)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_a_browser_runs_the_script_under_the_policy(made_up: Callable[..., Results], tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    write_report(made_up(), file)
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    shown = subprocess.run(
        ["chromium", *options, "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    page = parsed(shown)
    assert page.select("#c1 .filters select")
    assert [button["aria-label"] for button in page.select("table.sortable th button")][:1] == [
        "Sort by Pair"
    ]


@pytest.mark.parametrize(("confidence", "level"), [(0.95, "0.05"), (0.975, "0.025"), (0.999, "0.001")])
def test_the_level_of_the_verdict_is_told_as_it_is(
    made_up: Callable[..., Results], confidence: float, level: str
) -> None:
    results = made_up()
    page = report_page(replace(results, settings=replace(results.settings, confidence=confidence)))
    assert f"adjusted p is below {level}." in page
