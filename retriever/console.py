"""What the commands of all packages share: options, settings, output, and one border for errors."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import tomllib
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from typer.core import TyperGroup

from retriever.errors import InputError, TandemError

SETTINGS_FILE = "tandem.toml"
INTERRUPTED = 130
TERMINATED = 143
UNEXPECTED = 1
SAY = "retriever.console.say"
"""In the `meta` of a context: what takes the last line of a command that fails, instead of standard error."""

_PLACES = {"store": "TANDEM_STORE", "url": "TANDEM_URL"}

StoreOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--store", envvar="TANDEM_STORE", help="Folder of the embedded store (default: tandem-store)."
    ),
]
UrlOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--url", envvar="TANDEM_URL", help="URL of a Qdrant server, instead of a folder."),
]
ApiKeyOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--api-key", envvar="QDRANT_API_KEY", help="Key of the Qdrant server.", show_envvar=True),
]
CorpusOption: TypeAlias = Annotated[
    str, typer.Option("--corpus", "-c", envvar="TANDEM_CORPUS", help="Name of the corpus.")
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of tables.")
]
QuietOption: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no notes.")]

notes = Console(stderr=True, highlight=False)
"""Progress, notes and errors; what is asked for goes to standard output."""


class Terminated(KeyboardInterrupt):
    """The program was asked to end by SIGTERM, and ends as if it were interrupted."""


def status_of(interrupt: KeyboardInterrupt) -> int:
    """Return the exit status of a command that was cut short."""
    return TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED


class ErrorBoundary(TyperGroup):
    """A group of commands that turns errors into one line and an exit status.

    0 done, 1 unexpected, 2 usage, 3 store unreachable, 4 model missing or mismatched, 5 some
    documents failed, 6 gate not met, 130 interrupted, 143 terminated. ``--debug`` shows the traceback before
    the line.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            _sayer(ctx)("interrupted")
            raise typer.Exit(status_of(interrupt)) from interrupt
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise  # Typer ends quietly when nobody reads on
        except Exception as error:
            if _is_usage(error):
                raise
            if _is_debugging(ctx):
                traceback.print_exc()
            _sayer(ctx)(_line(error))
            raise typer.Exit(error.exit_status if isinstance(error, TandemError) else UNEXPECTED) from error


def _show_version(asked: bool) -> None:  # noqa: FBT001  # what typer gives
    if asked:
        typer.echo(f"tandem-rag {metadata.version('tandem-rag')}")
        raise typer.Exit


