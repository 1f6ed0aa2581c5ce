"""The database that FiftyOne uses is named, and a warning says where it is not the one that the settings name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import ROOT

FIRST = """
import sys
from integrations.fiftyone.database import connect
from integrations.fiftyone.used_database import used_database
connect()
used = used_database()
print(used.folder, used.text, used.warning, sep="|", flush=True)
sys.stdin.readline()
"""


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "FIFTYONE_DATABASE_URI"}
    return kept | {
        "FIFTYONE_DATABASE_DIR": str(folder),
        "FIFTYONE_DATABASE_VALIDATION": "false",
        "PYTHONPATH": str(ROOT),
    }


def test_a_database_of_another_folder_that_fiftyone_joins_is_named(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", FIRST]
    with subprocess.Popen(
        arguments, env=_environment(tmp_path / "one"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holding:
        assert holding.stdout is not None
        folder, text, _ = holding.stdout.readline().strip().split("|")
        assert folder in text
        second = subprocess.run(
            arguments, env=_environment(tmp_path / "two"), input="\n", capture_output=True, text=True, check=True
        )
        joined, text, warning = second.stdout.strip().split("|")
        assert joined != str(tmp_path / "two")
        assert joined in text
        assert f"its data in {joined!r}, and does not use {str(tmp_path / 'two')!r} (FIFTYONE_DATABASE_DIR)" in warning
        assert "set FIFTYONE_DATABASE_URI" in warning
        holding.communicate("\n")
