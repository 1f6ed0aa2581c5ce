"""Influence of the head at its optimum: the exact engine, which audits take unless they are told otherwise."""

from __future__ import annotations

from torch import Tensor

from audit.compute.matrix import Rows, select_rows
from audit.head.fit import Head, probabilities, residuals
from audit.head.stable import StableSolver
from audit.influence.averaged import influence_on_validation
from audit.influence.engine import Influence, Labelled, check_request


class ExactEngine:
    """Influence by solving with the head's own Hessian: Cholesky or conjugate gradients to a stated residual.

    Args:
        head: trained, on embeddings.
        solver: with the Hessian of the head's objective on its training samples.
        most_target_bytes: size of the largest validation targets that a result keeps; by default those of 16 million
            validation samples of two classes.
    """

    def __init__(self, head: Head, solver: StableSolver, most_target_bytes: int = 2**28) -> None:
        self._head, self._solver, self._most_target_bytes = head, solver, most_target_bytes

    def averaged(self, samples: Labelled, validation: Tensor, validation_targets: Rows) -> Influence:
        """See `Engine.averaged`; one solve for both halves, to a relative residual of 1e-8."""
        check_request(self._head, samples, validation)
        z = self._head.features(samples.inputs)
        p = probabilities(z, self._head.weight)
        values, solution = influence_on_validation(
            self._solver,
            z,
            residuals(p, samples.targets),
            validation,
            residuals(select_rows(p, validation), validation_targets),
        )
        first = len(validation[0::2]) / len(validation)
        whole = first * solution.values[0] + (1 - first) * solution.values[1]
        kept = validation_targets if isinstance(validation_targets, Tensor) else None
        return Influence(
            values,
            solution.method,
            solution.residual,
            whole,
            self._solver.damping,
            None if kept is None or kept.nbytes > self._most_target_bytes else kept,
        )
