"""The dataset on which audits are made to fail, and what a failure must not leave in the database.

Importing this module starts FiftyOne's database.
"""

from __future__ import annotations

import os

import fiftyone as fo
from fiftyone.core.odm import get_db_conn

from integrations.fiftyone.importing import import_images
from integrations.fiftyone.lock import COLLECTION
from integrations.sources.digits import digits
from integrations.sources.labelled_images import LabelledImages

QUIET = os.environ | {"FIFTYONE_DATABASE_VALIDATION": "false"}  # or FiftyOne's first line is about MongoDB's age


def sixty_digits(name: str) -> fo.Dataset:
    """Sixty digits of three classes, as a dataset of this name."""
    listed = list(digits(["0", "1", "2"]))[:60]
    import_images(LabelledImages("digits", "digits", 60, lambda: iter(listed)), name)
    return fo.load_dataset(name)


def check_nothing_stays() -> None:
    """Whatever went wrong, no lock and no staged scores are left."""
    database = get_db_conn()
    left = [name for name in database.list_collection_names() if name.startswith("influence_audit.staged")]
    assert left == []
    assert database[COLLECTION].count_documents({}) == 0
