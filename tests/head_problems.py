"""Trained heads on data made for a test, or on digits, with what they were trained on and a validation split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from audit.config import AuditConfig
from audit.head.factors import SecondMoment
from audit.head.fit import Head, cross_entropy, fit_softmax, probabilities, residuals, train_head
from audit.head.hessian import HeadHessian
from audit.head.leave_one_out.choose_method import leave_one_out
from audit.head.leave_one_out.common import LeaveOneOut
from audit.head.settings import LeaveOneOutSettings
from audit.head.stable import StableSolver
from audit.head.standardise import Standardiser
from audit.influence.averaged import inner_products, mean_gradient
from audit.influence.engine import Labelled
from audit.influence.pairwise import influence_on_targets

SCIKIT_DIGITS = 10


@dataclass(frozen=True)
class Problem:
    """A head at its optimum, with what it was trained on and a validation split."""

    head: Head
    train: Labelled
    validation: Labelled
    labels: Tensor
    weights: Tensor | None = None

    @property
    def z(self) -> Tensor:
        return self.head.features(self.train.inputs)

    @property
    def z_validation(self) -> Tensor:
        return self.head.features(self.validation.inputs)

    @cached_property
    def moment(self) -> SecondMoment:
        """For refits, which have it in common."""
        return SecondMoment.of(self.z)

    @cached_property
    def hessian(self) -> HeadHessian:
        return HeadHessian(self.z, probabilities(self.z, self.head.weight), self.head.l2, self.weights)

    def material(self, samples: Labelled) -> tuple[Tensor, Tensor]:
        """Features (n, D) and residuals (n, C)."""
        z = self.head.features(samples.inputs)
        return z, residuals(probabilities(z, self.head.weight), samples.targets)

    def averaged(self, samples: Labelled, validation: Labelled, solver: str = "auto") -> Tensor:
        """Influence (n,) of samples on the mean loss of others, without the rule of halves: the bare formula."""
        gradient = mean_gradient(*self.material(validation))
        solution = StableSolver(self.hessian, solver).solve(gradient[None])
        return inner_products(*self.material(samples), solution.values)[0]

    def pairwise(self, validation: Labelled, samples: Labelled, solver: str = "auto") -> Tensor:
        """Influence (m, n) of samples on the loss of each of others."""
        return influence_on_targets(
            StableSolver(self.hessian, solver), *self.material(validation), *self.material(samples)
        )

    def left_out(self, method: str = "auto", settings: LeaveOneOutSettings = LeaveOneOutSettings()) -> LeaveOneOut:
        """Of the training samples."""
        z, wrong = self.hessian.z, self.material(self.train)[1]
        logits = z @ self.head.weight.T
        return leave_one_out(self.hessian, z, logits, wrong, self.weights, method=method, settings=settings)

    def everything(self) -> tuple[Labelled, Tensor, Tensor]:
        """Training and validation samples together, and the positions of either."""
        parts = (self.train, self.validation)
        samples = Labelled(torch.cat([part.inputs for part in parts]), torch.cat([part.targets for part in parts]))
        return samples, *torch.arange(len(samples)).split([len(part) for part in parts])


def made_problem(
    n: int = 60,
    m: int = 12,
    features: int = 5,
    classes: int = 3,
    l2: float = 1e-2,
    seed: int = 0,
    weights: Tensor | None = None,
    x: Tensor | None = None,
    labels: Tensor | None = None,
) -> Problem:
    """n samples to train on and m to validate on: normal clouds of the given shape, or the given x and labels."""
    generator = torch.Generator().manual_seed(seed)
    if x is None or labels is None:
        centres = torch.randn(classes, features, generator=generator, dtype=torch.float64)
        labels = torch.randint(classes, (n + m,), generator=generator)
        x = centres[labels] + torch.randn(n + m, features, generator=generator, dtype=torch.float64)
    standardiser = Standardiser.fit(x[:n])
    train = Labelled.of(x[:n], labels[:n], classes)
    weight, norm = fit_softmax(standardiser(x[:n]), train.targets, l2, weights=weights, tolerance=1e-11)
    head = Head(weight, standardiser, l2, "newton", norm)
    return Problem(head, train, Labelled.of(x[n:], labels[n:], classes), labels[:n], weights)


def tuned_problem(x: Tensor, labels: Tensor, classes: int) -> Problem:
    """With the L2 that the audit itself would choose."""
    n = round(0.8 * len(x))
    l2 = train_head(x[:n], labels[:n], x[n:], labels[n:], classes).l2
    return made_problem(n=n, classes=classes, l2=l2, x=x, labels=labels)


@lru_cache(1)
def scikit_digits() -> tuple[Tensor, Tensor]:
    """All 1797 digits as raw pixels, shuffled, one label in ten wrong."""
    from sklearn.datasets import load_digits

    images, given_labels = load_digits(return_X_y=True)
    x, labels = torch.from_numpy(images), torch.from_numpy(given_labels).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, labels = x[order], labels[order]
    labels[::10] = (labels[::10] + 1) % SCIKIT_DIGITS
    return x, labels


@lru_cache(1)
def digits_problem() -> Problem:
    """A thousand of these digits."""
    x, labels = scikit_digits()
    return tuned_problem(x[:1000], labels[:1000], SCIKIT_DIGITS)


@lru_cache(1)
def embedded_problem() -> Problem:
    """Two classes of digits as the bundled backbone's embeddings, fewer than features, one label in ten wrong."""
    from audit.data.samples import decode_image
    from audit.images.load_backbone import load_backbone
    from integrations.sources.digits import digits

    backbone = load_backbone(weights="bundled", device="cpu")
    images = list(digits(["3", "8"]))[:300]
    pixels = [torch.from_numpy(backbone.prepared(decode_image(image.image)).copy()) for image in images]
    x = torch.cat([backbone.embed(part) for part in torch.stack(pixels).split(AuditConfig().batch_size)])
    labels = torch.tensor([int(image.label == "8") for image in images])
    labels[::10] = 1 - labels[::10]
    return tuned_problem(x.double(), labels, 2)


def refit_without(problem: Problem, row: int) -> tuple[Tensor, float]:
    """What a head that is trained without a training sample predicts for it (C,), and the change of validation loss.

    A weight of 0 removes the sample; dividing by n − 1 as well would change L2 for all the others.
    """
    head, z, z_validation = problem.head, problem.z, problem.z_validation
    weights = torch.ones(len(z), dtype=torch.float64)
    weights[row] = 0
    refit, _ = fit_softmax(
        z, problem.train.targets, head.l2, weights=weights, initial=head.weight, moment=problem.moment
    )
    before, after = (cross_entropy(z_validation, weight, problem.validation.targets) for weight in (head.weight, refit))
    return (z[row] @ refit.T).softmax(0), after - before


def relative(a: Tensor, b: Tensor) -> float:
    """‖a − b‖ / ‖b‖."""
    return float((a - b).norm() / b.norm())
