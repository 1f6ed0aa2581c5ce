"""Ctrl+C and SIGTERM end the process within a second, whatever it is doing.

Python runs signal handlers in the main thread, between two of its instructions. KeyboardInterrupt does not get through
while that thread multiplies matrices, waits for threads that do, or runs code that catches every exception. So the C
part of the signal handler wakes a second thread. It gives the main thread a moment to stop cleanly, and then ends the
process. If the signal arrives in a finaliser, Python prints the KeyboardInterrupt with a traceback and goes on; that
traceback is suppressed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_SHOW_CURSOR = "\x1b[?25h\n"


class Interruption:
    """Watches for signals once it is made; the main thread gets a KeyboardInterrupt.

    Args:
        seconds_to_stop: how long the main thread may take to stop cleanly: to remove its temporary files, and to keep
            the embeddings that it has.

    Attributes:
        folders: where this process may be writing; added as they become known. Temporary files there are removed when
            the process is ended.
        page: the index page of several audits, which shows what is done and what is not; None for one audit.
    """

    def __init__(self, seconds_to_stop: float = 0.4) -> None:
        self._seconds_to_stop = seconds_to_stop
        self.folders: set[Path] = set()
        self.page: Path | None = None
        self._signal: int | None = None
        self._ending = threading.Lock()
        self._reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._raise)
        sys.unraisablehook = self._report
        threading.Thread(target=self._watch, name="interruption", daemon=True).start()

    def release(self) -> None:
        """Stop watching, for commands that Ctrl+C ends normally."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.unraisablehook = sys.__unraisablehook__

    def end(self) -> None:
        """After a signal, say in one line how to go on, and end the process: 130 for SIGINT, 143 for SIGTERM.

        The interpreter's orderly shutdown is skipped, since it may take seconds. Processes that FiftyOne started end
        when this one is gone.
        """
        if self._signal is None or not self._ending.acquire(blocking=False):
            return
        word = "terminated" if self._signal == signal.SIGTERM else "interrupted"
        line = f"{word}; run the same command again to go on: embeddings and stages that were finished are kept\n"
        if self.page is not None and self.page.exists():
            line = f"what is done and what is not: {self.page}\n{line}"
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            os.write(2, ((_SHOW_CURSOR if sys.stderr.isatty() else "") + line).encode("utf-8", "surrogateescape"))
        for path in (path for folder in self.folders for path in folder.rglob(f".*.{os.getpid()}.tmp")):
            with contextlib.suppress(OSError):
                path.unlink()
        os._exit(128 + self._signal)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        for other in SIGNALS:  # one signal is enough: the watching thread ends the process
            signal.signal(other, signal.SIG_IGN)
        self._signal = number
        raise KeyboardInterrupt

    def _report(self, unraisable: Any) -> None:
        """Report an exception in a finaliser as Python does, except the one that a signal caused."""
        if self._signal is None or not issubclass(unraisable.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(unraisable)

    def _watch(self) -> None:
        while (number := os.read(self._reading, 1)[0]) not in SIGNALS:
            pass
        self._signal = number
        time.sleep(self._seconds_to_stop)
        self.end()
