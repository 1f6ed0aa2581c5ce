"""Opening the FiftyOne App on a dataset, with what an audit flagged in front."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable
from urllib.parse import quote

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.core.utils import to_slug

from audit.errors import InputError
from integrations.fiftyone.appearance import FLAGGED
from integrations.fiftyone.plugin_install import PANEL
from integrations.fiftyone.read import load_collection
from integrations.fiftyone.runs import METHOD


def open_app(
    dataset_name: str,
    address: str = "127.0.0.1",
    port: int = 5151,
    browser: bool = True,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve the App until interrupted (Ctrl+C), open on the flagged samples of the dataset's newest audit.

    The panel 'Label audit' is beside the grid. In a dataset without an audit it opens the form of one.

    The App serves any file that this user can read to whoever reaches the address: leave it on this machine.

    Args:
        dataset_name: the FiftyOne dataset.
        address: where to listen.
        port: where to listen; the next free one where this one is taken.
        browser: whether to open a browser window too.
        ready: told the App's address once it can be opened.

    Raises:
        InputError: if there is no such dataset, or no free port at the address.
    """
    view = opening_view(dataset_name)
    # A server that already listens there may serve another database: FiftyOne would join it without asking.
    free = _free_port(address, port)
    # Always told the address: without one FiftyOne listens to the whole network when it runs in a container.
    chatter = logging.getLogger("fiftyone")
    level = chatter.level
    # Otherwise the server reads and registers every plugin anew at each request, twice: 0.1 s of CPU time a decision.
    os.environ.setdefault("FIFTYONE_PLUGINS_CACHE_ENABLED", "true")
    chatter.setLevel(logging.WARNING)  # how to tunnel to another machine, and that a session was launched
    session = fo.launch_app(view, spaces=side_by_side(), address=address, port=free, remote=not browser)
    chatter.setLevel(level)
    try:
        ready(f"http://{address}:{free}/{page_of(view)}")
        session.wait(-1)  # until interrupted
    except KeyboardInterrupt:
        pass
    finally:
        session.close()


def opening_view(dataset_name: str) -> SampleCollection:
    """What the App opens on: the flagged samples of the newest audit, or the whole dataset where there is none."""
    dataset = load_collection(dataset_name)
    keys = dataset.list_runs(method=METHOD)
    if keys:
        newest = max(keys, key=lambda key: dataset.get_run_info(key).timestamp)
        flagged = FLAGGED.name(newest)
        if dataset.has_saved_view(flagged):
            return dataset.load_saved_view(flagged)
    return dataset


def page_of(view: SampleCollection) -> str:
    """Where the App shows a dataset or a saved view of it; a dataset has a name, too, which is no view's."""
    dataset_name = view._dataset.name
    saved = view.name if isinstance(view, fo.DatasetView) else None
    return f"datasets/{quote(dataset_name, safe='')}" + (f"?view={to_slug(saved)}" if saved else "")


def side_by_side() -> fo.Space:
    """The grid, and the panel 'Label audit' beside it."""
    panels = fo.Panel(type="Samples", pinned=True), fo.Panel(type=PANEL)
    sides = [fo.Space(children=[panel], active_child=panel.component_id) for panel in panels]
    return fo.Space(children=sides, orientation="horizontal")


def _free_port(address: str, port: int, tried: int = 20) -> int:
    for candidate in range(port, port + tried):
        with socket.socket() as probe:
            # As servers do: a port that a closed server's last connections still linger on is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, candidate))
            except (OSError, OverflowError) as error:
                if getattr(error, "errno", None) == errno.EADDRINUSE:
                    continue
                raise InputError(
                    f"the App cannot listen at {address}:{candidate} ({error}); give another --address or --port"
                ) from None
            return candidate
    raise InputError(
        f"ports {port} to {port + tried - 1} at {address} are taken; give another --port, or close other Apps"
    )