def main_callback(
    ctx: typer.Context,
    debug: Annotated[  # noqa: FBT002  # a flag is a boolean
        bool, typer.Option("--debug", envvar="TANDEM_DEBUG", help="Show tracebacks and debug logging.")
    ] = False,
    _version: Annotated[  # noqa: FBT002  # likewise
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Set up logging; the callback of every program and of every group in it."""
    level = logging.DEBUG if debug or _is_debugging(ctx) else logging.WARNING
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for name in ("tandem", "retriever", "ingest", "analysis"):
        logging.getLogger(name).setLevel(level)


def run(app: typer.Typer, arguments: list[str] | None = None, *, section: str | None = None) -> None:
    """Run a program with settings from ``tandem.toml``; ``--debug`` may stand anywhere.

    Precedence: settings file, then environment, then flags. `section` names the table of a program
    that is a part of `tandem`, see `settings`.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if "--debug" in given:
        given = ["--debug", *(argument for argument in given if argument != "--debug")]
    try:
        defaults = settings(app, section=section)
    except TandemError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_status)
    if arguments is None:
        _end_on_sigterm()
    try:
        app(args=given, default_map=_with_one_place(given, defaults))
    except SystemExit as end:
        if arguments is None:  # the process is this program's own
            _leave(end)
        raise


def _end_on_sigterm() -> None:
    """Let SIGTERM, from `docker stop` or systemd, interrupt the command; unless it is to be ignored."""
    is_main = threading.current_thread() is threading.main_thread()  # no other one may set a handler
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # `timeout` sends two: the second is no reason to hurry
    raise Terminated


def _leave(end: SystemExit) -> None:
    """End at once if an interrupted command has left a thread at work.

    The interpreter would tear itself down around that thread, and libraries in it may then crash.
    """
    status = INTERRUPTED if end.code == INTERRUPTED else TERMINATED
    if end.code == status and any(thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def settings(app: typer.Typer, path: Path | None = None, *, section: str | None = None) -> dict[str, Any]:
    """Return the defaults of all commands from a settings file.

    The file is `path`, or the one ``TANDEM_CONFIG`` names, or ``tandem.toml`` in the current folder,
    if there is one. A key is the long name of an option (``top_k`` or ``top-k`` for ``--top-k``) and
    holds for every command that has it; in a table named after a command (``[query]``,
    ``[ingest.run]``) it holds for that command only. A program that is a part of `tandem` knows only
    its `section` of the file, and of the keys at the top those that it has an option for.

    Raises
    ------
    InputError
        If the file is not TOML or a key belongs to no command.
    """
    named = os.environ.get("TANDEM_CONFIG")
    file = path or Path(named or SETTINGS_FILE)
    if not file.exists():
        if named or path:
            raise InputError(f"settings: expected a file, found none at {file}. Check TANDEM_CONFIG.")
        return {}
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"settings: expected TOML in {file}, got: {error}.") from error
    command = typer.main.get_command(app)
    if section is not None:
        known = _options_below(command)
        shared = {key: value for key, value in values.items() if key.replace("-", "_") in known}
        values = {**shared, **values.get(section, {})}
    return _defaults(command, values, {}, file)


def emit(value: Mapping[str, Any], *, as_json: bool, show: Callable[[Console], None]) -> None:
    """Print what a command found: one JSON object, or what `show` prints for people."""
    if as_json:
        sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
    else:
        show(Console(highlight=False))


def names(text: str, *, separator: str = ",") -> list[str]:
    """Return the parts of ``A,B``, trimmed.

    Raises
    ------
    InputError
        If a part is empty.
    """
    parts = [part.strip() for part in text.split(separator)]
    if not all(parts):
        raise InputError(f"expected names separated by {separator!r}, got {text!r}.")
    return parts


def _with_one_place(arguments: Sequence[str], defaults: dict[str, Any]) -> dict[str, Any]:
    """Let the folder or the URL that is named nearest to the user win over the one named further off."""
    for name, other in (("store", "url"), ("url", "store")):
        if any(argument.split("=")[0] == f"--{name}" for argument in arguments):
            os.environ.pop(_PLACES[other], None)
            return _without(defaults, other)
    for name, other in (("store", "url"), ("url", "store")):
        if os.environ.get(_PLACES[name]):
            defaults = _without(defaults, other)
    return defaults


def _without(defaults: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {
        name: _without(value, key) if isinstance(value, dict) else value
        for name, value in defaults.items()
        if name != key
    }


def _options(command: Any) -> dict[str, str]:
    """Return the names of parameters by the long names of their options; those that only show are none."""
    return {
        name.removeprefix("--").replace("-", "_"): parameter.name
        for parameter in command.params
        for name in parameter.opts
        if name.startswith("--") and not parameter.is_eager
    }


def _options_below(command: Any) -> set[str]:
    options = set(_options(command))
    for child in getattr(command, "commands", {}).values():
        options |= _options_below(child)
    return options


def _defaults(command: Any, table: Mapping[str, Any], above: Mapping[str, Any], file: Path) -> dict[str, Any]:
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    own = {key.replace("-", "_"): value for key, value in table.items() if key not in tables}
    children = getattr(command, "commands", {})
    _check_known("keys", own, _options_below(command), file)
    _check_known("tables", tables, children, file)
    plain = {**above, **own}
    options = _options(command)
    below = {name: _defaults(child, tables.get(name, {}), plain, file) for name, child in children.items()}
    return {**{options[key]: value for key, value in plain.items() if key in options}, **below}


def _check_known(kind: str, given: Iterable[str], known: Iterable[str], file: Path) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        there = ", ".join(sorted(known)) or "none"
        raise InputError(f"settings: expected {kind} among {there} in {file}, got {', '.join(unknown)}.")


def _is_debugging(ctx: Any) -> bool:
    return bool(ctx.find_root().params.get("debug"))


def _line(error: Exception) -> str:
    if isinstance(error, TandemError):
        return f"error: {error}"
    return f"unexpected error: {type(error).__name__}: {error}\nRun again with --debug to see where."


def _is_usage(error: Exception) -> bool:
    # Typer carries its own copy of click since 0.2x; both print usage errors themselves.
    return hasattr(error, "exit_code") and hasattr(error, "show")


def _sayer(ctx: Any) -> Callable[[str], None]:
    say: Callable[[str], None] = ctx.meta.get(SAY, _say)
    return say


def _say(text: str) -> None:
    notes.print(text, markup=False, soft_wrap=True)
