"""Making the plugin available to FiftyOne: a link from its plugins folder to the one in this package."""

from __future__ import annotations

import shutil
from pathlib import Path

import fiftyone as fo
import fiftyone.plugins as fop

from audit.errors import InputError

PLUGIN = "@influence-audit/influence-audit"
PANEL = "label_audit"
SOURCE = Path(__file__).parent / "plugin"


def install_plugin(enable: bool = False) -> Path:
    """Link the plugin into FiftyOne's plugins folder, or copy it where links cannot be made.

    A link or copy that is there is brought up to date. A plugin of this name that lies elsewhere in that folder, as
    `fiftyone plugins download` puts it, is left as it is.

    Args:
        enable: also enable it where the user has disabled it.

    Returns:
        Where FiftyOne finds it.

    Raises:
        InputError: if the folder cannot be written.
    """
    folder = Path(fo.config.plugins_dir)
    place = folder.joinpath(*PLUGIN.split("/"))
    if enable and PLUGIN in fop.list_disabled_plugins():
        fop.enable_plugin(PLUGIN)
    if PLUGIN in fop.list_downloaded_plugins() and Path(fop.find_plugin(PLUGIN)) != place:
        return Path(fop.find_plugin(PLUGIN))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():
            if place.resolve() == SOURCE.resolve():
                return place
            place.unlink()
        elif place.exists():
            shutil.rmtree(place)
        try:
            place.symlink_to(SOURCE, target_is_directory=True)
        except (OSError, NotImplementedError):  # e.g. Windows without the right to make links
            shutil.copytree(SOURCE, place, ignore=shutil.ignore_patterns("__pycache__"))
    except OSError as error:
        raise InputError(
            f"plugin folder {str(folder)!r} cannot be written ({error.strerror}); "
            "name another with the environment variable FIFTYONE_PLUGINS_DIR"
        ) from None
    return place
