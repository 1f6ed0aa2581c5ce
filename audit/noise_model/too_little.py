"""Whether the embeddings say enough about the labels to judge them.

The audit finds a wrong label because the picture predicts another one. If the readings predict the given labels no
better than the class frequencies do, mistakes cannot be estimated: the likelihood Σ_k p_k T_kj is the same for every T
that keeps the frequencies. The audit then keeps the simplest explanation, that the given labels are right.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from audit.compute.by_blocks import map_blocks
from audit.compute.matrix import Rows
from audit.noise_model.given_labels import GivenLabels
from audit.noise_model.rounds import Mixture
from audit.noise_model.settings import NoiseSettings


def evidence_over_frequencies(labels: Tensor, classes: int, mean_log_likelihood: float) -> float:
    """By how much a model predicts labels better than their own frequencies do (nats, over all samples).

    Args:
        labels: (n,) class numbers.
        classes: C.
        mean_log_likelihood: of the given labels under the model (nats a sample).
    """
    n = len(labels)
    counts = torch.bincount(labels, minlength=classes).double()
    by_frequency = float(torch.xlogy(counts, counts / n).sum())
    return n * mean_log_likelihood - by_frequency


def frequencies(labels: Tensor, classes: int) -> Tensor:
    """float32 (C,): the share of each class."""
    return torch.bincount(labels, minlength=classes).float() / len(labels)


def labels_as_given(labels: Tensor, classes: int, rate: float, trusted: Tensor | None) -> Rows:
    """float32 (n, C): P(true class) if all labels are equally likely to be wrong, and nearly all are right.

    Args:
        labels: (n,) class numbers.
        classes: C.
        rate: probability that a label is wrong. The other classes share this probability by their frequencies.
        trusted: bool (n,), labels that are known to be right; None if there are none.
    """
    posterior: Rows
    (posterior,) = map_blocks(_as_given, (labels, trusted), frequencies(labels, classes), rate, numbers=3 * classes)
    return posterior


def _as_given(labels: Tensor, trusted: Tensor | None, shares: Tensor, rate: float) -> tuple[Tensor]:
    others = shares.repeat(len(labels), 1).scatter_(1, labels[:, None], 0.0)
    posterior = others.div_(others.sum(1, keepdim=True)).mul_(rate).scatter_(1, labels[:, None], 1 - rate)
    if trusted is not None:
        posterior[trusted] = torch.nn.functional.one_hot(labels[trusted], len(shares)).to(posterior)
    return (posterior,)


def _repeated(labels: Tensor, shares: Tensor) -> tuple[Tensor]:
    return (shares.repeat(len(labels), 1),)


def slips_alone(classes: int, rate: float, like: Tensor) -> Tensor:
    """T (C, C) if every label is wrong at one rate, whatever its class; in the precision of the matrix `like`."""
    transition = torch.full((classes, classes), rate / (classes - 1), dtype=like.dtype, device=like.device)
    transition.diagonal().fill_(1 - rate)
    return transition


def believe_as_given(mixture: Mixture, labels: GivenLabels, settings: NoiseSettings) -> Mixture:
    """A round's mixture, changed to assume that the given labels are right."""
    classes = mixture.prior.shape[1]
    prior: Rows
    (prior,) = map_blocks(_repeated, (labels.numbers,), frequencies(labels.numbers, classes), numbers=classes)
    return replace(
        mixture,
        prior=prior,
        posterior=posterior_as_given(labels, classes, settings),
        transition=slips_alone(classes, _least_rate(labels, settings), mixture.transition),
        likeliest_share=1.0,
    )


def posterior_as_given(labels: GivenLabels, classes: int, settings: NoiseSettings) -> Rows:
    """float32 (n, C): P(true class) if the given labels are assumed to be right."""
    return labels_as_given(labels.numbers, classes, _least_rate(labels, settings), labels.trusted)


def _least_rate(labels: GivenLabels, settings: NoiseSettings) -> float:
    return settings.transition.least_mistakes / len(labels)
