"""Which training samples help or harm a given sample: rows of the matrix whose mean is the averaged influence."""

from __future__ import annotations

from torch import Tensor

from audit.compute.matrix import Rows
from audit.errors import InputError
from audit.head.hessian import CHUNK_BYTES, HeadHessian
from audit.head.stable import StableSolver
from audit.influence.averaged import inner_products

MEMORY = 2**30  # bytes that pairwise influence may take at once, unless the caller says otherwise


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


def targets_at_once(
    hessian: HeadHessian, samples: int, element_bytes: int, memory: int, working_copies: int = 8
) -> int:
    """How many rows of pairwise influence can be computed together in this memory.

    Args:
        hessian: of the head.
        samples: the length of a row.
        element_bytes: of a number in it.
        memory: bytes.
        working_copies: arrays of C·D numbers in float64 that a solve keeps for each row: right-hand side, residual,
            direction, ...

    Raises:
        InputError: if it is not enough for one.
    """
    row_bytes = working_copies * hessian.parameters * 8 + 3 * samples * element_bytes
    count = (memory - 2 * CHUNK_BYTES) // row_bytes
    if count < 1:
        raise InputError(
            f"{memory} bytes are not enough for one row of pairwise influence; "
            f"give at least {2 * CHUNK_BYTES + row_bytes}"
        )
    return count
