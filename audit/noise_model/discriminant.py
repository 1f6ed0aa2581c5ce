"""Linear discriminants: the distance of a sample from the mean of each class, by the covariance within classes.

Ridge regression of distributions over classes on embeddings maps a sample to C numbers. Its prediction for a training
sample without that sample follows in closed form (PRESS; Allen, Technometrics 16, 1974). The model assumes that these
out-of-sample numbers are normal in each class, about the mean of the class, with one covariance (Fisher 1936). That is
penalised linear discriminant analysis of the embeddings themselves (Hastie, Buja & Tibshirani, Annals of Statistics 23,
1995; Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, exercise 4.3). There is one difference: the
covariance within classes is out of sample, too. With as many dimensions as an embedding has, an in-sample covariance
would be too small for its own samples.

A softmax head depends on the samples near the class boundaries, and a discriminant on the class means. So the
discriminant adds information. It is the better of the two if classes have few samples or many labels are wrong, and
takes a small part of the head's time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from audit.compute.by_blocks import map_blocks
from audit.compute.matrix import Rows, blocks, derive, fetch_rows, to_memory, total
from audit.head.factors import SecondMoment
from audit.head.hessian import chunks
from audit.influence.averaged import mean_gradient
from audit.noise_model.settings import DiscriminantSettings

DEFAULTS = DiscriminantSettings()


class LeastSquares:
    """Ridge regression on features. The penalty is chosen by the squared error out of sample.

    Args:
        z: features (n, D); not necessarily in memory.
        moment: the factorised second moment of z.
        targets: (n, C) distributions over classes, for which the penalty is chosen.
        some: positions (k,) of the samples whose error chooses the penalty.
        ridges: penalties to choose from, as shares of the mean second moment.

    Attributes:
        ridge: the penalty, as a share of the mean second moment.
        leverage: (n,) weight of each sample's own target in its prediction, 0 to 1.
    """

    def __init__(
        self,
        z: Rows,
        moment: SecondMoment,
        targets: Rows,
        some: Tensor,
        ridges: Sequence[float] = DEFAULTS.ridges,
    ) -> None:
        self.z, self.moment = z, moment
        products, classes = self._products(targets), targets.shape[1]
        looked_at, wanted = moment.rotate(fetch_rows(z, some)), fetch_rows(targets, some)
        squares = looked_at**2
        errors = []
        for ridge in ridges:
            inverse = self._inverse(ridge)
            predicted = looked_at @ (inverse[:, None] * products) + 1 / classes
            left_out = _left_out(predicted, wanted, squares @ inverse / len(z))
            errors.append(float((left_out - wanted).square().mean()))
        self.ridge = ridges[errors.index(min(errors))]
        weights = self._inverse(self.ridge) / len(z)
        self.leverage = to_memory(derive(partial(_weighted_squares, moment=moment, weights=weights), z, width=1))[:, 0]

    def __call__(self, targets: Rows) -> Rows:
        """Predict distributions over classes (n, C), for each sample without its own target."""
        weight = self._inverse(self.ridge)[:, None] * self._products(targets)
        if self.moment.vectors is not None:
            weight = self.moment.vectors.to(weight) @ weight
        predicted: Rows
        (predicted,) = map_blocks(
            _predicted, (self.z, targets, self.leverage), weight.T.contiguous(), numbers=3 * targets.shape[1]
        )
        return predicted

    def _inverse(self, ridge: float) -> Tensor:
        """The inverse (D,) of the penalised second moment, in its eigenvectors."""
        values = self.moment.values
        return (1 / (values + ridge * values.mean())).to(self.z.dtype)

    def _products(self, targets: Rows) -> Tensor:
        """zᵀ (targets − 1 / C) / n (D, C), in the eigenvectors of the second moment."""
        # The targets' distance from flat ones makes predictions sum to one, however the penalty shrinks the constant.
        products = mean_gradient(self.z, derive(_from_flat, targets, width=targets.shape[1])).T
        if self.moment.vectors is not None:
            products = self.moment.vectors.to(products).T @ products
        return products.to(self.z.dtype)


def _predicted(z: Tensor, targets: Tensor, leverage: Tensor, weight: Tensor) -> tuple[Tensor]:
    """Predictions (k, C) of samples without their own targets (k, C)."""
    return (_left_out(z @ weight.T + 1 / len(weight), targets, leverage),)


def _left_out(predicted: Tensor, targets: Tensor, leverage: Tensor) -> Tensor:
    """Predictions (k, C) without the sample's own targets (k, C)."""
    own = leverage.clamp_max(DEFAULTS.most_leverage)[:, None]
    return (predicted - own * targets) / (1 - own)


