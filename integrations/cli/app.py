"""The subcommand `app`: FiftyOne's App on an audited dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from integrations.cli.first_line import FirstLine
from integrations.cli.result_place import dataset_of
from integrations.cli.root import cli, quieten_fiftyone
from integrations.fiftyone.database import connect


@cli.command(name="app")
def open_dataset(
    ctx: typer.Context,
    dataset: Annotated[
        str, typer.Argument(help="Name of the FiftyOne dataset, or the result folder of its audit.", metavar="DATASET")
    ],
    port: Annotated[int, typer.Option(help="Port of the App.")] = 5151,
    address: Annotated[
        str, typer.Option(help="Address of the App. Whoever can reach it can read any file that you can.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Open the FiftyOne App on the flagged samples of a dataset. Ctrl+C ends it."""
    begin = FirstLine(f"starting the App on {dataset!r}")
    dataset = dataset_of(dataset)
    begin()
    ctx.obj.release()
    quieten_fiftyone()
    connect()
    from integrations.fiftyone.app import open_app
    from integrations.fiftyone.plugin_install import install_plugin

    install_plugin()
    open_app(
        dataset,
        address=address,
        port=port,
        browser=browser,
        ready=lambda url: print(f"FiftyOne App: {url}", flush=True),
    )
