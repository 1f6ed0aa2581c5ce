"""Which training samples help or harm a given sample: rows of the matrix whose mean is the averaged influence."""

from __future__ import annotations

from torch import Tensor

from audit.compute.matrix import Rows
from audit.errors import InputError
from audit.head.hessian import CHUNK_BYTES, HeadHessian
from audit.head.stable import StableSolver
from audit.influence.averaged import inner_products

MEMORY = 2**30
WORKING_COPIES = 8  # right-hand sides, residuals, directions, ...: arrays of C·D that one solve keeps for each


def influence_on_targets(
    solver: StableSolver,
    z_targets: Tensor,
    residuals_targets: Tensor,
    z: Rows,
    residuals: Rows,
    tolerance: float = 1e-8,
) -> Tensor:
    """Influence of every sample on the loss of every target, in one solve for all targets.

    Args:
        solver: with the Hessian of the training objective.
        z_targets, residuals_targets: features (m, D) and p − t (m, C) of the targets, e.g. chosen validation samples.
        z, residuals: (n, D) and (n, C) of the samples.
        tolerance: relative residual of the solutions; 1e-3 is enough to rank samples.

    Returns:
        (m, n), positive = the sample helps the target.
    """
    gradients = residuals_targets.double()[:, :, None] * z_targets.double()[:, None, :]
    return inner_products(z, residuals, solver.solve(gradients, tolerance).values)


def targets_at_once(hessian: HeadHessian, samples: int, element_bytes: int, memory: int) -> int:
    """How many rows over so many samples can be made together in this memory (bytes).

    Raises:
        InputError: if it does not do for one.
    """
    each = WORKING_COPIES * hessian.parameters * 8 + 3 * samples * element_bytes
    count = (memory - 2 * CHUNK_BYTES) // each
    if count < 1:
        raise InputError(
            f"{memory} bytes do not do for one row of pairwise influence; give at least {2 * CHUNK_BYTES + each}"
        )
    return count
