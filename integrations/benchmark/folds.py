"""Out-of-sample predictions for the peers that need them, by five-fold cross-validation of the same softmax head.

The peers' folds share one L2 and are stopped as early as our own fits of the noise model, which is the cheapest way.
What folds cost that are trained as far as the audit's head is measured beside it, and what it costs to cross-validate
the audit's head as it is: each fold's L2 is chosen then, as `cross_val_predict` does with an estimator that chooses
one.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from audit.head.factors import SecondMoment
from audit.head.fit import choose_l2, cross_entropy, fit_softmax, one_hot, train_head
from audit.head.standardise import Standardiser
from audit.noise_model.settings import NoiseSettings
from integrations.benchmark.cases import Case

PEER_FOLDS = 5  # of the cross-validation that gives peers their out-of-sample predictions


def cross_validation(case: Case, trained: bool = False) -> np.ndarray:
    """Out-of-sample predictions (n, C) of a head with the best L2 by held-out loss.

    Args:
        case: to predict.
        trained: to the tolerance and in the precision of the audit's head, not of its noise model's fits.
    """
    x, given = case.tensors()
    z = Standardiser.fit(x)(x)
    z = z if trained else z.float()
    targets = one_hot(given, case.classes, z.dtype)
    fold = _folds(case)
    moment = SecondMoment.of(z)
    kept, held = fold != 0, fold == 0
    l2, _ = choose_l2(
        z[kept], targets[kept], lambda weight: cross_entropy(z[held], weight, targets[held]), moment=moment
    )
    tolerance = None if trained else NoiseSettings().head.tolerance
    out = torch.empty_like(targets)
    for number in range(PEER_FOLDS):
        kept, held = fold != number, fold == number
        weight, _ = fit_softmax(z[kept], targets[kept], l2, tolerance=tolerance, moment=moment)
        out[held] = (z[held] @ weight.T).softmax(1)
    return out.double().numpy()


def cross_validated_head(case: Case) -> np.ndarray:
    """Out-of-sample predictions (n, C) of the audit's head, its L2 chosen in each fold by the held-out loss."""
    x, given = case.tensors()
    fold = _folds(case)
    out = torch.empty(len(x), case.classes, dtype=x.dtype)
    for number in range(PEER_FOLDS):
        kept, held = fold != number, fold == number
        # Near enough to the optimum for predictions, if not for influence.
        head = train_head(x[kept], given[kept], x[held], given[held], case.classes, weight_tolerance=math.inf)
        out[held] = head.probabilities(x[held])
    return out.numpy()


def _folds(case: Case) -> torch.Tensor:
    """(n,) number of the fold that each sample is held out in."""
    return torch.randperm(len(case.x), generator=torch.Generator().manual_seed(case.seed)) % PEER_FOLDS
