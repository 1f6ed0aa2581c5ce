"""How all pages of the report format numbers and phrases."""

from __future__ import annotations

import math
from collections.abc import Callable

MINUS = "−"

Mark = Callable[[str, str], str]
"""Marks a number that depends on the threshold: takes its name and its text. The page then updates it."""


def unmarked(name: str, text: str) -> str:
    """A `Mark` for texts whose numbers do not change: returns the text."""
    return text


def count(value: float | None) -> str:
    """A whole number with commas: 12,345."""
    return "–" if value is None else f"{round(value):,}"


def share(value: float | None) -> str:
    """A share as a percentage: 94.3%."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f}%"


def decimal(value: float | None) -> str:
    """A measure in [0, 1] or a loss, to three decimals."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def threshold(value: float) -> str:
    """A threshold on the suspicion, with enough decimals to differ from 0 and 1."""
    decimals = next((n for n in range(2, 6) if 0 < round(value, n) < 1), 2)
    return f"{value:.{decimals}f}"


def sentence(text: str) -> str:
    """Turn a phrase of the result into a sentence."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


def signed(value: float | None) -> str:
    """An influence with its sign, to three significant digits."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+#.3g}".rstrip(".")
    return text.replace("-", MINUS)


def count_samples(number: int) -> str:
    """'1 sample' or '12,345 samples'."""
    return f"{count(number)} sample{'' if number == 1 else 's'}"


def count_decisions(number: int) -> str:
    """'1 decision' or '12,345 decisions'."""
    return f"{count(number)} decision{'' if number == 1 else 's'}"


def count_suggestions(number: int) -> str:
    """'1 suggestion' or '12,345 suggestions'."""
    return f"{count(number)} suggestion{'' if number == 1 else 's'}"


def count_flags(number: int) -> str:
    """'1 flag' or '12,345 flags'."""
    return f"{count(number)} flag{'' if number == 1 else 's'}"
