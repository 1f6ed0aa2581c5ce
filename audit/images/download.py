"""Whether weights can be downloaded, found out within seconds."""

from __future__ import annotations

import threading
import urllib.request


def answers(url: str, seconds: float = 4.0) -> bool:
    """Whether a URL answers within this time; in a thread, because looking up a name cannot be timed out."""
    answered = threading.Event()
    finished = threading.Event()
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310  # https addresses that packages name

    def ask() -> None:
        try:
            with urllib.request.urlopen(request, timeout=seconds):  # noqa: S310
                answered.set()
        except OSError:
            pass
        finally:
            finished.set()

    threading.Thread(target=ask, daemon=True).start()
    finished.wait(seconds)
    return answered.is_set()
