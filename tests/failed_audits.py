"""What a failed audit must not leave in the database.

Importing this module starts FiftyOne's database.
"""

from __future__ import annotations

import os

from fiftyone.core.odm import get_db_conn

from integrations.fiftyone.lock import COLLECTION

QUIET = os.environ | {"FIFTYONE_DATABASE_VALIDATION": "false"}  # or FiftyOne's first line is about MongoDB's age


def check_nothing_stays() -> None:
    """Whatever went wrong, no lock and no staged scores are left."""
    database = get_db_conn()
    left = [name for name in database.list_collection_names() if name.startswith("influence_audit.staged")]
    assert left == []
    assert database[COLLECTION].count_documents({}) == 0
