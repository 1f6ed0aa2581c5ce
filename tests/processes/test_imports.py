"""What a fresh process imports, and what it does without."""

from __future__ import annotations

import subprocess
import sys

from tests import ROOT


def test_importing_the_audit_is_cheap_and_brings_nothing_from_above() -> None:
    code = (
        "import sys, audit; cheap = 'torch' not in sys.modules and 'pandas' not in sys.modules\n"
        "import audit.pipeline\n"
        "above = {'fiftyone', 'datasets', 'plotly', 'dask', 'pydvl', 'integrations', 'reports'} & set(sys.modules)\n"
        "print(cheap, sorted(above))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True []"


def test_the_files_of_the_quick_tests_can_be_read_without_fiftyone() -> None:
    code = (
        "import sys, pytest; sys.modules['fiftyone'] = None  # so that its import fails\n"
        "sys.exit(pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider', 'tests/unit']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout
