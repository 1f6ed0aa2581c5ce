"""What a reviewer compares a picture with: the pictures most like it, of the given class and of the suggested one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import numpy as np

from integrations.fiftyone.explanations import prepared_explainer
from integrations.fiftyone.review.log import DecisionLog, object_ids
from integrations.fiftyone.small_pictures import small_picture

if TYPE_CHECKING:
    from audit.explain.samples import ResultExplainer

SHOWN = 5  # pictures of each class
CHOICES = 3  # classes that a reviewer is offered
VOTING = 10  # nearest pictures whose labels are counted
_MORE = 3  # times as many are looked for: labels of some were corrected since the audit


@dataclass(frozen=True)
class NearPicture:
    """A picture that is like another one.

    Attributes:
        id: of its sample.
        filepath: of its picture.
        picture: a small one, as a `data:` address; None where the file cannot be read.
        label: its label: as a reviewer corrected it, or else as it was audited.
        flagged: whether the audit suspects that label, and no reviewer has decided on it.
    """

    id: str
    filepath: str
    picture: str | None
    label: str | None
    flagged: bool


@dataclass(frozen=True)
class NearestPictures:
    """The pictures most like that of a sample.

    Attributes:
        given, other: the given label, and the suggested one; where the given label is suggested, the most frequent
            other label among the nearest pictures, or None.
        of_given, of_other: the nearest pictures with these labels, the nearest first.
        most: the most frequent label among the nearest pictures; None where there are none.
        votes: how many of them have it.
        voting: how many there are.
        others: the likeliest classes beside the given and the suggested one, with their probabilities.
    """

    given: str | None
    other: str | None
    of_given: list[NearPicture]
    of_other: list[NearPicture]
    most: str | None
    votes: int
    voting: int
    others: list[tuple[str, float]]


def nearest_pictures(dataset: fo.Dataset, audit_key: str, samples: Sequence[str]) -> dict[str, NearestPictures] | None:
    """The pictures most like those of some samples, by sample id; samples that the audit has not seen are left out.

    The first call of an audit begins to read its embeddings in the background.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        samples: their ids.

    Returns:
        None while the embeddings are being read.

    Raises:
        InputError: if there is no such audit, its result no longer exists, or it was made without images.
    """
    explainer = prepared_explainer(dataset, audit_key)
    if explainer is None:
        return None
    log = DecisionLog(dataset, audit_key)
    wanted = {
        sample: facts
        for sample, facts in _facts(log, samples).items()
        if sample in explainer.nearest and facts["audited"] is not None
    }
    others = _other_classes(explainer, wanted)
    found: dict[str, tuple[str, str | None, list[list[str]]]] = {}
    for sample, facts in wanted.items():
        given, other = facts["audited"], facts["suggested"]
        if other == given:
            other = None
        lists = explainer.nearest.nearest(sample, (None, given, other), _MORE * SHOWN)
        found[sample] = given, other, lists if other is not None else lists[:2]
    near = _facts(log, list(dict.fromkeys(one for _, _, lists in found.values() for part in lists for one in part)))
    return {sample: _nearest(near, *one, others[sample]) for sample, one in found.items()}


def _other_classes(
    explainer: ResultExplainer, samples: dict[str, dict[str, Any]]
) -> dict[str, list[tuple[str, float]]]:
    """The likeliest classes beside the given and the suggested one, for samples by id with their facts.

    The audit says how likely these two are. What is left is shared among the others as the head predicts.
    """
    classes = np.array(explainer.classes, dtype=object)
    predicted = explainer.head_probabilities(list(samples)) if samples else np.zeros((0, len(classes)))
    found = {}
    for row, (sample, facts) in zip(predicted, samples.items(), strict=True):
        known = {facts["audited"]: 1 - (facts["suspicion"] or 0.0)}
        known.setdefault(facts["suggested"], facts["probability"] or 0.0)
        found[sample] = share_rest(classes, row, known)
    return found


def share_rest(classes: np.ndarray, predicted: np.ndarray, known: dict[str | None, float]) -> list[tuple[str, float]]:
    """The likeliest classes whose probability is not known, with their share of what the known ones leave.

    Args:
        classes: (C,) names.
        predicted: (C,) probabilities that say how to share.
        known: the probability of some classes, 0 to 1.

    Returns:
        At most `CHOICES` less the known ones, and one at least where there is one; the likeliest first.
    """
    unknown = np.flatnonzero(~np.isin(classes, [label for label in known if label is not None]))
    rest, total = max(0.0, 1 - sum(known.values())), float(predicted[unknown].sum())
    count = max(1, CHOICES - len([label for label in known if label in set(classes)]))
    order = unknown[np.argsort(-predicted[unknown], kind="stable")][:count]
    return [(str(classes[place]), rest * float(predicted[place]) / total if total > 0 else 0.0) for place in order]


def _nearest(
    near: dict[str, dict[str, Any]],
    given: str,
    other: str | None,
    lists: list[list[str]],
    others: list[tuple[str, float]],
) -> NearestPictures:
    present = [sample for sample in lists[0] if sample in near][:VOTING]
    votes = Counter(near[sample]["label"] for sample in present)
    ((most, count),) = votes.most_common(1) or [(None, 0)]
    of_other = lists[2] if other is not None else []
    if other is None:
        other = next((label for label, _ in votes.most_common() if label != given), None)
        of_other = present

    def shown(candidates: list[str], label: str | None) -> list[NearPicture]:
        those = [sample for sample in candidates if sample in near and near[sample]["label"] == label]
        return [_picture(sample, near[sample]) for sample in those[:SHOWN]]

    return NearestPictures(
        given, other, shown(lists[1], given), shown(of_other, other), most, count, sum(votes.values()), others
    )


def _picture(sample: str, facts: dict[str, Any]) -> NearPicture:
    path = facts["filepath"]
    return NearPicture(sample, path, small_picture(path), facts["label"], facts["flagged"])


def _facts(log: DecisionLog, samples: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of samples, by id: filepath, audited and suggested label with their probabilities, label by now, and whether it
    is an open flag."""
    found = log.samples.aggregate(
        [
            {"$match": {"_id": {"$in": object_ids(samples)}}},
            {
                "$project": {
                    "filepath": 1,
                    "audited": log.audited_label,
                    "suggested": f"${log.suggested}.label",
                    "probability": f"${log.suggested}.confidence",
                    "suspicion": f"${log.suspicion}",
                    "label": {"$ifNull": [f"${log.corrected}.label", log.audited_label]},
                    "flagged": {"$and": [f"${log.flag}", {"$eq": [f"${log.status}", "unreviewed"]}]},
                }
            },
        ]
    )
    names = ("audited", "suggested", "label", "probability", "suspicion")
    return {str(row["_id"]): {**row, **{name: row.get(name) for name in names}} for row in found}
