"""From a table of labels to a report with one command, and to a corrected table with a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fiftyone as fo
import pandas as pd
import pytest

from audit.result import AuditResult
from integrations.fiftyone.review import accept, dismiss, relabel
from integrations.sources.digits import digits
from tests.command.forked_command import forked_command

CLASSES = ("0", "1", "6")
PER_CLASS = 25
NAME = "newcomers-digits"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with images/ and labels.csv: 75 digits with two columns of labels, each with mistakes of its own."""
    root = tmp_path_factory.mktemp("table") / NAME
    (root / "images").mkdir(parents=True)
    rows = []
    for place, label in enumerate(CLASSES):
        for number, image in enumerate(list(digits([label]))[:PER_CLASS]):
            assert isinstance(image.image, bytes)
            (root / "images" / f"{label}-{number}.png").write_bytes(image.image)
            wrong = CLASSES[(place + 1) % 3]
            rows.append((f"{label}-{number}", wrong if number == 0 else label, wrong if number == 1 else label))
    pd.DataFrame(rows, columns=["file", "label", "Second look"]).to_csv(root / "labels.csv", index=False)
    yield root
    fo.delete_dataset(NAME)


def test_a_newcomer_gets_a_report_and_a_corrected_table(root: Path) -> None:
    planned = forked_command("run", ".", "--dry-run", "--weights", "bundled", cwd=root)
    assert "pictures in column 'file', labels in column 'label'" in " ".join(planned.stdout.split()), planned.stderr
    assert NAME not in fo.list_datasets()

    before = (root / "labels.csv").read_bytes()
    audited = forked_command("run", ".", "--weights", "bundled", "-q", cwd=root)
    assert audited.returncode == 0, audited.stderr
    folder = root / "audit-results" / NAME / "audit"
    assert (folder / "report.html").is_file()
    dataset = fo.load_dataset(NAME)
    keys = dict(zip(*dataset.values(["source_id", "id"]), strict=True))
    scores = AuditResult.load(folder).scores
    assert dict(zip(scores["key"], scores.index, strict=True)) == keys

    relabel(dataset, "audit", [keys["0-0"]], "0")
    relabel(dataset, "audit", [keys["1-3"]], "seven")
    dismiss(dataset, "audit", [keys["6-0"]])
    accept(dataset, "audit", [keys["0-0"]])
    applied = forked_command("apply", folder, "-o", "corrected.csv", cwd=root)
    assert applied.returncode == 0, applied.stderr
    assert (root / "labels.csv").read_bytes() == before
    old, new = (pd.read_csv(root / name, dtype=str, index_col="file") for name in ("labels.csv", "corrected.csv"))
    assert old["Second look"].equals(new["Second look"])
    changed = new["label"][old["label"] != new["label"]]
    assert changed.to_dict() == {"0-0": "0", "1-3": "seven"}
    log = pd.read_csv(root / "corrected.log.csv", dtype=str)
    assert log["why"].eq("decided in FiftyOne").all()
    assert log["by"].notna().all()


def test_another_column_keeps_beside_the_first_ones_labels_and_audit(root: Path) -> None:
    first = root / "audit-results" / NAME / "audit"
    dataset = fo.load_dataset(NAME)
    before = (
        dataset.values(["ground_truth.label", "audit_suspicion", "audit_status"]),
        (first / "scores.csv").read_bytes(),
    )
    again = forked_command("run", "labels.csv", "--label-column", "Second look", "--weights", "bundled", cwd=root)
    assert again.returncode == 0, again.stderr
    assert "kept beside it, under the audit key 'audit_second_look'" in again.stderr
    dataset.reload()
    after = (
        dataset.values(["ground_truth.label", "audit_suspicion", "audit_status"]),
        (first / "scores.csv").read_bytes(),
    )
    assert after == before
    assert set(dataset.list_runs()) == {"audit", "audit_second_look"}
    source = AuditResult.load(first.with_name("audit_second_look")).summary.source
    assert source is not None
    assert (source.label_field, source.label_column) == ("second_look", "Second look")
    report = (first.with_name("audit_second_look") / "report.html").read_text(encoding="utf-8")
    assert "--label-column &#39;Second look&#39;" in report
