"""What the plugin does to the App's server process."""

from __future__ import annotations

import gc
import os
from functools import cache


@cache
def shorten_pauses() -> None:
    """Once in the App's server process, tell Python's garbage collector that what is imported by now stays.

    It would go through all of that again at every full collection, 150 to 250 ms in the midst of a request. Processes
    that are not the App's server are left as they are.
    """
    if os.environ.get("FIFTYONE_SERVER"):
        gc.collect()
        gc.freeze()
