"""Numbers and phrases as every page of the report writes them."""

from __future__ import annotations

import math
from collections.abc import Callable

MINUS = "−"

Mark = Callable[[str, str], str]
"""Marks a number that depends on the threshold: takes its name and its text. The page moves what is marked."""


def unmarked(name: str, text: str) -> str:
    """The number as it stands, where nothing moves it."""
    return text


def count(value: float | None) -> str:
    """A whole number with thousands separators: 12,345."""
    return "–" if value is None else f"{round(value):,}"


def share(value: float | None) -> str:
    """A share as a percentage: 94.3%."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f}%"


def about(value: float | None) -> str:
    """An estimated share: ≈ 94.3%."""
    return "–" if value is None else f"≈ {share(value)}"


def decimal(value: float | None) -> str:
    """A measure in [0, 1] or a loss, to three decimals."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def threshold(value: float) -> str:
    """A threshold on the suspicion, with as many decimals as tell it from 0 and 1."""
    decimals = next((n for n in range(2, 6) if 0 < round(value, n) < 1), 2)
    return f"{value:.{decimals}f}"


def sentence(text: str) -> str:
    """A phrase of the result as a sentence of the page."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


def signed(value: float | None) -> str:
    """An influence with its sign, to three significant digits."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+#.3g}".rstrip(".")
    return text.replace("-", MINUS)


def count_samples(number: int) -> str:
    """How many samples, in words."""
    return f"{count(number)} sample{'' if number == 1 else 's'}"


def count_flags(number: int) -> str:
    """How many flags, in words."""
    return f"{count(number)} flag{'' if number == 1 else 's'}"
