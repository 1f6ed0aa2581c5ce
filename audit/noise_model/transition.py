"""The transition matrix T: how likely a sample of each true class (row) is given each label (column)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from audit.compute.matrix import Rows, blocks, total
from audit.head.hessian import chunks
from audit.noise_model.given_labels import FLOOR, GivenLabels, posterior_and_evidence
from audit.noise_model.settings import TransitionSettings


def estimate_transition(
    posterior: Rows, labels: GivenLabels, settings: TransitionSettings = TransitionSettings()
) -> Tensor:
    """Estimate T (C, C) from expected counts; see `transition_of_counts`.

    Args:
        posterior: (n, C) of the true class.
        labels: of the n samples. Trusted labels are left out.
        settings: the least number of mistakes, and how many entries choose the smoothing.
    """
    (counts,) = total(_counts, (posterior, labels.numbers, labels.trusted))
    return transition_of_counts(counts, labels.untrusted, posterior.dtype, settings)


def estimate_again(
    prior: Rows, transition: Tensor, labels: GivenLabels, settings: TransitionSettings = TransitionSettings()
) -> Tensor:
    """Estimate T (C, C) from the posterior of a prior (n, C) under another T (C, C)."""
    (counts,) = total(_counts_of_posterior, (prior, labels.numbers, labels.trusted), transition)
    return transition_of_counts(counts, labels.untrusted, prior.dtype, settings)


def _counts(posterior: Rows, numbers: Tensor, trusted: Tensor | None) -> tuple[Tensor]:
    """Expected counts (C, C) in double precision, row = true class, column = given label."""
    classes = posterior.shape[1]
    counts = torch.zeros(classes, classes, dtype=torch.float64, device=posterior.device)
    for rows in chunks(len(numbers), classes):
        _add_counts(counts, posterior[rows], GivenLabels(numbers, trusted).of_samples(rows))
    return (counts,)


def _counts_of_posterior(prior: Rows, numbers: Tensor, trusted: Tensor | None, transition: Tensor) -> tuple[Tensor]:
    classes = prior.shape[1]
    counts = torch.zeros(classes, classes, dtype=torch.float64, device=prior.device)
    for rows in blocks(prior, 6 * classes):
        labels = GivenLabels(numbers, trusted).of_samples(rows)
        _add_counts(counts, posterior_and_evidence(prior[rows].T, transition, labels)[0].T, labels)
    return (counts,)


def _add_counts(counts: Tensor, posterior: Tensor, labels: GivenLabels) -> None:
    numbers = labels.numbers
    if labels.trusted is not None:
        posterior, numbers = posterior[~labels.trusted], numbers[~labels.trusted]
    counts.index_add_(1, numbers, posterior.T.double())


def transition_of_counts(counts: Tensor, labels: int, dtype: torch.dtype, settings: TransitionSettings) -> Tensor:
    """T (C, C) from expected counts (C, C), which are overwritten. The counts determine the strength of the smoothing.

    The error rate of a class is shrunk towards the common rate, and its distribution over wrong labels towards the
    uniform one. The strength of both is the concentration that maximises the Dirichlet-multinomial likelihood of the
    counts (empirical Bayes).

    Args:
        counts: in double precision, row = true class, column = given label.
        labels: how many labels were counted.
        dtype: of T.
        settings: the least number of mistakes, and how many entries choose the smoothing.
    """
    right, of_class = counts.diagonal().clone(), counts.sum(1)
    wrong = counts  # from here on without the diagonal; in place, because the matrix is large
    wrong.diagonal().zero_()
    rate = _error_rates(wrong.sum(1), right, of_class).clamp_min(settings.least_mistakes / labels)
    _smooth_wrong_labels(wrong, settings.concentration_entries)
    wrong *= (rate / wrong.sum(1))[:, None]
    wrong.diagonal().copy_(1 - rate)
    return wrong.to(dtype).contiguous()  # contiguous, because columns are read element by element of a row


def _error_rates(wrongs: Tensor, right: Tensor, total: Tensor) -> Tensor:
    """The error rate (C,) of each class, from its expected counts of wrong, right and all labels (C,)."""
    common = wrongs.sum() / total.sum()
    strength = concentration(torch.stack([wrongs, right], 1), torch.stack([common, 1 - common]).clamp_min(FLOOR))
    return (wrongs + strength * common) / (total + strength)


def _smooth_wrong_labels(wrong: Tensor, most_entries: int) -> None:
    """Shrink the rows of expected wrong labels (C, C) towards uniform rows, in place; two classes need no smoothing."""
    classes = len(wrong)
    if classes == 2:
        wrong[:] = 1 - torch.eye(2, dtype=wrong.dtype, device=wrong.device)
        return
    step = math.ceil(classes**2 / most_entries)
    off_diagonal = ~torch.eye(classes, dtype=torch.bool, device=wrong.device)[::step]
    uniform = torch.full((classes - 1,), 1 / (classes - 1), dtype=wrong.dtype, device=wrong.device)
    wrong += concentration(wrong[::step][off_diagonal].view(-1, classes - 1), uniform) / (classes - 1)
    wrong.diagonal().zero_()


def concentration(counts: Tensor, mean: Tensor) -> float:
    """The Dirichlet concentration under which counts (rows, k) are likeliest, for a prior with this mean (k,).

    It is searched from 0.01 (rows are unrelated) to 100 000 (rows are the same), in steps of a factor 10^¼. The
    likelihood has one maximum (Levin & Reeds, Annals of Statistics 5, 1977), so with many counts every fourth step is
    tried first.
    """
    strengths = torch.tensor([10 ** (step / 4) for step in range(-8, 21)], dtype=counts.dtype, device=counts.device)
    sums = counts.sum(1)

    def likeliest(steps: range) -> int:
        likelihoods = []
        for part in chunks(len(steps), 3 * counts.numel()):
            prior = strengths[steps[part]][:, None] * mean
            whole = prior.sum(1, keepdim=True)
            rows = torch.lgamma(whole) - torch.lgamma(sums + whole) - torch.lgamma(prior).sum(1, keepdim=True)
            likelihoods.append(rows.sum(1) + torch.lgamma(counts + prior[:, None]).sum((1, 2)))
        return steps[int(torch.cat(likelihoods).argmax())]

    if len(strengths) * counts.numel() <= 4096:  # computing so many takes no longer than computing a few
        return float(strengths[likeliest(range(len(strengths)))])
    near = likeliest(range(0, len(strengths), 4))
    return float(strengths[likeliest(range(max(0, near - 3), min(len(strengths), near + 4)))])
