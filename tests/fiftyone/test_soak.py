"""Audits in a row in one process leave nothing behind; tests/benchmarks/soak.md has the long run."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.soak import ALLOWED, growth, soak


def test_audits_in_a_row_leave_no_memory_files_processes_or_datasets_behind(tmp_path: Path) -> None:
    results = soak(160, 7, tmp_path)
    assert growth(results) <= ALLOWED
    third, last = results[2], results[-1]
    for name in ("open_files", "threads", "processes", "files", "datasets", "collections"):
        assert getattr(last, name) <= getattr(third, name), name