def _from_flat(targets: Tensor) -> Tensor:
    return targets - 1 / targets.shape[1]


def _weighted_squares(z: Tensor, moment: SecondMoment, weights: Tensor) -> Tensor:
    return (moment.rotate(z) ** 2 @ weights)[:, None]


@dataclass(frozen=True)
class Discriminant:
    """Normal classes with a common covariance, in C − 1 of the C predicted numbers (they sum to one).

    Attributes:
        samples: n.
        centre: (C − 1,) mean prediction.
        whitening: (C − 1, C − 1), makes the covariance within classes the identity.
        means: (C, C − 1) whitened means of the classes.
        sizes: (C,) number of samples of each class.
    """

    samples: int
    centre: Tensor
    whitening: Tensor
    means: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, predicted: Rows, targets: Rows, jitter: float = DEFAULTS.jitter) -> Discriminant:
        """Fit to predictions (n, C) of samples with targets (n, C), which are distributions over classes.

        The share `jitter` of the covariance within classes is added to its diagonal.
        """
        n, classes = predicted.shape
        (centre,) = total(_sum, (predicted,))
        centre = (centre.to(predicted.dtype) / n)[:-1]
        sizes, sums, squares = total(_moments, (predicted, targets), centre)
        means = sums / sizes.clamp_min(DEFAULTS.least_samples)[:, None]
        within = (squares - means.T @ sums) / n
        # If embeddings are uninformative, one label more or less moves a prediction by 1 / n. This must not be
        # evidence.
        within.diagonal().add_(jitter * within.diagonal().mean() + 1 / n)
        identity = torch.eye(classes - 1, dtype=within.dtype, device=within.device)
        whitening = torch.linalg.solve_triangular(torch.linalg.cholesky(within), identity, upper=False).T
        rounded = (centre, whitening.contiguous(), means @ whitening, sizes)
        return cls(n, *(part.to(predicted.dtype) for part in rounded))

    def __call__(self, predicted: Tensor, targets: Tensor) -> Tensor:
        """Probabilities (k, C) of samples' classes, by means, sizes and covariance without the sample itself.

        Args:
            predicted: (k, C) out-of-sample predictions of samples that it was fitted to.
            targets: (k, C) their distributions over classes.
        """
        n, own = self.samples, targets
        left = (self.sizes - own).clamp_min(DEFAULTS.least_samples)
        grown = self.sizes / left  # factor by which a distance from a mean grows without the sample
        place = (predicted[:, :-1] - self.centre) @ self.whitening
        squared = place.square().sum(1, keepdim=True) - 2 * place @ self.means.T + self.means.square().sum(1)
        # Remove the sample's part in the covariance from the inverse (Sherman & Morrison 1950).
        away = place - own @ self.means
        along = (away * place).sum(1, keepdim=True) - away @ self.means.T
        weight = (own * grown).sum(1, keepdim=True) / n
        part = (weight * away.square().sum(1, keepdim=True)).clamp_max(DEFAULTS.most_leverage)
        squared = (n - 1) / n * grown.square() * (squared + along.square() * (weight / (1 - part)))
        return (left.log() - squared / 2).softmax(1)


def _sum(predicted: Rows) -> tuple[Tensor]:
    """The sum (C,) of predictions (n, C), added up in double precision over blocks."""
    out = torch.zeros(predicted.shape[1], dtype=torch.float64, device=predicted.device)
    for rows in blocks(predicted, 2 * predicted.shape[1]):
        out += predicted[rows].sum(0)
    return (out,)


def _moments(predicted: Rows, targets: Rows, centre: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sizes (C,) of classes, sums (C, C − 1) of their samples' predictions about a centre (C − 1,), and the sum of all
    products of these (C − 1, C − 1)."""
    classes = predicted.shape[1]
    sizes, sums, squares = (
        torch.zeros(*shape, dtype=torch.float64, device=predicted.device)
        for shape in ((classes,), (classes, classes - 1), (classes - 1, classes - 1))
    )
    for rows in chunks(len(predicted), 4 * classes):
        own, place = targets[rows].double(), (predicted[rows][:, :-1] - centre).double()
        sizes += own.sum(0)
        sums += own.T @ place
        squares += place.T @ place
    return sizes, sums, squares
