"""Estimate the number of mistakes from the controls.

The flagged labels show how many of the dataset's own mistakes are of each kind: a slip's label follows the confusions
of its class, and a look-alike's label follows the picture. Let a be the share of slips, R the measured recall of each
kind, and F the expected number of mistakes among the flagged labels. Then the dataset has about F · (a / R_slip + (1 −
a) / R_look-alike) mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audit.flags.measures import detection_quality
from audit.flags.threshold import Mistakes, Recall, best_threshold, count_mistakes
from audit.head.hessian import chunks
from audit.noise_model.controls import ADDED, KINDS, LOOK_ALIKE, SLIP, Controls
from audit.noise_model.diagnosis import Diagnosis
from audit.noise_model.given_labels import FLOOR, GivenLabels
from audit.noise_model.settings import ControlSettings
from audit.summary.detection import ControlKind, ControlsMeasured


@dataclass(frozen=True)
class Count:
    """The number of mistakes estimated from the controls, and the numbers that it was computed from.

    Attributes:
        mistakes: the estimate and its interval.
        threshold: the suspicion above which labels count as flagged here: the one with the best expected F1.
        slip_share: share of slips among the flagged mistakes; None if the kinds cannot be told apart.
        recalls: the recall of each kind, by its position in KINDS.
    """

    mistakes: Mistakes
    threshold: float
    slip_share: float | None
    recalls: dict[int, Recall]

    @property
    def most_found(self) -> float:
        """Share of the known mislabels that is found, of the kind of which more are found."""
        return max(recall.share for recall in self.recalls.values())


def count_by_controls(
    controls: Controls,
    diagnosis: Diagnosis,
    labels: Tensor,
    suspicion: np.ndarray,
    proven: int = 0,
    settings: ControlSettings = ControlSettings(),
) -> Count:
    """Estimate the number of mistakes from the controls.

    Args:
        controls: of the dataset.
        diagnosis: of the labels.
        labels: (n,) class numbers.
        suspicion: (n,) of the labels.
        proven: number of labels that are certainly wrong, a lower bound of the estimate.
        settings: of the controls.
    """
    threshold = best_threshold(suspicion)
    share = slip_share(diagnosis, labels, threshold, settings.slip_share_steps)
    recalls = {kind: controls.recall(kind, threshold) for kind in ADDED}
    mistakes = count_mistakes(
        suspicion, threshold, share, recalls[SLIP], recalls[LOOK_ALIKE], diagnosis.likeliest_share
    )
    if not diagnosis.tells:
        mistakes = Mistakes(mistakes.number, 0.0, float(len(labels)), told=False)
    number, low, high = (max(float(proven), value) for value in (mistakes.number, mistakes.low, mistakes.high))
    mistakes = Mistakes(number, low, high, mistakes.told)
    return Count(mistakes, threshold, share, recalls)


def describe_controls(controls: Controls, count: Count, flag: np.ndarray, threshold: float) -> ControlsMeasured:
    """The summary's entry for the controls: how they were made, and how many the audit finds in the copies.

    'detection' leaves out samples that the audit flags, because their labels may be wrong already. It is None if no
    sample is left.

    Args:
        controls: of the dataset.
        count: by the controls.
        flag: bool (n,) the audit's flags.
        threshold: the threshold of the flags.
    """
    compared = ~flag[controls.rows]
    known, suspicion = controls.known[compared], controls.suspicion[compared]
    return ControlsMeasured(
        copies=int(controls.copy.max()) + 1,
        added=int(controls.known.sum()),
        counted_at=count.threshold,
        slip_auroc=controls.slip_auroc,
        slip_share=count.slip_share,
        kinds={
            KINDS[kind]: ControlKind(
                added=int((controls.kind == kind).sum()),
                found=int((controls.suspicion[controls.kind == kind] >= threshold).sum()),
                recall_counted_with=count.recalls[kind].share,
            )
            for kind in ADDED
        },
        detection=detection_quality(known, suspicion >= threshold, {"suspicion": suspicion})
        if known.any() and not known.all()
        else None,
    )


def cautions(
    class_sizes: np.ndarray,
    controls: Controls,
    count: Count,
    basis: str = "embeddings",
    settings: ControlSettings = ControlSettings(),
) -> list[str]:
    """Reasons why the estimates may be unreliable, one sentence each; an empty list if there are none.

    Args:
        class_sizes: (C,) samples of each class.
        controls: of the dataset.
        count: by the controls.
        basis: what the labels are judged by, in the plural: 'embeddings', or 'predictions' that were given.
        settings: of the controls.
    """
    found = []
    if not count.mistakes.told:
        found.append(
            f"Too little to tell: the {basis} predict the labels no better than the class frequencies do. The "
            f"{basis} may not suit these classes, there may be too few samples, or most labels may be wrong."
        )
    fewest = min(recall.added for recall in count.recalls.values())
    if fewest < settings.few:
        found.append(
            f"Only {fewest} known mislabels of a kind could be added, so the number of mistakes is a rough guess."
        )
    small = int((class_sizes < settings.small_class).sum())
    if small:
        found.append(
            f"{small:,} of {len(class_sizes):,} classes have fewer than {settings.small_class} samples. That is too "
            "few for reliable suspicions and suggestions."
        )
    if count.mistakes.told and controls.slip_auroc < settings.hardly_told:
        found.append(
            f"The audit hardly ranks known mislabels above the other labels (AUROC {controls.slip_auroc:.2f}). The "
            f"{basis} do not separate these classes, or most labels are wrong."
        )
    if count.mistakes.told and count.most_found < settings.hardly_found:
        found.append(
            f"The audit finds only {count.most_found:.0%} of the known mislabels that it adds, so few flags do not "
            "mean few mistakes. Wrong labels that lie together look right to it."
        )
    return found


def slip_share(
    diagnosis: Diagnosis, labels: Tensor, threshold: float, steps: int = ControlSettings().slip_share_steps
) -> float | None:
    """Share of slips among the flagged mistakes, by maximum likelihood; None for two classes, or if nothing is flagged.

    The likelihood is that of the given label among the labels that would be flagged on the same picture.

    Args:
        diagnosis: of the labels.
        labels: (n,) class numbers.
        threshold: the suspicion from which on samples are flagged.
        steps: of EM.
    """
    classes = diagnosis.prior.shape[1]
    suspicion = 1 - GivenLabels(labels).beliefs_in(diagnosis.posterior).double()
    flagged = (suspicion >= threshold).nonzero()[:, 0]
    if classes == 2 or not len(flagged):
        return None
    slip, look_alike = _likelihoods(diagnosis, labels, flagged, threshold)
    share = 0.5
    for _ in range(steps):
        share = float((share * slip / (share * slip + (1 - share) * look_alike)).mean())
    return share


def _likelihoods(diagnosis: Diagnosis, labels: Tensor, flagged: Tensor, threshold: float) -> Tensor:
    """(2, k): the likelihood of the given labels of k flagged samples as slips, and as look-alikes."""
    classes = diagnosis.prior.shape[1]
    transition = diagnosis.transition.double()
    wrong = transition - torch.diag(transition.diagonal())
    likelihoods = []
    for part in chunks(len(flagged), 8 * classes):
        rows = flagged[part]
        given = labels[rows, None]
        prior = diagnosis.prior[rows].double().clamp_min(FLOOR)
        of_label = 1 - prior * transition.diagonal() / (prior @ transition)
        eligible = (of_label >= threshold).double().scatter(1, given, 1.0)
        slip = (prior @ wrong) * eligible
        odds = prior / (1 - prior).clamp_min(FLOOR)
        look_alike = prior * (odds.sum(1, keepdim=True) - odds) * eligible
        likelihoods.append(
            torch.cat(
                [(kind / kind.sum(1, keepdim=True)).gather(1, labels[rows, None]) for kind in (slip, look_alike)], 1
            )
        )
    return torch.cat(likelihoods).T
