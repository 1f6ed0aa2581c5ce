"""Spike-in controls: known mislabels are added to a copy of the labels, to measure how many of them the audit finds.

The suspicions alone do not say how many mistakes a dataset has. A wrong label that fits the picture looks the same as a
right label of a hard sample. So two kinds of mislabels are added, and the real mistakes lie between them. **Slips** are
drawn from the class confusions of the noise model, whatever the picture shows. **Look-alikes** are drawn from the other
classes that the sample's own picture may show. The audit diagnoses the copy, which shows the share of each kind that it
finds (recall). `count` computes the number of mistakes from these recalls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from audit.compute.matrix import fetch_rows
from audit.flags.threshold import Recall
from audit.noise_model.diagnosis import Diagnosis, FittedModel, LabelModel
from audit.noise_model.given_labels import FLOOR, GivenLabels

KINDS = ("", "slip", "look-alike")  # by number
NONE, SLIP, LOOK_ALIKE = range(3)
ADDED = (SLIP, LOOK_ALIKE)


@dataclass(frozen=True)
class Controls:
    """Copies of the labels with known mislabels, and their suspicions. Each of the m rows is one sample in one copy.

    Attributes:
        rows: (m,) positions of the samples.
        copy: (m,) number of the copy, from 0.
        kind: (m,) position in KINDS; '' if the label was not changed.
        labels: (m,) class numbers in the copy.
        suspicion: (m,) suspicion of the label in the copy, 0 to 1.
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
        """Area under the ROC curve of the suspicion, for slips against unchanged labels."""
        compared = self.kind != LOOK_ALIKE
        return float(roc_auc_score(self.known[compared], self.suspicion[compared]))

    def recall(self, kind: int, threshold: float) -> Recall:
        """Share of the known mislabels of a kind with at least this suspicion.

        One found and one missed mislabel are added (Laplace), so that a few mislabels do not give a recall of 0 or 1.
        """
        found = self.suspicion[self.kind == kind] >= threshold
        return Recall((int(found.sum()) + 1) / (len(found) + 2), len(found))


def spike_in(model: LabelModel, fitted: FittedModel, labels: Tensor, seed: int) -> Controls:
    """Add known mislabels to copies of the labels, and diagnose the copies.

    Trusted labels are not changed, and are not in the controls.

    Args:
        model: the noise model.
        fitted: the model's fit to the labels.
        labels: (n,) class numbers.
        seed: the seed for drawing samples and labels.
    """
    settings, diagnosis = model.settings.controls, fitted.diagnosis
    audited = np.arange(len(labels)) if model.trusted is None else np.flatnonzero(~model.trusted.cpu().numpy())
    count = max(len(ADDED), round(settings.share * len(audited)))
    copies = min(settings.most_copies, max(1, round(settings.enough / count)))
    # Mislabels are mostly added to labels that are right: on a wrong one, a change would measure nothing.
    right = GivenLabels(labels).beliefs_in(diagnosis.posterior).double().cpu().numpy()[audited]
    given = labels.cpu().numpy()[audited]
    parts = []
    for copy in range(copies):
        rng = np.random.default_rng([seed, copy])
        chosen = audited[_stratified(right, given, count, rng)]
        kinds = np.array(ADDED, dtype=np.uint8)[np.arange(len(chosen)) % len(ADDED)]
        changed = _mislabelled(labels, diagnosis, chosen, kinds, rng)
        posterior, fitted = model.rediagnose(fitted, changed)
        kind_of = np.full(len(labels), NONE, dtype=np.uint8)
        kind_of[chosen] = kinds
        suspicion = 1 - GivenLabels(changed).beliefs_in(posterior).double()
        of_all = (kind_of, changed.cpu().numpy(), suspicion.cpu().numpy())
        parts.append((audited, np.full(len(audited), copy), *(values[audited] for values in of_all)))
    return Controls(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _mislabelled(
    labels: Tensor, diagnosis: Diagnosis, chosen: np.ndarray, kinds: np.ndarray, rng: np.random.Generator
) -> Tensor:
    """A copy of labels (n,) with another class for the chosen samples (k,), drawn according to their kinds (k,)."""
    changed = labels.clone()
    for kind in ADDED:
        rows = torch.from_numpy(chosen[kinds == kind]).to(labels.device)
        weights = diagnosis.transition[labels[rows]] if kind == SLIP else fetch_rows(diagnosis.prior, rows)
        weights = weights.double().clamp_min(FLOOR).scatter(1, labels[rows, None], 0.0)
        changed[rows] = _draw(weights, rng)
    return changed


def _stratified(weights: np.ndarray, labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of about `count` samples in random order, drawn by weight, which also fixes the share of each class."""
    order = np.lexsort((rng.random(len(labels)), labels))
    reached = weights[order].cumsum()
    ticks = (np.arange(count) + rng.random()) * reached[-1] / count
    return rng.permutation(np.unique(order[np.searchsorted(reached, ticks).clip(max=len(order) - 1)]))


def _draw(weights: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw a class for each row of weights (k, C), in proportion to the weights."""
    reached = weights.cumsum(1)
    ticks = torch.from_numpy(rng.random(len(weights))).to(weights.device)[:, None] * reached[:, -1:]
    return torch.searchsorted(reached, ticks, right=True)[:, 0].clamp_max(weights.shape[1] - 1)
