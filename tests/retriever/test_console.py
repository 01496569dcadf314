"""Settings, exit statuses and error lines, on a small program of the same kind as ours."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from retriever import console, errors
from retriever.errors import InputError, TandemError

PROGRAM = """
import sys, time
import typer
from retriever.console import ErrorBoundary, main_callback, run
app = typer.Typer(cls=ErrorBoundary, callback=main_callback)
@app.command()
def wait() -> None:
    print("waiting", flush=True)
    time.sleep(60)
@app.command()
def talk() -> None:
    for _ in range(100_000):
        print("x" * 100)
run(app)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    status: int
    out: str
    err: str


def fail(kind: str) -> None:
    """Raise what `kind` names."""
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "exit":
        raise typer.Exit(7)
    raise getattr(errors, kind, ZeroDivisionError)(f"expected [red]one[/red], got {kind}")


def show(
    store: console.StoreOption = None,
    corpus: console.CorpusOption = "none",
    k: Annotated[int, typer.Option("--top-k", "-k", min=0)] = 3,
    loud: Annotated[bool, typer.Option("--loud")] = False,  # noqa: FBT002  # a flag is a boolean
    only: Annotated[list[str] | None, typer.Option("--only")] = None,
) -> None:
    """Print the options as they arrive."""
    level = logging.getLogger("retriever").level
    print(json.dumps([str(store), corpus, k, loud, only, level]))  # noqa: T201  # its purpose


@pytest.fixture
def program() -> typer.Typer:
    app, group = (
        typer.Typer(cls=console.ErrorBoundary, callback=console.main_callback, add_completion=False)
        for _ in range(2)
    )
    app.command("show")(show)
    app.command("fail")(fail)
    group.command("show")(show)
    group.command("fail")(fail)
    app.add_typer(group, name="group")
    return app


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("TANDEM_STORE", "TANDEM_CORPUS", "TANDEM_CONFIG", "TANDEM_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    loggers = [logging.getLogger(name) for name in ("tandem", "retriever", "ingest", "analysis")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def run(program: typer.Typer, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def ran(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as exited:
            console.run(program, list(arguments))
        said = capsys.readouterr()
        return Ran(status=int(exited.value.code or 0), out=said.out, err=said.err)

    return ran


def config(text: str, name: str = "tandem.toml") -> None:
    Path(name).write_text(text, encoding="utf-8")


def test_without_settings_the_defaults_hold(run: Callable[..., Ran]) -> None:
    assert json.loads(run("show").out)[:5] == ["None", "none", 3, False, None]


def test_a_flag_goes_before_the_environment_and_that_before_the_file(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    config('store = "from-file"\ncorpus = "from-file"\ntop_k = 9\nloud = true\nonly = ["a", "b"]\n')
    assert json.loads(run("show").out)[:5] == ["from-file", "from-file", 9, True, ["a", "b"]]
    monkeypatch.setenv("TANDEM_STORE", "from-environment")
    monkeypatch.setenv("TANDEM_CORPUS", "from-environment")
    assert json.loads(run("show").out)[:3] == ["from-environment", "from-environment", 9]
    ran = run("show", "--corpus", "from-flag", "--top-k", "0", "--only", "c")
    assert json.loads(ran.out)[:5] == ["from-environment", "from-flag", 0, True, ["c"]]


def test_a_table_holds_for_its_command_only_and_before_what_holds_for_all(run: Callable[..., Ran]) -> None:
    config(
        'corpus = "all"\ntop_k = 5\n[show]\ntop_k = 6\n[group]\ncorpus = "group"\n[group.show]\ntop_k = 7\n'
    )
    assert json.loads(run("show").out)[1:3] == ["all", 6]
    assert json.loads(run("group", "show").out)[1:3] == ["group", 7]


@pytest.mark.parametrize("key", ["top_k", "top-k"])
def test_a_setting_is_called_as_its_option(run: Callable[..., Ran], key: str) -> None:
    config(f"{key} = 5")
    assert json.loads(run("show").out)[2] == 5


def test_the_settings_file_can_be_elsewhere(run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    config("top_k = 1")
    config("top_k = 2", "other.toml")
    monkeypatch.setenv("TANDEM_CONFIG", "other.toml")
    assert json.loads(run("show").out)[2] == 2
    monkeypatch.setenv("TANDEM_CONFIG", "missing.toml")
    ran = run("show")
    assert ran.status == 2
    assert "found none at missing.toml. Check TANDEM_CONFIG" in ran.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "top_q = 5",
            "expected keys among corpus, debug, loud, only, store, top_k in tandem.toml, got top_q",
        ),
        ("[shown]\ntop_k = 5", "expected tables among fail, group, show in tandem.toml, got shown"),
        (
            "[show]\ntop_q = 5",
            "expected keys among corpus, loud, only, store, top_k in tandem.toml, got top_q",
        ),
        ("[group.show]\nkind = 'x'", "expected keys among corpus, loud"),
        ("[show.deep]\ntop_k = 5", "expected tables among none in tandem.toml, got deep"),
        ("k = 5", "top_k in tandem.toml, got k"),
        ("top_k = ", "expected TOML in tandem.toml"),
        ("top_k = 5\ntop_k = 6", "expected TOML in tandem.toml"),
    ],
)
def test_settings_that_no_command_knows_are_refused(run: Callable[..., Ran], text: str, words: str) -> None:
    config(text)
    ran = run("show")
    assert (ran.status, ran.out) == (2, "")
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_settings_of_the_wrong_type_are_a_usage_error(run: Callable[..., Ran]) -> None:
    config('top_k = "many"')
    ran = run("show")
    assert ran.status == 2
    assert "--top-k" in ran.err


