"""Findings beside single labels in FiftyOne: the field, the scores, and a saved view for each group of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fiftyone as fo
from PIL import Image, ImageOps

from audit.config import AuditConfig
from integrations.fiftyone import audit_dataset
from tests.made_pictures import photograph


def test_copies_and_bad_pictures_have_views_of_their_own(dataset_name: Callable[[str], str], tmp_path: Path) -> None:
    pictures = [photograph(seed, seed % 2) for seed in range(40)]
    pictures += [ImageOps.mirror(pictures[0]), Image.eval(pictures[1], lambda shade: shade // 5)]
    labels = [*(str(seed % 2) for seed in range(40)), "1", "1"]
    dataset = fo.Dataset(dataset_name("findings"))
    for row, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        picture.save(tmp_path / f"{row}.png")
        sample = fo.Sample(str(tmp_path / f"{row}.png"), ground_truth=fo.Classification(label=label))
        dataset.add_sample(sample)
    audit_dataset(dataset, config=AuditConfig(weights="bundled", device="cpu"))
    ids = dataset.values("id")
    assert set(dataset.load_saved_view("audit: copies").values("id")) >= {ids[0], ids[40]}
    assert ids[41] in dataset.load_saved_view("audit: bad pictures").values("id")
    assert "near-duplicate-labels" in dataset[ids[40]].audit_findings
    assert "dark" in dataset[ids[41]].audit_findings
    assert all(0 <= value <= 1 for value in dataset.values("audit_fits_no_class"))
    assert not dataset.has_saved_view("audit: leaks")
    audit_dataset(dataset, config=AuditConfig(weights="bundled", device="cpu", findings="none"))
    dataset.reload()
    assert not dataset.has_saved_view("audit: copies")
    assert set(dataset.values("audit_fits_no_class")) == {None}
