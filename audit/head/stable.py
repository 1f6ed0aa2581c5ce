"""Solutions of H S = B for ill-conditioned H: by its dense factor, or with as little damping as necessary.

The Hessian of a head that separates its samples, and was trained with very little L2, may have a largest eigenvalue of
millions of times the smallest. Conjugate gradients then stop before they reach a solution.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from audit.compute.matrix import RemoteRows
from audit.errors import ConvergenceError
from audit.head.hessian import HeadHessian, Solution


class StableSolver:
    """Solves systems with a Hessian, with damping where necessary.

    Args:
        hessian: H.
        method: 'auto', 'cholesky' or 'cg'.
        note: receives a message if damping had to be added.
        damping_step: factor on the ridge (L2 and damping) from one try to the next.
        most_ridge: the largest ridge to try; 1 is as large as the curvature of standardised features, so that H is
            well-conditioned.

    Attributes:
        hessian: the one of the last solution, with its damping.
    """

    def __init__(
        self,
        hessian: HeadHessian,
        method: str = "auto",
        note: Callable[[str], None] = lambda text: None,
        damping_step: float = 10.0,
        most_ridge: float = 1.0,
    ) -> None:
        self.hessian = hessian
        self._given, self._method, self._note = hessian, method, note
        self._damping_step, self._most_ridge = damping_step, most_ridge

    @property
    def damping(self) -> float:
        """What was added to the diagonal of the given Hessian."""
        return self.hessian.ridge - self._given.ridge

    def solve(self, b: Tensor, tolerance: float = 1e-8) -> Solution:
        """Solve H S = B for B (k, C, D), as `HeadHessian.solve`.

        Raises:
            ConvergenceError: if no ridge up to `most_ridge` helps.
        """
        while True:
            try:
                return self._as_it_is(b, tolerance)
            except ConvergenceError as error:
                ridge = self._damping_step * self.hessian.ridge
                if ridge > self._most_ridge:
                    raise
                self._damp(ridge, error)

    def _as_it_is(self, b: Tensor, tolerance: float) -> Solution:
        try:
            return self.hessian.solve(b, self._method, tolerance)
        except ConvergenceError:
            dense = self._method == "cholesky" or isinstance(self.hessian.z, RemoteRows)
            if dense or self.hessian.parameters > self.hessian.settings.dense_parameters:
                raise
            self._method = "cholesky"
            return self.hessian.solve(b, self._method, tolerance)

    def _damp(self, ridge: float, error: ConvergenceError) -> None:
        former = self.hessian
        moment = former.__dict__.get("moment")
        self.hessian = HeadHessian(former.z, former.p, ridge, former.w, moment=moment)
        self._note(
            f"the head's Hessian is ill-conditioned with an L2 penalty of {self._given.ridge:.1e} ({error}): "
            f"{self.damping:.1e} was added to its diagonal (a larger --l2 avoids that)"
        )
