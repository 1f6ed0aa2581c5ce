"""Sixty digits in FiftyOne with an audit that no model computed, and findings of several kinds beside single labels.

Importing this module starts FiftyOne's database.
"""

from __future__ import annotations

from dataclasses import replace

import fiftyone as fo

from audit.findings import Finding
from audit.findings.table import no_findings, table_of
from audit.result import AuditResult
from integrations.fiftyone import write_result
from tests.fiftyone.made_up import made_up_result
from tests.sixty_digits import sixty_digits

FOUND = (
    Finding(
        kind="near-leak", evidence="1 of 2 copies is in train, 1 in test", samples=(10, 0), worth="a tenth of test"
    ),
    Finding(kind="near-duplicates", evidence="3 images labelled '0' are copies", score=0.9, samples=(1, 2, 3)),
    Finding(kind="near-duplicates", evidence="2 images labelled '0' are copies", score=0.7, samples=(4, 5)),
    Finding(kind="near-duplicate-labels", evidence="2 images are nearly the same", samples=(6, 25)),
    Finding(kind="dark", evidence="99 % of the pixels are dark", samples=(7,)),
    Finding(kind="classes-alike", evidence="'1' and '2' are told apart in 52 % of cases", classes=("1", "2")),
)


def result_with(dataset: fo.Dataset, *found: Finding) -> AuditResult:
    """An audit that no model computed, with these findings."""
    result = made_up_result(dataset, inject=False)
    return replace(result, findings=table_of(found, dataset.values("id")) if found else no_findings())


def digits_with_findings(name: str) -> fo.Dataset:
    """A dataset of this name: ten training images, a test image, and others; images 6 and 25 differ in their labels."""
    dataset = sixty_digits(name)
    ids = dataset.values("id")
    dataset.select(ids[:10]).tag_samples("train")
    dataset.select(ids[10]).tag_samples("test")
    sample = dataset[ids[25]]
    sample.ground_truth.label = "1" if dataset[ids[6]].ground_truth.label == "0" else "0"
    sample.save()
    write_result(dataset, result_with(dataset, *FOUND))
    dataset.reload()
    return dataset
