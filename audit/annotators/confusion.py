"""Each annotator's confusion matrix: how likely a sample of each true class (row) gets each label (column) from them.

An annotator may have labelled few samples, and has up to C² confusions. So the estimates are shrunk, and the expected
counts themselves say how strongly (empirical Bayes, as in `audit.noise_model.transition`):

- the error rate of an annotator towards that of all annotators;
- the error rate of an annotator for one class towards the annotator's own, more or less by how hard the class is for
  all;
- the wrong labels that an annotator gives to one class towards those that all annotators give to it, and these towards
  all other classes equally.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from audit.noise_model.given_labels import FLOOR


@dataclass(frozen=True, kw_only=True)
class ConfusionSettings:
    """How an annotator's confusions are shrunk."""

    # Of an annotator: as many as Jeffreys' prior adds.
    least_mistakes: float = 0.5
    # The largest error rate that others are shrunk towards.
    most_rate: float = 1 - 1e-3
    # Counts of evenly spaced rows that choose a concentration, where there are more.
    chosen_by: int = 100_000


SETTINGS = ConfusionSettings()
STRENGTHS = torch.tensor([10 ** (step / 4) for step in range(-8, 21)], dtype=torch.float64)
"""Dirichlet concentrations to choose from: from rows that are unrelated to rows that are the same."""


def estimate_confusions(counts: Tensor) -> Tensor:
    """The confusion matrices float64 (A, C, C) of expected counts (A, C, C); rows sum to 1, and no entry is 0."""
    annotators, classes, _ = counts.shape
    right = counts.diagonal(dim1=1, dim2=2)
    wrong = counts - torch.diag_embed(right)
    wrongs = wrong.sum(2)
    rate = _error_rates(wrongs, right)
    pooled = _shrunk(wrong.sum(0), _off_diagonal(torch.ones(classes, classes, dtype=counts.dtype)))
    pooled = _off_diagonal(pooled)
    spread = _shrunk(wrong.reshape(-1, classes), pooled.repeat(annotators, 1)).view_as(wrong)
    return torch.diag_embed(1 - rate) + rate[:, :, None] * _off_diagonal(spread)


def _error_rates(wrongs: Tensor, right: Tensor) -> Tensor:
    """The error rate (A, C) of each annotator for each class, from expected counts (A, C) of wrong and right labels."""
    totals = (wrongs + right).sum()
    common = ((wrongs.sum() + SETTINGS.least_mistakes) / (totals + 2 * SETTINGS.least_mistakes)).clamp(
        max=SETTINGS.most_rate
    )
    of_all = torch.stack([wrongs.sum(1), right.sum(1)], 1)
    own = _shrunk(of_all, _two_sided(common.expand(len(wrongs))))[:, 0]
    least = SETTINGS.least_mistakes / (SETTINGS.least_mistakes + (wrongs + right).sum(1))
    own = own.maximum(least.minimum(common))
    by_class = (wrongs.sum(0) + common) / ((wrongs + right).sum(0) + 1)
    mean = (own[:, None] * (by_class / common)[None]).clamp(max=SETTINGS.most_rate)
    pairs = torch.stack([wrongs, right], 2).view(-1, 2)
    shrunk = _shrunk(pairs, _two_sided(mean.reshape(-1)))[:, 0].view_as(wrongs)
    return shrunk.clamp(FLOOR, 1 - FLOOR)


def _two_sided(rate: Tensor) -> Tensor:
    return torch.stack([rate, 1 - rate], 1)


def _off_diagonal(rows: Tensor) -> Tensor:
    """Rows (..., C, C) without their diagonal, to sum to 1."""
    rows = rows.clamp_min(FLOOR) * (1 - torch.eye(rows.shape[-1], dtype=rows.dtype))
    return rows / rows.sum(-1, keepdim=True)


def _shrunk(counts: Tensor, mean: Tensor) -> Tensor:
    """Shares (r, k) of counts (r, k), shrunk towards means (r, k) as strongly as makes the counts likeliest.

    The rows are Dirichlet-multinomial, all with the same concentration. Columns whose mean is 0 have no part in it.
    """
    counts = torch.where(mean > 0, counts, 0.0)
    step = math.ceil(counts.numel() / SETTINGS.chosen_by)
    strength = _likeliest_strength(counts[::step], mean[::step])
    return (counts + strength * mean) / (counts.sum(1) + strength)[:, None]


def _likeliest_strength(counts: Tensor, mean: Tensor) -> Tensor:
    """The concentration of STRENGTHS under which counts (r, k) are likeliest."""
    allowed, total = mean > 0, counts.sum(1)
    likelihoods = []
    for strength in STRENGTHS:
        prior = torch.where(allowed, strength * mean, 1.0)
        terms = torch.where(allowed, torch.lgamma(counts + prior) - torch.lgamma(prior), 0.0)
        likelihoods.append((torch.lgamma(strength) - torch.lgamma(total + strength)).sum() + terms.sum())
    return STRENGTHS[int(torch.stack(likelihoods).argmax())]
