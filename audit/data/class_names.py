"""Doubtful class names: several that are probably one class, and names that read like a missing label."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_LIKE_MISSING = ("nan", "none", "null", "n/a", "na", "<na>", "unknown", "undefined")

_LETTERS_THAT_LOOK_LATIN = str.maketrans(
    {
        **dict(zip("АВЕЅІЈКМНОРСТУХаеорсухіјѕһԁԛԝ", "ABESIJKMHOPCTYXaeopcyxijshdqw", strict=True)),  # Cyrillic
        **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧορν", "ABEZHIKMNOPTYXopv", strict=True)),  # Greek
        **dict.fromkeys("‐‑‒–—−", "-"),
        **dict.fromkeys("‘’ʼ′", "'"),
    }
)


def doubtful_names(names: Iterable[str]) -> list[str]:
    """A sentence for each group of names that are probably one class, and for each that reads like a missing label.

    Names are one class where they differ in case, white space, Unicode form, invisible characters, or letters of
    another script that look Latin. Where the names of a group are printed alike, their code points are given.

    Args:
        names: the class names, each once.
    """
    names = sorted(names)
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_folded(name), []).append(name)
    return [
        *(f"{' and '.join(told_apart(group))} are probably one class" for group in alike.values() if len(group) > 1),
        *(f"{name!r} reads like a missing label" for name in names if name.strip().lower() in _LIKE_MISSING),
    ]


def told_apart(names: list[str]) -> list[str]:
    """The names in quotes, with the code points that differ where two of them are printed alike."""
    printed = [_as_printed(name) for name in names]
    return [
        f"{name!r} ({_code_points(name, names)})" if printed.count(look) > 1 else repr(name)
        for name, look in zip(names, printed, strict=True)
    ]


def _folded(name: str) -> str:
    """A name without the differences that do not make another class."""
    visible = "".join(letter for letter in unicodedata.normalize("NFKC", name) if not _is_invisible(letter))
    plain = visible.translate(_LETTERS_THAT_LOOK_LATIN).casefold()
    return re.sub(r"[\s_-]+", " ", plain).strip()


def _as_printed(name: str) -> str:
    """How a name looks when printed: equal for names that a reader cannot tell apart."""
    return unicodedata.normalize("NFC", repr(name)).translate(_LETTERS_THAT_LOOK_LATIN)


def _is_invisible(letter: str) -> bool:
    return (unicodedata.category(letter) in ("Cf", "Cc") and not letter.isspace()) or "\ufe00" <= letter <= "\ufe0f"


def _code_points(name: str, names: list[str], most: int = 6) -> str:
    """The code points of a name that some other name lacks; all of them if only their order differs."""
    common = set.intersection(*map(set, names))
    own = [letter for letter in dict.fromkeys(name) if letter not in common] or list(name)
    shown = " ".join(f"U+{ord(letter):04X}" for letter in own[:most])
    return shown + (" ..." if len(own) > most else "")
