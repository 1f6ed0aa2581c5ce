"""Pillow's warnings while it decodes an image, kept for a message that names the image.

Pillow reports damage that it can tolerate (incomplete EXIF data, a truncated file) as Python warnings. These name a
line of Pillow, not the image, and are printed once per process. `listening` collects them for each thread.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

_MODULES = r"PIL\."
_HARMLESS = ("DecompressionBombWarning", "DeprecationWarning", "PendingDeprecationWarning", "ResourceWarning")
"""Kinds of warnings that do not concern an image that was read; MOST_PIXELS is checked elsewhere."""

_own = threading.local()
_lock = threading.Lock()


@dataclass
class _Listening:
    """How many callers listen, and what the first of them changed in Python's `warnings`."""

    callers: int = 0
    show_before: Any = None
    filter_added: Any = None


_listening = _Listening()


def begin() -> None:
    """Forget the warnings about the last image: this thread now decodes another."""
    _own.heard = []


def heard() -> list[str]:
    """Pillow's warnings about the image that this thread decoded last, one line each, without repetitions."""
    return list(dict.fromkeys(getattr(_own, "heard", [])))


@contextmanager
def listening() -> Iterator[None]:
    """Collect Pillow's warnings for `heard` in all threads, until the last caller leaves."""
    _start()
    try:
        yield
    finally:
        _stop()


def _start() -> None:
    with _lock:
        _listening.callers += 1
        if _listening.callers == 1:
            _listening.show_before = warnings.showwarning
            warnings.filterwarnings("always", module=_MODULES)
            _listening.filter_added = warnings.filters[0]
            warnings.showwarning = _hear  # type: ignore[assignment]


def _stop() -> None:
    with _lock:
        _listening.callers -= 1
        if not _listening.callers:
            warnings.showwarning = _listening.show_before
            with suppress(ValueError):  # somebody else has set all filters anew meanwhile
                warnings.filters.remove(_listening.filter_added)  # type: ignore[attr-defined]


def _hear(message: Any, category: type[Warning], filename: str, lineno: int, *rest: Any) -> None:
    if "PIL" not in filename.replace("\\", "/").split("/"):
        _listening.show_before(message, category, filename, lineno, *rest)
    elif category.__name__ not in _HARMLESS:
        text = " ".join(str(message).split()).rstrip(". ")
        _own.heard = [*getattr(_own, "heard", []), text]
