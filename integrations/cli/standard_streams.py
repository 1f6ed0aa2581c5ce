"""Standard output and error that take any text, in any encoding, and whose reader may have gone.

What an encoding lacks is written in plain characters (≈ as ~, box drawing as - and |), or else as an escape such as
\\u30c6. A reader that closes its end of the pipe, as `head` does, ends the output and not the work.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import sys
from typing import Any, TextIO

PLAIN = "plain"
"""The name of our way to write what an encoding lacks, for Python's codecs."""

_PLAIN = {
    **dict.fromkeys("≈∼", "~"),
    **dict.fromkeys("–—−‑‐", "-"),
    **dict.fromkeys("“”„«»", '"'),
    **dict.fromkeys("‘’‚", "'"),
    **dict.fromkeys("•·●∙", "*"),
    **dict.fromkeys("─━╌╍═╸╺╴╶", "-"),
    **dict.fromkeys("│┃║╷╵", "|"),
    **dict.fromkeys("\u2066\u2067\u2068\u2069\u200b\u200e\u200f\ufeff", ""),
    **dict.fromkeys("\u00a0\u2009\u202f\u2007", " "),
    **{"≥": ">=", "≤": "<=", "→": "->", "←": "<-", "…": "...", "×": "x", "✓": "+", "✗": "!", "²": "2", "ᵀ": "T"},
    **{"±": "+-", "§": "section ", "°": " degrees"},
}


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if (known := _PLAIN.get(character)) is not None:
        return known
    code = ord(character)
    if 0x2500 <= code <= 0x259F:  # corners of boxes, and bars
        return "+"
    if 0x2800 <= code <= 0x28FF:  # what turns while something is done
        return "*"
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("ascii", "backslashreplace").decode("ascii")


class _Stream(io.TextIOWrapper):
    """A text stream that goes on in silence once its reader has gone."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self._go_on_in_silence()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._go_on_in_silence()

    def write_bytes(self, content: bytes) -> None:
        """Write bytes as they are, after the text before them."""
        self.flush()
        try:
            self.buffer.write(content)
            self.buffer.flush()
        except BrokenPipeError:
            self._go_on_in_silence()

    def _go_on_in_silence(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def prepare() -> None:
    """Make standard output and error such streams; one that is closed goes nowhere."""
    codecs.register_error(PLAIN, _in_plain_characters)
    sys.stdout, sys.stderr = _prepared(sys.stdout), _prepared(sys.stderr)
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc,assignment]


def _prepared(stream: TextIO | None) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    assert isinstance(stream, io.TextIOWrapper)
    encoding, by_line, at_once = stream.encoding, stream.line_buffering, stream.write_through
    return _Stream(stream.detach(), encoding, PLAIN, line_buffering=by_line, write_through=at_once)


def write_bytes(content: bytes) -> None:
    """Write a file's content to standard output."""
    stream: Any = sys.__stdout__
    if isinstance(stream, _Stream):
        stream.write_bytes(content)
    elif hasattr(stream, "buffer"):
        stream.buffer.write(content)


def as_json(value: Any, encoding: str | None) -> str:
    """JSON in characters that an encoding has; others are escaped as JSON has it."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(encoding or "ascii")
    except UnicodeError:
        return json.dumps(value)
    return text


def problem_at_the_end() -> str | None:
    """Write what is still waiting; why that cannot be done (a full disk), or None."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError):  # what is left would be tried again when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return getattr(error, "strerror", None) or str(error)
    return None
