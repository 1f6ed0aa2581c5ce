"""Which training samples help or harm a given sample: the matrix whose mean over rows is the averaged influence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audit.compute.matrix import Rows
from audit.errors import InputError
from audit.head.hessian import CHUNK_BYTES, HeadHessian
from audit.head.stable import StableSolver
from audit.influence.averaged import inner_products

MEMORY = 2**30
WORKING_COPIES = 8  # right-hand sides, residuals, directions, ...: arrays of C·D that one solve keeps for each


def pairwise_influence(
    hessian: HeadHessian,
    z_targets: Tensor,
    residuals_targets: Tensor,
    z: Rows,
    residuals: Rows,
    method: str = "auto",
    targets_at_once: int = 16,
    tolerance: float = 1e-8,
) -> Tensor:
    """Influence of every sample on the loss of every target.

    Args:
        hessian: of the training objective.
        z_targets, residuals_targets: (m, D) and (m, C) of the targets, e.g. chosen validation samples.
        z, residuals: (n, D) and (n, C) of the samples.
        method: 'auto', 'cholesky' or 'cg'.
        targets_at_once: right-hand sides a solve: memory grows by that many times C·D and n.
        tolerance: relative residual of the solutions; 1e-3 is enough to rank samples.

    Returns:
        (m, n), positive = the sample helps the target.
    """
    out = torch.empty(len(z_targets), len(z), dtype=z.dtype, device=z.device)
    solver = StableSolver(hessian, method)
    for start in range(0, len(z_targets), targets_at_once):
        part = slice(start, start + targets_at_once)
        out[part] = influence_on_targets(solver, z_targets[part], residuals_targets[part], z, residuals, tolerance)
    return out


def stream_pairwise(
    hessian: HeadHessian,
    z_targets: Tensor,
    residuals_targets: Tensor,
    z: Tensor,
    residuals: Tensor,
    folder: str | Path,
    method: str = "auto",
    memory: int = MEMORY,
) -> Any:
    """`pairwise_influence` to a zarr array on disk, a few rows at a time.

    Args:
        hessian, z_targets, residuals_targets, z, residuals, method: as there.
        folder: a new folder for the array.
        memory: bytes that right-hand sides, solutions, finished rows and temporaries may take together.

    Returns:
        The zarr array (m, n), one chunk for the rows that were made together.

    Raises:
        InputError: as `write_rows` and `targets_at_once`.
    """
    at_once = targets_at_once(hessian, len(z), z.element_size(), memory)
    solver = StableSolver(hessian, method)

    def rows(part: slice) -> Tensor:
        return influence_on_targets(solver, z_targets[part], residuals_targets[part], z, residuals)

    return write_rows(folder, (len(z_targets), len(z)), z.dtype, at_once, rows)


def write_rows(
    folder: str | Path, shape: tuple[int, int], dtype: torch.dtype, at_once: int, rows: Callable[[slice], Tensor]
) -> Any:
    """A matrix to a zarr array in a new folder, so many rows at a time, one chunk for each.

    Raises:
        InputError: if zarr is not installed or the folder exists already.
    """
    try:
        import zarr
    except ModuleNotFoundError:
        raise InputError("a pairwise influence matrix on disk needs zarr; install it, or ask for fewer rows") from None
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"folder {str(folder)!r} exists already; give a new one")
    at_once = max(1, min(at_once, shape[0]))
    array = zarr.create_array(
        folder, shape=shape, chunks=(at_once, max(1, shape[1])), dtype=str(dtype).removeprefix("torch.")
    )
    for start in range(0, shape[0], at_once):
        stop = min(start + at_once, shape[0])
        array[start:stop] = rows(slice(start, stop)).cpu().numpy()
    return array


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


def influence_on_targets(
    solver: StableSolver,
    z_targets: Tensor,
    residuals_targets: Tensor,
    z: Rows,
    residuals: Rows,
    tolerance: float = 1e-8,
) -> Tensor:
    """Influence (m, n) of every sample on the loss of every target, all m at once; see `pairwise_influence`."""
    gradients = residuals_targets.double()[:, :, None] * z_targets.double()[:, None, :]
    return inner_products(z, residuals, solver.solve(gradients, tolerance).values)