def test_settings_that_are_no_text_are_refused(run: Callable[..., Ran]) -> None:
    Path("tandem.toml").write_bytes(b"corpus = '\xff'")
    assert run("show").status == 2
    Path("tandem.toml").unlink()
    Path("tandem.toml").mkdir()
    assert run("show").status == 2


# The table at the top of retriever/errors.py.
STATUS = {InputError: 2, errors.StoreError: 3, errors.ModelError: 4}
EXACT = {"DocumentsFailedError": 5, "GateNotMetError": 6, "TandemError": 1}
KINDS = [
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, TandemError)
]


@pytest.mark.parametrize("group", [(), ("group",)], ids=["program", "group"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_its_exit_status_and_one_line(
    run: Callable[..., Ran], kind: str, group: tuple[str, ...]
) -> None:
    of_family = [status for root, status in STATUS.items() if issubclass(getattr(errors, kind), root)]
    ran = run(*group, "fail", kind)
    assert ran.status == (of_family or [EXACT.get(kind)])[0]
    assert ran.err == f"error: expected [red]one[/red], got {kind}\n"
    assert ran.out == ""


def test_an_unexpected_error_is_named_and_says_how_to_see_more(run: Callable[..., Ran]) -> None:
    ran = run("fail", "bug")
    assert ran.status == 1
    assert ran.err.startswith("unexpected error: ZeroDivisionError: expected [red]one")
    assert "--debug" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--debug", "fail", "{}"),
        ("fail", "--debug", "{}"),
        ("fail", "{}", "--debug"),
        ("group", "--debug", "fail", "{}"),
        ("group", "fail", "{}", "--debug", "--debug"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(("kind", "status"), [("bug", 1), ("StoreLockedError", 3)])
def test_debug_shows_where_and_keeps_the_status(
    run: Callable[..., Ran], arguments: tuple[str, ...], kind: str, status: int
) -> None:
    ran = run(*(argument.format(kind) for argument in arguments))
    assert ran.status == status
    assert "Traceback" in ran.err
    assert ran.err.count("error: expected") + ran.err.count("error: ZeroDivisionError: expected") >= 1


@pytest.mark.parametrize("how", ["environment", "file"])
def test_debug_can_be_set_without_a_flag(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "environment":
        monkeypatch.setenv("TANDEM_DEBUG", "1")
    else:
        config("debug = true")
    assert "Traceback" in run("fail", "bug").err


def test_debug_logging_reaches_the_commands_of_a_group(run: Callable[..., Ran]) -> None:
    for command in (("show",), ("group", "show")):
        assert json.loads(run(*command).out)[5] == logging.WARNING
        assert json.loads(run("--debug", *command).out)[5] == logging.DEBUG


def test_an_interruption_ends_with_130(run: Callable[..., Ran]) -> None:
    ran = run("group", "fail", "interrupt")
    assert (ran.status, ran.err) == (130, "interrupted\n")


def test_an_exit_on_purpose_is_left_alone(run: Callable[..., Ran]) -> None:
    assert run("group", "fail", "exit") == Ran(status=7, out="", err="")


@pytest.mark.parametrize("arguments", [("show", "--top-q", "5"), ("show", "--top-k", "-1"), ("other",)])
def test_wrong_usage_ends_with_2_and_the_usage(run: Callable[..., Ran], arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)
    assert ran.status == 2
    assert "Usage" in ran.err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_real_interruption_says_one_word(tmp_path: Path, number: int, status: int) -> None:
    command = [sys.executable, "-c", PROGRAM, "wait"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (status, "interrupted\n")


def test_a_program_that_calls_a_command_keeps_its_own_handlers(run: Callable[..., Ran]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert run("show").status == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_program_that_is_to_live_on_after_sigterm_does(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"import signal; signal.signal(15, signal.SIG_IGN); {PROGRAM}", "wait"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "interrupted\n")


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, "talk"],
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert process.stderr == ""


def test_json_is_printed_as_it_is_and_tables_only_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[Any] = []
    console.emit({"ä": [1, None]}, as_json=True, show=shown.append)
    assert json.loads(capsys.readouterr().out) == {"ä": [1, None]}
    assert shown == []
    console.emit({}, as_json=False, show=lambda out: out.print("[b]for people[/b]"))
    assert capsys.readouterr().out == "for people\n"


def test_names_are_cut_at_the_separator() -> None:
    assert console.names(" a , b") == ["a", "b"]
    assert console.names("a+b", separator="+") == ["a", "b"]
    for text in ("", "a,", ",a", "a,,b"):
        with pytest.raises(InputError, match="names separated by ','"):
            console.names(text)


@pytest.mark.parametrize(
    ("arguments", "environment", "kept"),
    [
        ([], {}, {"store", "url"}),
        (["--url", "http://x"], {}, {"url"}),
        (["--store=here"], {"TANDEM_URL": "http://x"}, {"store"}),
        ([], {"TANDEM_URL": "http://x"}, {"url"}),
        ([], {"TANDEM_STORE": "here"}, {"store"}),
    ],
)
def test_the_place_named_nearest_to_the_user_wins(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], environment: dict[str, str], kept: set[str]
) -> None:
    for variable in ("TANDEM_STORE", "TANDEM_URL"):
        monkeypatch.setenv(variable, environment.get(variable, ""))
    defaults = {"query": {"store": "a", "url": "b", "top_k": 1}}
    left = console._with_one_place(arguments, defaults)
    assert set(left["query"]) - {"top_k"} == kept
    if any(argument.startswith("--store") for argument in arguments):
        assert "TANDEM_URL" not in os.environ


def test_a_program_that_is_a_part_reads_its_own_section(tmp_path: Path) -> None:
    program = typer.Typer()
    program.command("show")(show)
    program.command("other")(lambda: None)
    file = tmp_path / "tandem.toml"
    file.write_text('store = "s"\nseed = 1\n[query]\ntop_k = 9\n[part.show]\ntop_k = 4\n', encoding="utf-8")
    assert console.settings(program, file, section="part")["show"] == {"store": "s", "k": 4}
    file.write_text("[part]\nunknown = 1\n", encoding="utf-8")
    with pytest.raises(InputError, match="unknown"):
        console.settings(program, file, section="part")
