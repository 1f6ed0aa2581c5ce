"""`influence-audit verify`: drawn pictures are written as a sheet and a table, and decisions are read back."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audit import AuditConfig, AuditResult, audit_images
from tests.command.forked_command import forked_command
from tests.explained_digits import digit_files

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


def test_the_way_through(folder: Path) -> None:
    home = folder.parent
    drawn = forked_command("verify", "result", "--size", "30", cwd=home)
    assert drawn.returncode == 0, drawn.stderr
    assert "30 pictures are drawn" in drawn.stdout
    table = pd.read_csv(folder / TABLE, dtype=str, keep_default_na=False)
    assert list(table) == ["id", "order", "file", "label", "decision", "true_label", "seed", "audit"]
    assert (table["decision"] == "").all()
    assert all(Path(file).is_file() for file in table["file"])
    for text in ((folder / SHEET).read_text(encoding="utf-8"), (folder / TABLE).read_text(encoding="utf-8")):
        assert not any(word in text.lower() for word in ("suspicion", "suggested", "stratum", "flagged", "weight"))

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
    filled_in(folder).to_csv(home / "elsewhere.csv", index=False)
    printed = forked_command("verify", "result", "--decisions", "elsewhere.csv", "--json", cwd=home)
    assert printed.returncode == 0, printed.stderr
    assert json.loads(printed.stdout)["decided"] == 45

    undone = forked_command("verify", "result", "--reset", "--json", cwd=home)
    assert undone.returncode == 0, undone.stderr
    assert json.loads(undone.stdout) is None
    restored = AuditResult.load(folder)
    assert restored.summary == before.summary
    pd.testing.assert_frame_equal(restored.scores, before.scores)
    twice = forked_command("verify", "result", "--reset", cwd=home)
    assert twice.returncode == 2
    assert "nothing to reset" in twice.stderr
    reapplied = forked_command("verify", "result", cwd=home)
    assert reapplied.returncode == 0, reapplied.stderr
    assert AuditResult.load(folder).summary.verified is not None


def saved_by_a_spreadsheet(table: pd.DataFrame, kind: str) -> bytes:
    """The table as spreadsheets save it."""
    text = io.StringIO()
    if kind == "semicolons and a mark":
        table.to_csv(text, index=False, sep=";")
        return b"\xef\xbb\xbf" + text.getvalue().replace("\n", "\r\n").encode()
    if kind == "tabs in UTF-16":
        table.to_csv(text, index=False, sep="\t")
        return text.getvalue().encode("utf-16")
    if kind == "a line for Excel, and empty rows":
        table.to_csv(text, index=False, sep=";")
        return f"sep=;\n{text.getvalue()};;;;;;;\n\n".encode()
    if kind == "capitals, spaces, other columns":
        table = table.assign(decision=[f" {word.title()} " for word in table["decision"]], remark="über")
        table.columns = [name.upper() for name in table]
        table.to_csv(text, index=False)
        return text.getvalue().encode("cp1252")
    table[["id", "order", "decision"]].sort_values("id").to_csv(text, index=False)
    return text.getvalue().encode()


@pytest.mark.parametrize(
    "kind",
    [
        "semicolons and a mark",
        "tabs in UTF-16",
        "a line for Excel, and empty rows",
        "capitals, spaces, other columns",
        "three columns, sorted",
    ],
)
def test_what_a_spreadsheet_saves_is_read(folder: Path, kind: str) -> None:
    from integrations.cli.verify import _given_decisions

    forked = forked_command("verify", "result", "--size", "20", cwd=folder.parent)
    assert forked.returncode == 0, forked.stderr
    table = filled_in(folder)
    path = folder.parent / "saved.csv"
    path.write_bytes(saved_by_a_spreadsheet(table, kind))
    read = _given_decisions(AuditResult.load(folder), str(path))
    expected = table.set_index("id")
    assert [word.strip().lower() for word in read["decision"][expected.index]] == expected["decision"].tolist()
    assert read["order"][expected.index].tolist() == list(range(20))


@pytest.fixture(scope="module")
def drawn(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose sheet is drawn and filled in."""
    home = tmp_path_factory.mktemp("drawn")
    copy = Path(shutil.copytree(saved, home / "result"))
    done = forked_command("verify", "result", "--size", "20", cwd=home)
    assert done.returncode == 0, done.stderr
    return copy


