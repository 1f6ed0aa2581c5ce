"""Spike-in controls: known mislabels are added to a copy of the labels, to see how many of them the audit finds.

How many mistakes a dataset has cannot be read off the suspicions alone: mistakes that the picture makes likely look
like hard samples with the right label. So two kinds of mislabels are added, which bracket the real ones: **slips**,
drawn from the confusions between classes that the noise model found, whatever the picture shows; and **look-alikes**,
drawn for each sample from what else its picture may be. The copy is diagnosed anew, and the share that is found of each
kind is measured.

Which kind the dataset's own mistakes are shows in the flagged labels: a slip's label follows the confusions of its
class, a look-alike's the picture. With a the share of slips, R the measured recall of each kind and F the expected
number of mistakes among the flagged, there are about F · (a / R_slip + (1 − a) / R_look-alike) mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from audit.flags.measures import detection_quality
from audit.flags.threshold import Mistakes, Recall, best_threshold, count_mistakes
from audit.head.hessian import chunks
from audit.noise_model.diagnosis import Diagnosis
from audit.noise_model.given_labels import FLOOR
from audit.noise_model.model import Fitted, NoiseModel

KINDS = ("", "slip", "look-alike")  # by number
NONE, SLIP, LOOK_ALIKE = range(3)
ADDED = (SLIP, LOOK_ALIKE)
SHARE = 0.05  # of the samples that get a known mislabel in a copy: few enough to leave the data what they are
ENOUGH = 200  # known mislabels to reach, over copies
MOST_COPIES = 4
SHARE_STEPS = 100
FEW = 30  # known mislabels of a kind, below which a share of them says little: its standard error is up to .09
SMALL_CLASS = 20  # samples, below which a class's rate of mistakes has a standard error of .07 and more at 10 %
HARDLY = 0.7  # AUROC: 0.5 is chance


@dataclass(frozen=True)
class Controls:
    """Copies of the labels with known mislabels, and what the audit makes of them; m rows are samples in copies.

    Attributes:
        rows: (m,) positions of the samples.
        copy: (m,) number of the copy, from 0.
        kind: (m,) number in KINDS: '' where the label was left alone.
        labels: (m,) class numbers in the copy.
        suspicion: (m,) in the copy.
    """

    rows: np.ndarray
    copy: np.ndarray
    kind: np.ndarray
    labels: np.ndarray
    suspicion: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """bool (m,): the label in the copy is a known mislabel."""
        return self.kind != NONE

    @property
    def slip_auroc(self) -> float:
        """Area under the ROC curve of the suspicion, for slips among labels that were left alone."""
        compared = self.kind != LOOK_ALIKE
        return float(roc_auc_score(self.known[compared], self.suspicion[compared]))

    def recall(self, kind: int, threshold: float) -> Recall:
        """Share of the known mislabels of a kind with at least this suspicion.

        With one found and one missed added (Laplace), so that few mislabels claim no certainty.
        """
        found = self.suspicion[self.kind == kind] >= threshold
        return Recall((int(found.sum()) + 1) / (len(found) + 2), len(found))


@dataclass(frozen=True)
class Count:
    """How many mistakes there are by the controls, and what that was computed from.

    Attributes:
        mistakes: the estimate and its interval.
        threshold: of the suspicion, at which it was made: that of the best expected F1.
        slip_share: of slips among the flagged; None where the kinds cannot be told apart.
        recalls: of each kind, by number.
    """

    mistakes: Mistakes
    threshold: float
    slip_share: float | None
    recalls: dict[int, Recall]


def count_by_controls(
    controls: Controls, diagnosis: Diagnosis, labels: Tensor, suspicion: np.ndarray, proven: int = 0
) -> Count:
    """The number of mistakes by the controls.

    Args:
        controls: of the dataset.
        diagnosis: of the labels.
        labels: (n,) class numbers.
        suspicion: (n,) of the labels.
        proven: at least so many labels are wrong, whatever the suspicions say.
    """
    threshold = best_threshold(suspicion)
    share = slip_share(diagnosis, labels, threshold)
    recalls = {kind: controls.recall(kind, threshold) for kind in ADDED}
    mistakes = count_mistakes(
        suspicion, threshold, share, recalls[SLIP], recalls[LOOK_ALIKE], diagnosis.likeliest_share
    )
    if not diagnosis.tells:
        mistakes = Mistakes(mistakes.number, 0.0, float(len(labels)), told=False)
    number, low, high = (max(float(proven), value) for value in (mistakes.number, mistakes.low, mistakes.high))
    mistakes = Mistakes(number, low, high, mistakes.told)
    return Count(mistakes, threshold, share, recalls)


def describe_controls(controls: Controls, count: Count, flag: np.ndarray, threshold: float) -> dict[str, Any]:
    """What an audit's summary says of them: how they were made, and how the flags of the copies do (JSON values).

    Samples that are flagged with their own labels are left out of the comparison, since they may well be wrong already;
    'detection' is None where none is left.

    Args:
        controls: of the dataset.
        count: by the controls.
        flag: bool (n,) of the labels as they are.
        threshold: of the flags.
    """
    compared = ~flag[controls.rows]
    known, suspicion = controls.known[compared], controls.suspicion[compared]
    return {
        "copies": int(controls.copy.max()) + 1,
        "added": int(controls.known.sum()),
        "counted_at": count.threshold,
        "slip_share": count.slip_share,
        "kinds": {
            KINDS[kind]: {
                "added": int((controls.kind == kind).sum()),
                "found": int((controls.suspicion[controls.kind == kind] >= threshold).sum()),
                "recall_counted_with": count.recalls[kind].share,
            }
            for kind in ADDED
        },
        "detection": detection_quality(known, suspicion >= threshold, {"suspicion": suspicion})
        if known.any() and not known.all()
        else None,
    }


def cautions(class_sizes: np.ndarray, controls: Controls, count: Count) -> list[str]:
    """Why the estimates may be off, a sentence a reason; none where they can be trusted as far as they go.

    Args:
        class_sizes: (C,) samples of each class.
        controls: of the dataset.
        count: by the controls.
    """
    found = []
    if not count.mistakes.told:
        found.append(
            "Too little to tell: the embeddings predict the labels no better than the class frequencies do. The "
            "embeddings may not suit these classes, there may be too few samples, or most labels may be wrong."
        )
    fewest = min(recall.added for recall in count.recalls.values())
    if fewest < FEW:
        found.append(
            f"Only {fewest} known mislabels of a kind could be added, so the number of mistakes is a rough guess."
        )
    small = int((class_sizes < SMALL_CLASS).sum())
    if small:
        found.append(
            f"{small} of {len(class_sizes)} classes have fewer than {SMALL_CLASS} samples; "
            "suspicions and suggestions in these rest on little."
        )
    if count.mistakes.told and controls.slip_auroc < HARDLY:
        found.append(
            f"Known mislabels are hardly told from the other labels (AUROC {controls.slip_auroc:.2f}): the embeddings "
            "tell these classes apart too badly, or most labels are wrong."
        )
    return found


def spike_in(model: NoiseModel, fitted: Fitted, labels: Tensor, seed: int) -> Controls:
    """Add known mislabels to copies of the labels, and diagnose these.

    Labels that are trusted stay as they are, and are no part of the controls.

    Args:
        model: of the embeddings.
        fitted: to the labels.
        labels: (n,) class numbers.
        seed: of samples and labels.
    """
    diagnosis = fitted.diagnosis
    audited = np.arange(len(labels)) if model.trusted is None else np.flatnonzero(~model.trusted.cpu().numpy())
    count = max(len(ADDED), round(SHARE * len(audited)))
    copies = min(MOST_COPIES, max(1, round(ENOUGH / count)))
    # Labels that are wrong already would hide what becomes of the known ones.
    right = diagnosis.posterior.gather(1, labels[:, None])[:, 0].double().cpu().numpy()[audited]
    given = labels.cpu().numpy()[audited]
    parts = []
    for copy in range(copies):
        rng = np.random.default_rng([seed, copy])
        chosen = audited[_stratified(right, given, count, rng)]
        kinds = np.array(ADDED, dtype=np.uint8)[np.arange(len(chosen)) % len(ADDED)]
        changed = labels.clone()
        for kind in ADDED:
            rows = torch.from_numpy(chosen[kinds == kind]).to(labels.device)
            weights = diagnosis.transition[labels[rows]] if kind == SLIP else diagnosis.prior[rows]
            weights = weights.double().clamp_min(FLOOR).scatter(1, labels[rows, None], 0.0)
            changed[rows] = _draw(weights, rng)
        posterior, fitted = model.rediagnose(fitted, changed)
        kind_of = np.full(len(labels), NONE, dtype=np.uint8)
        kind_of[chosen] = kinds
        suspicion = 1 - posterior.gather(1, changed[:, None])[:, 0].double()
        of_all = (kind_of, changed.cpu().numpy(), suspicion.cpu().numpy())
        parts.append((audited, np.full(len(audited), copy), *(values[audited] for values in of_all)))
    return Controls(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def slip_share(diagnosis: Diagnosis, labels: Tensor, threshold: float) -> float | None:
    """Share of slips among the flagged labels, by likelihood; None where two classes leave no choice of a wrong label.

    The likelihood is that of the given label among those that would be flagged on the same picture.

    Args:
        diagnosis: of the labels.
        labels: (n,) class numbers.
        threshold: of the suspicion, from where on samples are flagged.
    """
    classes = diagnosis.prior.shape[1]
    suspicion = 1 - diagnosis.posterior.gather(1, labels[:, None])[:, 0].double()
    flagged = (suspicion >= threshold).nonzero()[:, 0]
    if classes == 2 or not len(flagged):
        return None
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
    slip, look_alike = torch.cat(likelihoods).T
    share = 0.5
    for _ in range(SHARE_STEPS):
        share = float((share * slip / (share * slip + (1 - share) * look_alike)).mean())
    return share


def _stratified(weights: np.ndarray, labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of about `count` samples in random order, in proportion to weights within and between classes."""
    order = np.lexsort((rng.random(len(labels)), labels))
    reached = weights[order].cumsum()
    ticks = (np.arange(count) + rng.random()) * reached[-1] / count
    return rng.permutation(np.unique(order[np.searchsorted(reached, ticks).clip(max=len(order) - 1)]))


def _draw(weights: Tensor, rng: np.random.Generator) -> Tensor:
    """A class for each row of weights (k, C), in proportion."""
    reached = weights.cumsum(1)
    ticks = torch.from_numpy(rng.random(len(weights))).to(weights.device)[:, None] * reached[:, -1:]
    return torch.searchsorted(reached, ticks, right=True)[:, 0].clamp_max(weights.shape[1] - 1)
