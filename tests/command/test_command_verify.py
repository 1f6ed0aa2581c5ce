"""`influence-audit verify`: drawn pictures are written as a sheet and a table, and decisions are read back."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audit import AuditConfig, AuditResult, audit_images
from tests.command.forked_command import forked_command
from tests.explained_digits import digit_files
from tests.one_line import error_line

SHEET, TABLE = "verification.html", "verification.csv"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of an audit of ninety digits, a tenth of them with injected mislabels."""
    folder = tmp_path_factory.mktemp("verify")
    config = AuditConfig(weights="bundled", device="cpu", inject=0.1, cache_dir=str(folder / "cache"))
    return audit_images(digit_files(folder), config).save(folder / "result")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(saved, tmp_path / "result"))


def filled_in(folder: Path) -> pd.DataFrame:
    """The table of a folder with decisions by what was injected, as text."""
    table = pd.read_csv(folder / TABLE, dtype=str, keep_default_na=False)
    scores = AuditResult.load(folder).scores.loc[table["id"]]
    injected = scores["injected"].to_numpy()
    table["decision"] = np.where(injected, "wrong", "right")
    table["true_label"] = np.where(injected, scores["original_label"], "")
    return table


def test_the_way_through_and_back(folder: Path) -> None:
    home = folder.parent
    drawn = forked_command("verify", "result", "--size", "30", cwd=home)
    assert drawn.returncode == 0, drawn.stderr
    assert "30 pictures are drawn" in drawn.stdout
    table = pd.read_csv(folder / TABLE, dtype=str, keep_default_na=False)
    assert list(table) == ["id", "order", "file", "label", "decision", "true_label", "seed", "audit"]
    assert (table["decision"] == "").all()
    assert all(Path(file).is_file() for file in table["file"])
    page = re.sub("<style>.*?</style>", "", (folder / SHEET).read_text(encoding="utf-8"), flags=re.DOTALL)
    for text in (page, (folder / TABLE).read_text(encoding="utf-8")):
        assert not any(word in text.lower() for word in ("suspicion", "suggest", "stratum", "flag", "weight"))

    before = AuditResult.load(folder)
    filled_in(folder).to_csv(folder / TABLE, index=False)
    done = forked_command("verify", "result", "--classes", cwd=home, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    after = AuditResult.load(folder)
    part = after.summary.verified
    assert part is not None
    assert part.decided == 30
    wrong = int(after.scores["injected"].sum())
    assert part.mistakes.low <= wrong <= part.mistakes.high
    assert f"({round(part.mistakes.low)} to {round(part.mistakes.high)}) of 90" in done.stdout
    assert "30 drawn samples" in done.stdout
    assert "30 decisions say that" in " ".join(done.stdout.split())
    assert "Wrong labels by class" in done.stdout
    assert (folder / "report.html").is_file()
    assert (folder / "summary.md").is_file()
    assert after.scores["decision"].notna().sum() == 30

    larger = forked_command("verify", "result", "--size", "45", cwd=home)
    assert larger.returncode == 0, larger.stderr
    assert "45 pictures are drawn, 30 of them decided" in larger.stdout
    again = pd.read_csv(folder / TABLE, dtype=str, keep_default_na=False)
    assert (again["decision"][:30] == filled_in(folder)["decision"][:30]).all()
    assert (again["decision"][30:] == "").all()

    undone = forked_command("verify", "result", "--reset", "--json", cwd=home)
    assert undone.returncode == 0, undone.stderr
    assert json.loads(undone.stdout) is None
    restored = AuditResult.load(folder)
    assert restored.summary == before.summary
    pd.testing.assert_frame_equal(restored.scores, before.scores)


def test_half_filled_sheets_say_what_is_open_and_other_decisions_are_kept(folder: Path) -> None:
    home = folder.parent
    assert forked_command("verify", "result", "--size", "20", cwd=home).returncode == 0
    table = filled_in(folder)
    table.to_csv(folder / TABLE, index=False)
    table.loc[15:, ["decision", "true_label"]] = ""
    table.loc[2, ["decision", "true_label"]] = ""
    table.to_csv(home / "half.csv", index=False)
    done = forked_command("verify", "result", "--decisions", "half.csv", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["decided"] == 14
    assert "Of 20 drawn pictures, 6 are open." in done.stderr
    assert "Of the open pictures, 1 come before decided ones." in done.stderr
    assert "verification.earlier.csv" in done.stderr
    kept = pd.read_csv(folder / "verification.earlier.csv", dtype=str, keep_default_na=False)
    assert (kept["decision"] != "").all()
    seeded = forked_command("verify", "result", "--seed", "3", cwd=home)
    assert seeded.returncode == 2
    assert "another seed" in error_line(seeded.stderr)


def test_a_picture_that_is_gone_is_said_and_a_sheet_of_another_audit_set_aside(folder: Path, saved: Path) -> None:
    home = folder.parent
    result = AuditResult.load(folder)
    result.scores["filepath"] = [str(home / Path(path).name) for path in result.scores["filepath"]]
    result.thumbnails = result.thumbnails[:0]
    result.save(folder)
    assert forked_command("verify", "result", "--size", "5", cwd=home).returncode == 0
    assert (folder / SHEET).read_text(encoding="utf-8").count("The picture cannot be read (No such file") == 5
    result.scores["suspicion"] = result.scores["suspicion"] * 0.9
    result.save(folder)
    again = forked_command("verify", "result", "--size", "5", cwd=home)
    assert again.returncode == 0, again.stderr
    assert "verification.earlier.csv" in again.stderr
