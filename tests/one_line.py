"""What a user is told of a mistake: one line."""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """The message of an error, which is one line and not empty."""
    text = str(error)
    assert text
    assert "\n" not in text
    return text


def error_line(stderr: str) -> str:
    """The only line of a command's standard error that begins with 'error: '."""
    (line,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    return line
