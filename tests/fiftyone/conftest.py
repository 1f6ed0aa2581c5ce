"""The tests of this folder use FiftyOne: its database is started before they are read."""

from __future__ import annotations

from tests.conftest import SESSION
from tests.mongod import start_session_database

start_session_database(str(SESSION / "mongod"))
