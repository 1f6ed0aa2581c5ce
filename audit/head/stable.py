"""Solutions of H S = B where H is ill-conditioned: by its dense factor, or with as little damping as it takes.

A head that was trained with next to no L2 on samples that it separates has a Hessian whose largest eigenvalue is
millions of times its smallest, and conjugate gradients stop short of a solution.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from audit.compute.matrix import Spread
from audit.errors import ConvergenceError
from audit.head.hessian import HeadHessian, Solution


class StableSolver:
    """Solves with a Hessian, and says so where it takes another way than asked.

    Args:
        hessian: H.
        method: 'auto', 'cholesky' or 'cg'.
        note: is told once, in a sentence, where damping had to be added.
        damping_step: factor on the ridge (L2 and damping) from one try to the next.
        most_ridge: the largest ridge to try; 1 is as large as the curvature of standardised features, so that H is
            well-conditioned.

    Attributes:
        hessian: the one that was solved with last: damped, where that was needed.
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
            dense = self._method == "cholesky" or isinstance(self.hessian.z, Spread)
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
            f"{self.damping:.1e} is added to its diagonal (a larger --l2 avoids that)"
        )
