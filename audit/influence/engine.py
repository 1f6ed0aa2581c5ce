"""How an audit asks for influence: one question, whichever engine answers it.

Signs and units are the same everywhere: positive = the sample helps; leaving it out of training raises the mean
validation loss by about influence / n nats, n being the number of training samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from audit.compute.matrix import Rows
from audit.errors import InputError
from audit.head.fit import Head, one_hot


@dataclass(frozen=True)
class Labelled:
    """Samples with the labels that their loss refers to.

    Attributes:
        inputs: embeddings (n, d); pixels (n, channels, height, width) for an engine on the whole model.
        targets: distributions over the classes (n, C), one-hot or soft.

    Raises:
        InputError: if the lengths differ.
    """

    inputs: Rows
    targets: Rows

    def __post_init__(self) -> None:
        if len(self.targets.shape) != 2 or len(self.inputs) != len(self.targets):
            raise InputError(
                f"inputs have shape {tuple(self.inputs.shape)}, targets {tuple(self.targets.shape)}; "
                "give (n, ...) and (n, classes) of the same n"
            )

    @classmethod
    def of(cls, inputs: Tensor, labels: Tensor, classes: int) -> Labelled:
        """With class numbers (n,) for labels."""
        return cls(inputs, one_hot(labels, classes, inputs.dtype))

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Influence:
    """The influence of every sample on the mean validation loss.

    Attributes:
        values: (n,), positive = the sample helps.
        method: how the linear system was solved: 'cholesky', 'cg' or the name of pyDVL's engine.
        residual: the largest relative residual of the solution; None where the engine does not know it.
        solution: S (C, D) with H S = the gradient of the mean validation loss; None where the engine has none.
        damping: what was added to the Hessian's diagonal beyond the given Hessian, to be able to solve.
        validation_targets: (m, C), what the loss took the validation labels to be; None where the engine has no
            solution, or where they are too many to keep.
    """

    values: Tensor
    method: str
    residual: float | None
    solution: Tensor | None = None
    damping: float = 0.0
    validation_targets: Tensor | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """What `AuditResult.heads` keeps beside the audited head: solution and validation_targets, where known."""
        kept = {"solution": self.solution, "validation_targets": self.validation_targets}
        return {name: values.cpu().numpy() for name, values in kept.items() if values is not None}


class Engine(Protocol):
    """Anything that computes influence; `audit.influence.make_engine.make_engine` makes one by its name."""

    def averaged(self, samples: Labelled, validation: Tensor, validation_targets: Rows) -> Influence:
        """Influence of every sample, validation samples included, on the mean validation loss.

        A validation sample must not count as helpful for lowering its own loss. It is scored by the mean loss of the
        half of the validation samples that it is not in; all others are scored by the mean loss of both halves.

        Args:
            samples: n of them.
            validation: positions (m,) of the validation samples among them, m ≥ 2; every other one makes a half.
            validation_targets: (m, C), what the validation loss takes their labels to be.

        Raises:
            InputError: if shapes do not match or there are fewer than two validation samples.
            ConvergenceError: if the engine does not reach the residual that it states.
        """


def check_request(head: Head, samples: Labelled, validation: Tensor) -> None:
    """Refuse samples that the head does not fit, and fewer than two validation samples.

    Raises:
        InputError: saying both shapes, or how many validation samples there are.
    """
    classes, features = head.weight.shape
    embeddings, targets = samples.inputs.shape, samples.targets.shape
    if (len(embeddings) == 2 and embeddings[1] != features - 1) or targets[1] != classes:
        raise InputError(
            f"embeddings have shape {tuple(embeddings)} and targets {tuple(targets)}; "
            f"the head takes (n, {features - 1}) and (n, {classes})"
        )
    if len(validation) < 2:
        raise InputError(f"influence needs two or more validation samples, and there are {len(validation)}; give more")