def change(table: pd.DataFrame, column: str, value: str, row: int = 3) -> pd.DataFrame:
    changed = table.copy()
    changed.loc[row, column] = value
    return changed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda table: change(table, "id", "nowhere"), "'nowhere'"),
        (lambda table: change(table, "decision", "maybe"), "it takes one of wrong, right, unsure"),
        (lambda table: change(table, "order", "third"), "'third'"),
        (lambda table: change(table, "id", ""), "without an id"),
        (lambda table: change(table, "audit", "audit-0123456789abcdef"), "another audit"),
        (lambda table: table.assign(decision=""), "no sample is decided yet"),
        (lambda table: table.assign(decision="unsure"), "no drawn sample is decided"),
        (lambda table: table.assign(order=""), "no drawn sample is decided"),
        (lambda table: table.drop(columns="order"), "no drawn sample is decided"),
        (lambda table: pd.concat([table, table[:1]]), "more than one decision"),
        (lambda table: table[:0], "no sample is decided yet"),
        (lambda table: table.drop(columns="decision"), "no column 'decision'"),
        (lambda table: table.drop(columns="audit").assign(label="another"), "another audit"),
        (lambda table: b"", "no CSV file"),
        (lambda table: b"PK\x03\x04workbook", "no CSV file"),
        (lambda table: b'id,decision\n"open', "no CSV file"),
        (lambda table: b"\x89PNG\x00\x00", "no CSV file"),
    ],
)
def test_mistakes_are_told_in_a_line(drawn: Path, tmp_path: Path, content, message: str) -> None:
    made = content(filled_in(drawn))
    path = tmp_path / "given.csv"
    path.write_bytes(made if isinstance(made, bytes) else made.to_csv(index=False).encode())
    before = (drawn / "summary.json").read_bytes()
    done = forked_command("verify", drawn, "--decisions", path, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert message in done.stderr
    assert (drawn / "summary.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--decisions", "nowhere.csv"), "cannot be read"),
        (("--decisions", "."), "cannot be read"),
        (("--decisions", "a.csv", "--reset"), "exclude each other"),
        (("--decisions", "a.csv", "--size", "3"), "leave them out"),
        (("--fiftyone",), "names no FiftyOne dataset"),
        (("--size", "0"), "--size"),
        (("--reset",), "nothing to reset"),
    ],
)
def test_options_that_do_not_fit_are_told_in_a_line(
    drawn: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = forked_command("verify", drawn, *arguments, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert message in done.stderr


def test_half_filled_sheets_say_what_is_open_and_other_decisions_are_kept(folder: Path) -> None:
    home = folder.parent
    assert forked_command("verify", "result", "--size", "20", cwd=home).returncode == 0
    table = filled_in(folder)
    table.to_csv(folder / TABLE, index=False)
    table.loc[15:, ["decision", "true_label"]] = ""
    table.loc[2, ["decision", "true_label"]] = ""
    table.to_csv(home / "half.csv", index=False)
    done = forked_command("verify", "result", "--decisions", "half.csv", cwd=home)
    assert done.returncode == 0, done.stderr
    assert "Of 20 drawn pictures, 6 are open." in done.stdout
    assert "Of the open pictures, 1 come before decided ones." in done.stdout
    assert "verification.earlier.csv" in done.stderr
    kept = pd.read_csv(folder / "verification.earlier.csv", dtype=str, keep_default_na=False)
    assert (kept["decision"] != "").all()
    seeded = forked_command("verify", "result", "--seed", "3", cwd=home)
    assert seeded.returncode == 2
    assert "another seed" in seeded.stderr


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
