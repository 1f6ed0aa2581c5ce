"""The influence of every training sample on every validation sample, as a matrix in memory or in a file.

The mean over its rows is the averaged influence of the training samples, `scores["influence"]`: both refer to the same
labels of the validation samples, those that the audit believed or was told to trust.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audit.compute.matrix import Rows, select_rows, to_memory
from audit.compute.memory import GIB
from audit.config import AuditConfig
from audit.data.arrays import embedding_parts, rows_of
from audit.errors import InputError
from audit.explain.audited import AuditedImages, audited_head
from audit.explain.matrix_file import written
from audit.explain.matrix_path import checked_path
from audit.head.fit import probabilities, residuals, targets_of
from audit.head.hessian import HeadHessian
from audit.head.stable import StableSolver
from audit.influence.averaged import inner_products
from audit.influence.pairwise import MEMORY, influence_on_targets, targets_at_once
from audit.progress import ProgressCallback, Step, silent
from audit.result import AuditResult

STAGE = "influence matrix"
HELD_OUT_ID = "validation-"  # begins the ids of samples that an audit of arrays was given as validation=


def influence_matrix(
    result: AuditResult,
    x: Any = None,
    validation: tuple[Any, Any] | None = None,
    *,
    to: str | Path | None = None,
    memory: int = MEMORY,
    progress: ProgressCallback = silent,
) -> np.ndarray:
    """The influence of every training sample on the loss of every validation sample.

    Args:
        result: an audit with engine 'exact', saved or not.
        x, validation: what `audit_embeddings` was given as such; neither for an audit of images, whose embeddings come
            from the cache.
        to: a .npy file to write the matrix to, a few rows at a time, with the ids of rows and columns beside it in a
            .parquet file of the same name; None to keep the matrix in memory.
        memory: bytes that the matrix and the work may take beside the embeddings and the Hessian's factor.
        progress: told after every few rows.

    Returns:
        (m, n_train), float64 (float32 on a GPU); positive = the training sample helps, in nats times n_train. Rows and
        columns are in the order of `result.scores`: those with split 'validation', and those with split 'train'. With
        `to`, the file, memory-mapped to read. The mean over rows is `scores["influence"]` of the training samples.

    Raises:
        InputError: if the audit had another engine, the embeddings are missing or not those that were audited, an image
            cannot be read any more, the matrix does not fit into `memory` and `to` is None, or the file cannot be
            written.
        ConvergenceError: if a solution does not reach a relative residual of 1e-8.
    """
    path = None if to is None else checked_path(to)
    _check_result(result)
    pairs = _pairs(result, x, validation, progress)
    shape = (len(pairs.z_validation), len(pairs.z))
    bytes_each = pairs.z.dtype.itemsize
    size = shape[0] * shape[1] * bytes_each if path is None else 0
    if 2 * size > memory:
        raise InputError(
            f"the influence matrix of {shape[0]} × {shape[1]} samples takes {size / GIB:.2f} GiB, more than half of "
            f"the {memory / GIB:.2f} GiB allowed; write it to a file (to='matrix.npy'), or allow more memory"
        )
    at_once = targets_at_once(pairs.solver.hessian, shape[1], bytes_each, memory - size)
    blocks = _blocks(pairs, min(at_once, max(1, shape[0])), progress)
    if path is not None:
        return written(path, shape, pairs.z.dtype, (values for _, values in blocks), result.scores)
    out = torch.empty(shape, dtype=pairs.z.dtype)
    for rows, values in blocks:
        out[rows] = values.cpu()
    return out.numpy()


def _check_result(result: AuditResult) -> None:
    if result.summary.influence is None:
        raise InputError("this audit rests on given predictions alone and trained no head; there is no influence")
    arrays = result.heads.get(result.audited_head, {})
    if "solution" not in arrays:
        engine = result.summary.influence.engine
        raise InputError(
            f"the influence matrix needs engine 'exact', and this audit used {engine}; run it again with --engine exact"
        )
    if "validation_targets" not in arrays:
        raise InputError(
            "this result does not contain the validation labels that influence refers to: there were too many, or an "
            "earlier version made it; audit fewer samples, or run the audit again"
        )


@dataclass(frozen=True)
class _Pairs:
    """Features and residuals of the training and the validation samples, and a solver with the head's Hessian.

    Attributes:
        z, residuals: (n, D) and (n, C) of the training samples.
        z_validation, residuals_validation: (m, D) and (m, C).
        solver: with the audit's own damping.
    """

    z: Rows
    residuals: Rows
    z_validation: Tensor
    residuals_validation: Tensor
    solver: StableSolver


def _pairs(result: AuditResult, x: Any, validation: Any, progress: ProgressCallback) -> _Pairs:
    config = result.summary.config
    of_arrays = result.summary.backbone is None
    source = _of_arrays(result, x, validation, config) if of_arrays else _of_images(result, x, validation, progress)
    trained_on, held_out = source
    head = audited_head(result, trained_on.device)
    if trained_on.shape[1] != head.weight.shape[1] - 1:
        raise InputError(
            f"the embeddings have {trained_on.shape[1]} features, and those that were audited had "
            f"{head.weight.shape[1] - 1}; give the same ones"
        )
    scores = result.scores
    labels = torch.from_numpy(result.class_positions(scores["label"][scores["split"] == "train"])).to(trained_on.device)
    z, z_validation = head.features(trained_on), head.features(held_out)
    p = probabilities(z, head.weight)
    wrong = residuals(p, targets_of(labels, len(result.summary.classes), z))
    arrays = result.heads[result.audited_head]
    _check_same(result, inner_products(z, wrong, torch.from_numpy(arrays["solution"]).to(z.device)[None])[0])
    believed = torch.from_numpy(arrays["validation_targets"]).to(z_validation)
    described = result.summary.influence
    hessian = HeadHessian(z, p, head.l2, damping=described.damping if described else 0.0)
    solver = StableSolver(hessian, config.solver, lambda text: progress(Step(STAGE, note=text)))
    return _Pairs(z, wrong, z_validation, residuals(probabilities(z_validation, head.weight), believed), solver)


def _of_arrays(result: AuditResult, x: Any, validation: Any, config: AuditConfig) -> tuple[Rows, Tensor]:
    """Embeddings (n, d) and (m, d) of the training and validation samples of an audit of arrays."""
    if x is None:
        raise InputError(
            "this audit was made from embeddings, which a result does not contain; give them from Python, and "
            "validation= if the audit had it: audit.influence_matrix(result, x, to='matrix.npy')"
        )
    parts = embedding_parts(x, "x")
    own = sum(len(part) for part in parts)
    ids = result.scores.index
    elsewhere = np.array([name.startswith(HELD_OUT_ID) for name in ids], dtype=bool)
    if elsewhere.any() and validation is None:
        raise InputError("the audit had separate validation samples; give them as validation=, too")
    if elsewhere.any():
        pair = isinstance(validation, tuple | list) and len(validation) == 2
        parts = [*parts, *embedding_parts(validation[0] if pair else validation, "validation")]
    rows = np.array([int(name.removeprefix(HELD_OUT_ID)) for name in ids]) + np.where(elsewhere, own, 0)
    total = sum(len(part) for part in parts)
    if len(rows) and (rows.max() >= total or (rows[~elsewhere] >= own).any()):
        raise InputError(f"the audit scored more samples than the {total} embeddings given; give all that were audited")
    every = rows_of(parts, len(result.summary.classes), config)
    split = result.scores["split"].to_numpy()
    trained_on, held_out = (
        select_rows(every, torch.from_numpy(rows[split == name])) for name in ("train", "validation")
    )
    return trained_on, to_memory(held_out)


def _of_images(result: AuditResult, x: Any, validation: Any, progress: ProgressCallback) -> tuple[Rows, Tensor]:
    """Embeddings (n, d) and (m, d) of the training and validation samples of an audit of images."""
    if x is not None or validation is not None:
        raise InputError(
            "this audit was made from images, whose embeddings are in the cache; leave out x and validation"
        )
    images = AuditedImages(result)
    rows = result.scores[result.scores["split"].isin(["train", "validation"])]
    embedded = images.embed(rows, progress)
    if embedded.skipped:
        place, reason = embedded.skipped[0]
        raise InputError(
            f"{len(embedded.skipped)} of {len(rows)} images can no longer be read, the first one of sample "
            f"{rows.index[place]} ({reason}); put them back, or run the audit again"
        )
    every = rows_of([embedded.values], len(result.summary.classes), images.config)
    train = (rows["split"] == "train").to_numpy()
    trained_on, held_out = (select_rows(every, torch.from_numpy(np.flatnonzero(chosen))) for chosen in (train, ~train))
    return trained_on, to_memory(held_out)


def _check_same(result: AuditResult, influence: Tensor, tolerance: float = 1e-2) -> None:
    """Refuse embeddings by which the influence of the training samples differs from the audit's, by this share."""
    scored = result.scores["influence"][result.scores["split"] == "train"].to_numpy()
    found = influence.double().cpu().numpy()
    if not np.linalg.norm(found - scored) <= tolerance * np.linalg.norm(scored):
        raise InputError(
            "with these embeddings, the influence of the training samples differs from the audit's; give the "
            "embeddings that were audited, in the same order"
        )


def _blocks(pairs: _Pairs, at_once: int, progress: ProgressCallback) -> Iterator[tuple[slice, Tensor]]:
    """The matrix, a few rows at a time."""
    count = len(pairs.z_validation)
    for start in range(0, count, at_once):
        rows = slice(start, min(start + at_once, count))
        wrong = pairs.residuals_validation[rows]
        yield rows, influence_on_targets(pairs.solver, pairs.z_validation[rows], wrong, pairs.z, pairs.residuals)
        progress(Step(STAGE, rows.stop, count, "rows"))
