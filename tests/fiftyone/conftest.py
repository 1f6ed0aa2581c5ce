"""The tests of this folder use FiftyOne: its database is started before they are read."""

from __future__ import annotations

import pytest

from tests.conftest import SESSION
from tests.mongod import start_session_database

start_session_database(str(SESSION / "mongod"))


@pytest.fixture(scope="module")
def plugin_installed() -> None:
    """The plugin is where FiftyOne looks for plugins, and its operators are known."""
    import fiftyone.operators as foo

    from integrations.fiftyone.plugin_install import install_plugin

    install_plugin()
    foo.OperatorRegistry()
