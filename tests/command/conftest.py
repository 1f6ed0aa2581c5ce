"""The tests of this folder use FiftyOne: its database is started before they are read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import SESSION
from tests.mongod import start_session_database
from tests.new_datasets import deleted_afterwards

start_session_database(str(SESSION / "mongod"))


@pytest.fixture(scope="module")
def no_dataset_stays() -> Iterator[None]:
    """The command's datasets are deleted after the tests of a file."""
    with deleted_afterwards():
        yield
