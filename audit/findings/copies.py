"""Identical samples with different labels or in several splits, and doubtful classes. Counted, not estimated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from audit.data.class_names import doubtful_names
from audit.data.exact_copies import Copies
from audit.findings.contract import Audited, Finding
from audit.findings.kinds import CLASS_NAMES, DUPLICATE_LABELS, NO_VALIDATION, SPLIT_LEAK
from audit.findings.many import one_or_each

NAMED = 5  # labels that a sentence names, and classes that have a finding each


def find(audited: Audited) -> Iterator[Finding]:
    """Identical samples that disagree or leak, class names that are probably one, classes without validation."""
    labels, split, noun = audited.labels, audited.split, audited.noun
    duplicates = Copies.of(audited.keys).groups()
    for group in duplicates:
        counts = Counter(labels[group].tolist())
        if len(counts) > 1:
            shown = ", ".join(f"{label!r} ({count})" for label, count in counts.most_common(NAMED))
            detail = f"{len(group)} identical {noun} are labelled {shown}"
            yield Finding(kind=DUPLICATE_LABELS, evidence=detail, samples=tuple(group.tolist()))
    for group in duplicates:
        counts = Counter(split[group].tolist())
        if "train" in counts and len(counts) > 1:
            held_out = " and ".join(f"{counts[name]} in {name}" for name in ("validation", "test") if counts[name])
            detail = f"{counts['train']} of {len(group)} identical {noun} are in train, {held_out}"
            yield Finding(kind=SPLIT_LEAK, evidence=detail, samples=tuple(group.tolist()))
    if audited.every_label.dtype.kind in "UO":
        for detail in doubtful_names(set(map(str, audited.every_label))):
            yield Finding(kind=CLASS_NAMES, evidence=detail)
    unmeasured = np.setdiff1d(labels, labels[split == "validation"]).tolist()
    yield from one_or_each(
        [
            Finding(kind=NO_VALIDATION, evidence=f"class {label!r} has no validation sample", classes=(str(label),))
            for label in unmeasured
        ],
        f"{len(unmeasured):,} of {len(audited.classes):,} classes have no validation sample",
        NAMED,
    )
