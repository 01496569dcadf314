"""PDF into plain text, through PDFium in a process of its own.

PDFium reads quickly and forgives much, but it is a library in C++: what is made to break it takes the
whole process along, and a file of 2 MB can be made to unpack to gigabytes. So it runs in a process that
has a limit of memory and of time and is replaced when it ends; that also keeps threads apart, of which
PDFium allows one.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import re
import struct
import subprocess
import sys
import threading
from importlib.util import find_spec
from typing import IO, Any

from ingest.documents.options import in_mebibytes, too_large
from ingest.documents.plain import Content
from retriever.errors import SourceError

if find_spec("pypdfium2") is None:
    raise SourceError(
        "PDF: expected the package pypdfium2, got no such package. "
        'Install it with: pip install "tandem-rag[documents]"'
    )

_MOST_SECONDS = 120.0
_MEMORY = 1 << 30
"""What the other process may take beside eight times the size of the file."""

_MOST_PAGES = 100_000
_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD of PDFium
_REQUEST = struct.Struct(">QQQ")
"""How many bytes follow, how much text may come of them, and how much memory it may take."""

_ANSWER = struct.Struct(">Q")

_HYPHEN = re.compile("[\\x02\\ufffe]\\s*")
"""What PDFium writes for the hyphen of a word that goes on in the next line."""

_SPACES = re.compile(r"[ \t\xa0]+\n")


def pdf_content(data: bytes, *, max_bytes: int) -> Content:
    """Return the text of a PDF, its title, and the number of its ``pages`` as metadata.

    Lines end as they do on the page, words that were hyphenated over two lines are whole, and pages are
    separated by empty lines.

    Raises
    ------
    SourceError
        With the reason, if it is broken, encrypted, without text (a scan), or unpacks to too much.
    """
    answer = _READER.ask(data, max_bytes)
    if "reason" in answer:
        raise SourceError(str(answer["reason"]))
    text = "\n\n".join(filter(None, map(_tidy, answer["texts"])))
    if not text:
        raise SourceError(
            f"no text layer: expected text, got {answer['pages']} pages without any, as from a scanner; run "
            "an OCR program over it, or leave it out"
        )
    title = " ".join(answer["title"].replace("\0", "").split())
    return Content(text=text, title=title or None, metadata={"pages": answer["pages"]})


def _tidy(text: str) -> str:
    """Return the text of a page without what stands for something else; zero characters stand for nothing."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return _SPACES.sub("\n", _HYPHEN.sub("", lines)).strip()


class _Reader:
    """The other process, started when it is needed and kept for the next file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, data: bytes, max_bytes: int) -> dict[str, Any]:
        with self._lock:
            process = self._running()
            timer = threading.Timer(_MOST_SECONDS, process.kill)
            timer.start()
            try:
                return _exchange(process, data, max_bytes)
            except (OSError, EOFError, ValueError) as error:
                slow = not timer.is_alive()
                self._stop()
                found = f"more than {_MOST_SECONDS:.0f} s" if slow else f"the end of PDFium ({error})"
                raise SourceError(
                    f"broken PDF: expected one that can be read in {in_mebibytes(_MEMORY)} of memory and "
                    f"{_MOST_SECONDS:.0f} s, got {found}; print it to a new PDF, or leave it out"
                ) from error
            except BaseException:  # an interruption leaves half an answer in the pipe
                self._stop()
                raise
            finally:
                timer.cancel()

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from ingest.documents.pdf import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not sent cannot be
                    pipe.close()
        process.wait()


_READER = _Reader()
atexit.register(_READER.close)


def _exchange(process: subprocess.Popen[bytes], data: bytes, max_bytes: int) -> dict[str, Any]:
    if process.stdin is None or process.stdout is None:
        raise EOFError
    process.stdin.write(_REQUEST.pack(len(data), max_bytes, _MEMORY + 8 * len(data)))
    process.stdin.write(data)
    process.stdin.flush()
    (length,) = _ANSWER.unpack(_exactly(process.stdout, _ANSWER.size))
    answer: dict[str, Any] = json.loads(_exactly(process.stdout, length))
    return answer


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError("out of memory, or crashed")
    return data


def serve() -> None:
    """Answer on standard output what comes on standard input, until it ends: the other process."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM):  # a whole group of processes may get them
        signal.signal(number, signal.SIG_IGN)  # it ends with its parent
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while head := requests.read(_REQUEST.size):
        size, max_bytes, memory = _REQUEST.unpack(head)
        _limit_memory(memory)
        answer = json.dumps(_read(requests.read(size), max_bytes)).encode()
        answers.write(_ANSWER.pack(len(answer)) + answer)
        answers.flush()


def _limit_memory(most: int) -> None:
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(ValueError, OSError):  # a lower limit of the system stays
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _read(data: bytes, max_bytes: int) -> dict[str, Any]:
    """Return the texts of the pages, or the reason why not."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        return {"reason": _why_not_opened(error)}
    try:
        pages = len(document)
        if pages > _MOST_PAGES:
            return {"reason": f"too long: expected at most {_MOST_PAGES:,} pages, got {pages:,}; split it"}
        texts, left = [], max_bytes
        for number in range(pages):
            texts.append(_page_text(document, number))
            left -= len(texts[-1])
            if left < 0:
                return {"reason": too_large("more than that of text", max_bytes)}
        title = document.get_metadata_value("Title")
    except pypdfium2.PdfiumError as error:
        return {"reason": f"broken PDF: expected pages that can be read, got: {error}; print it to a new PDF"}
    finally:
        document.close()
    return {"texts": texts, "title": title, "pages": pages}


def _page_text(document: Any, number: int) -> str:
    page = document[number]
    try:
        text_page = page.get_textpage()
        try:
            text: str = text_page.get_text_bounded()
        finally:
            text_page.close()
    finally:
        page.close()
    return text


def _why_not_opened(error: Any) -> str:
    if getattr(error, "err_code", None) == _PASSWORD_ERROR:
        return "encrypted: expected a PDF that opens without a password; save it without one"
    return f"broken PDF: expected one that PDFium can open, got: {error}; print it to a new PDF"
