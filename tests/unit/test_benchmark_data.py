"""The benchmarks find the development data where INFLUENCE_AUDIT_DATA says, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.data import VARIABLE, data_folder, data_set


def test_the_variable_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some-set").mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert data_folder() == tmp_path
    assert data_set("some-set") == tmp_path / "some-set"
    with pytest.raises(SystemExit) as error:
        data_set("another-set")
    assert str(error.value) == (
        f"error: {VARIABLE} names {str(tmp_path)!r}, which has no folder 'another-set'; name another"
    )


@pytest.mark.parametrize("named", [None, "", "/nowhere"])
def test_without_it_a_benchmark_ends_with_one_line_that_names_it(
    named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if named is not None:
        monkeypatch.setenv(VARIABLE, named)
    with pytest.raises(SystemExit) as error:
        data_folder()
    assert str(error.value).startswith(f"error: {VARIABLE} ")
    assert "\n" not in str(error.value)
