"""The HTML report of two hundred classes and a thousand flagged samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from audit.result import AuditResult
from reports.galleries import MAX_GALLERY_CLASSES, THUMBNAIL_BUDGET, gallery_values
from reports.html import render_report
from tests.made_reports import ReportText


def test_a_thousand_flagged_samples_stay_under_4_megabytes(reports: dict[str, Path], many: AuditResult) -> None:
    assert len(many.flagged) == 1000
    assert reports["many"].stat().st_size < 4e6
    heavy = many.thumbnails.assign(image=[image + bytes(20_000) for image in many.thumbnails["image"]])
    values = gallery_values(replace(many, thumbnails=heavy))
    assert values.thumbnails_left_out > 0
    assert sum(map(len, values.thumbnails)) <= THUMBNAIL_BUDGET * 4 / 3 + 4 * len(values.thumbnails)
    assert len(render_report(replace(many, thumbnails=heavy)).encode()) < 4e6


def test_many_classes_are_limited_and_counted(many: AuditResult, reports: dict[str, Path]) -> None:
    assert len(gallery_values(many).classes) == MAX_GALLERY_CLASSES
    text = " ".join(ReportText(reports["many"].read_text(encoding="utf-8")).text.split())
    assert f"{MAX_GALLERY_CLASSES} of 200 classes are here" in text
    assert "the 20 classes with most confusions of 200, as the audit flagged" in text
