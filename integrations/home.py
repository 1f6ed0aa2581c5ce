"""The folder for what the product keeps of the user's: copies of images, and results of audits that the App started."""

from __future__ import annotations

import os
from pathlib import Path

HOME_VARIABLE = "INFLUENCE_AUDIT_HOME"


def home_folder() -> Path:
    """INFLUENCE_AUDIT_HOME, or the product's folder among the user's data."""
    import platformdirs

    home = os.environ.get(HOME_VARIABLE) or platformdirs.user_data_dir("influence-audit", appauthor=False)
    return Path(home).expanduser().absolute()
