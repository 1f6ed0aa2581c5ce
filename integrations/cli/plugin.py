"""The subcommand `plugin`: the plugin of FiftyOne's App."""

from __future__ import annotations

from integrations.cli.root import PlainGroup, Subcommands, cli, quieten_fiftyone

plugin_cli = Subcommands(
    cls=PlainGroup, help="The FiftyOne plugin: operators and the panel 'Label audit'.", no_args_is_help=True
)
cli.add_typer(plugin_cli, name="plugin")


@plugin_cli.command(name="install")
def install() -> None:
    """Make the plugin available to FiftyOne, however the App is started. `influence-audit app` does so too."""
    quieten_fiftyone()
    from integrations.fiftyone.database import require_fiftyone

    require_fiftyone()
    from integrations.fiftyone.plugin_install import PLUGIN, install_plugin

    print(f"{PLUGIN}: {install_plugin(enable=True)}")
