"""How many samples wait for a decision, by given and suggested class: the matrix that is linked with the grid."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fiftyone.core.collections import SampleCollection

from integrations.fiftyone.review.log import DecisionLog
from integrations.fiftyone.review.pairs import pair_counts
from integrations.fiftyone.review.queue import QueueFilter

CLASSES_SHOWN = 20


@dataclass(frozen=True)
class ClassMatrix:
    """Samples without a decision for which another label is suggested.

    Attributes:
        classes: those with most of these samples, given or suggested, in the order of their names.
        counts: how many samples have the given class of the row and the suggested class of the column.
        left_out: how many samples are of pairs with another class.
        classes_left_out: how many classes there are beside `classes`.
    """

    classes: list[str]
    counts: list[list[int]]
    left_out: int
    classes_left_out: int


def class_matrix(samples: SampleCollection, audit_key: str, wanted: QueueFilter) -> ClassMatrix:
    """Count the samples by given and suggested class.

    Args:
        samples: the audited dataset, or a view of it.
        audit_key: of the audit.
        wanted: which samples count.

    Raises:
        InputError: if there is no such audit.
    """
    pairs = pair_counts(samples, DecisionLog(samples._dataset, audit_key), wanted)
    sizes: Counter[str] = Counter()
    for pair in pairs:
        sizes[pair.given] += pair.count
        sizes[pair.suggested] += pair.count
    classes = sorted(label for label, _ in sizes.most_common(CLASSES_SHOWN))
    place = {label: number for number, label in enumerate(classes)}
    counts = [[0] * len(classes) for _ in classes]
    left_out = 0
    for pair in pairs:
        if pair.given in place and pair.suggested in place:
            counts[place[pair.given]][place[pair.suggested]] = pair.count
        else:
            left_out += pair.count
    return ClassMatrix(classes, counts, left_out, len(sizes) - len(classes))
