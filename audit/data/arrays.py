"""Embeddings and labels that a caller gives to an audit, as arrays.

Embeddings may be arrays, tensors, tables, lists of rows, sparse matrices or files. They are audited with exactly their
numbers, or refused in one line that says what to give instead. Nothing is silently dropped, filled or rounded.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.compute.matrix import Rows, StoredRows, aligned, to_memory
from audit.compute.memory import GIB, free_memory
from audit.config import AuditConfig
from audit.data.left_out import kind_of, label_array
from audit.data.samples import is_missing
from audit.errors import InputError, first_line
from audit.images.backbone import choose_device

WORKING_PRECISION = {"cpu": torch.float64, "cuda": torch.float32}  # sums over samples are always in float64
IN_MEMORY_BYTES = 2**28  # of embeddings, up to which they are held in memory; on a GPU, an eighth of its memory


@dataclass(frozen=True)
class Arrays:
    """Embeddings and labels of n samples.

    Attributes:
        parts: embeddings (n_i, d), one after another, of real numbers.
        labels: (n,) integers, booleans or strings.
        missing: bool (n,), the samples without a label.
    """

    parts: list[np.ndarray]
    labels: np.ndarray
    missing: np.ndarray


def read_arrays(x: Any, labels: Any, name: str) -> Arrays:
    """Embeddings and labels in any usual form.

    Args:
        x: (n, d), see `audit_embeddings`.
        labels: (n,), see `label_array`.
        name: of the argument, for messages.

    Raises:
        InputError: if either cannot be read as that, or they do not fit together.
    """
    parts = embedding_parts(x, name)
    try:
        given, missing = label_array(labels)
    except InputError as error:
        raise InputError(str(error) if name == "x" else f"{name}: {error}") from None
    shapes = [part.shape for part in parts]
    if len(given) != sum(shape[0] for shape in shapes):
        shape = shapes[0] if len(shapes) == 1 else shapes
        raise InputError(
            f"{name}: embeddings have shape {shape}, labels {given.shape}; give (n, d) and (n,) of the same n"
        )
    _check_order(x, labels, name)
    return Arrays(parts, given, missing)


def read_validation(validation: Any, like: Arrays) -> Arrays:
    """The embeddings and labels of a separate validation split, of the same kind as those of x.

    Raises:
        InputError: if they are no pair, fewer than two samples, or of another kind than those of x.
    """
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise InputError(f"validation is of type {type(validation).__name__}; give a pair (embeddings, labels)")
    held_out, labels = validation
    arrays = read_arrays(held_out, labels, "validation")
    labelled = int((~arrays.missing).sum())
    if labelled < 2:
        raise InputError(
            f"validation holds {labelled} labelled sample(s); give two or more, or leave it out to have some drawn"
        )
    widths = like.parts[0].shape[1], arrays.parts[0].shape[1]
    if widths[0] != widths[1]:
        raise InputError(f"x has {widths[0]} features, validation {widths[1]}; give the same backbone's")
    kinds = kind_of(like.labels), kind_of(arrays.labels)
    if kinds[0] != kinds[1]:
        raise InputError(f"the labels of validation are {kinds[1]}, those of x {kinds[0]}; give both of one type")
    return arrays


def rows_of(parts: list[np.ndarray], classes: int, config: AuditConfig, exponent: int = 0) -> Rows:
    """Embeddings in float64: in memory, or memory-mapped if they or their predictions are large.

    Predictions for embeddings in memory are in memory, too, in the same precision, as pyDVL's engines need them.

    Args:
        parts: (n_i, d) each.
        classes: C.
        config: names the device.
        exponent: the embeddings are divided by 2 to this power.
    """
    chosen = choose_device(config.device)
    stored = StoredRows(parts, WORKING_PRECISION[chosen.type], chosen, exponent)
    room = IN_MEMORY_BYTES if chosen.type == "cpu" else torch.cuda.get_device_properties(chosen).total_memory // 8
    widest = max(stored.shape[1], classes) if config.engine == "exact" else stored.shape[1]
    return aligned(to_memory(stored)) if 8 * stored.shape[0] * widest <= room else stored


def embedding_parts(x: Any, name: str) -> list[np.ndarray]:
    """Embeddings in any usual form as arrays (n_i, d) of real numbers, one after another.

    Args:
        x: (n, d), or paths of .npy files.
        name: of the argument, for messages.

    Raises:
        InputError: if x is none of that, saying what to give instead.
    """
    if isinstance(x, str | Path):
        x = [x]
    if isinstance(x, list | tuple) and x and all(isinstance(part, str | Path) for part in x):
        found = [_real(mapped(Path(part)), str(part)) for part in x]
    else:
        found = [_real(_array(x, name), name)]
    for part in found:
        _check_shape(part.shape, name)
    return found


def mapped(path: Path) -> np.ndarray:
    """The array of a .npy file, memory-mapped; nothing pickled is read."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a .npy file of numbers"
        raise InputError(f"embeddings {str(path)!r} cannot be read ({reason.lower()}); give a .npy file") from None


def _array(x: Any, name: str) -> np.ndarray:
    """x as a NumPy array of any type, values unchanged."""
    kind = type(x).__name__
    if x is None or isinstance(x, bytes | Mapping | Set | Iterator):
        raise InputError(f"{name}: embeddings are of type {kind}; give an array (n, d), or a list of rows")
    if isinstance(x, Tensor):
        return _of_tensor(x, name)
    if isinstance(x, pd.DataFrame | pd.Series):
        return _of_table(x, name)
    if isinstance(x, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(x)
        if masked.any():
            count = int(masked.reshape(len(x), -1).any(1).sum())
            raise InputError(
                f"{name}: {count} of {len(x)} embeddings hold masked values; leave these rows out, with their labels, "
                "or fill them (x.filled(...))"
            )
        return np.asarray(x.data)
    if hasattr(x, "toarray") and hasattr(x, "nnz"):  # SciPy's sparse matrices and arrays
        _check_dense(x.shape, name)
        return np.asarray(x.toarray())
    if hasattr(x, "to_pandas") and not hasattr(x, "__array__"):  # a table of Arrow's
        return _of_table(x.to_pandas(), name)
    if isinstance(x, Sequence) and x and any(isinstance(row, Tensor) for row in x):
        x = [_of_tensor(row, name) if isinstance(row, Tensor) else row for row in x]
    try:
        if np.ndim(x) == 0 and not isinstance(x, numbers.Number):
            raise TypeError("it has no rows")
        return np.asarray(x)
    except ValueError:  # rows of different lengths
        return _stacked(list(x), name)
    except Exception as error:
        raise InputError(
            f"{name}: embeddings of type {kind} cannot be read as an array ({first_line(error)}); give a NumPy array"
        ) from None


def _of_tensor(x: Tensor, name: str) -> np.ndarray:
    if x.layout != torch.strided:
        _check_dense(tuple(x.shape), name)
    try:
        x = x.detach()
        if x.layout != torch.strided:
            x = x.to_dense()
        if x.is_quantized:
            x = x.dequantize()
        x = x.cpu().resolve_conj().resolve_neg()
        if x.dtype.is_floating_point and x.dtype not in (torch.float16, torch.float32, torch.float64):
            x = x.float()  # which holds all numbers of the short types that NumPy lacks
        return x.numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise InputError(
            f"{name}: this tensor cannot be read as an array ({first_line(error)}); give a dense one on the CPU"
        ) from None


def _of_table(x: pd.DataFrame | pd.Series, name: str) -> np.ndarray:
    if isinstance(x, pd.Series):
        return _stacked(x.tolist(), name) if pd.api.types.is_object_dtype(x.dtype) else x.to_numpy()
    columns = []
    for place, (column, dtype) in enumerate(zip(x.columns, x.dtypes, strict=True)):
        if not pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_object_dtype(dtype):
            raise InputError(
                f"{name}: column {str(column)!r} is of type {dtype}, which is no number; leave the column out"
            )
        if pd.api.types.is_extension_array_dtype(dtype) and not isinstance(dtype, pd.SparseDtype):
            values = x.iloc[:, place].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            values = np.asarray(x.iloc[:, place])
        columns.append(_real(values, f"{name}: column {str(column)!r}"))
    return np.stack(columns, 1) if columns else np.empty((len(x), 0))


def _stacked(rows: list[Any], name: str) -> np.ndarray:
    """Rows, each an array or a list of numbers, as one array; one-dimensional where they are numbers."""
    if not any(hasattr(row, "__len__") and not isinstance(row, str | bytes) for row in rows):
        return _objects(rows)
    found = []
    for number, row in enumerate(rows):
        try:
            found.append(_of_tensor(row, name) if isinstance(row, Tensor) else np.asarray(row))
        except ValueError:
            raise InputError(f"{name}: row {number} is ragged; give (n, d), every row of the same d") from None
        if found[-1].shape != found[0].shape:
            raise InputError(
                f"{name}: row {number} has shape {found[-1].shape}, row 0 {found[0].shape}; give (n, d), every row of "
                "the same d"
            )
    return np.stack(found)


def _objects(values: list[Any]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        out[place] = value
    return out


def _real(x: np.ndarray, name: str) -> np.ndarray:
    """The same numbers in a floating-point or integer type that torch knows; files stay memory-mapped."""
    kind = x.dtype.kind
    if kind == "O" and x.ndim == 1 and len(x) and hasattr(x[0], "__len__") and not isinstance(x[0], str | bytes):
        x = _stacked(list(x), name)
        kind = x.dtype.kind
    if kind == "O":
        return _numbers(x, name)
    if kind == "c":
        raise InputError(
            f"{name}: embeddings are complex numbers; give real ones, such as numpy.hstack([x.real, x.imag])"
        )
    if kind in "USTa":
        raise InputError(f"{name}: embeddings are text; give numbers, such as x.astype(float)")
    if kind not in "fiub":
        raise InputError(f"{name}: embeddings are of type {x.dtype}; give real numbers")
    if x.dtype.itemsize > 8 or (kind == "u" and x.dtype.itemsize > 1):
        with np.errstate(over="ignore"):  # infinity is refused later, with its row
            return x.astype(np.float64)
    return np.asarray(x) if not isinstance(x, np.memmap) else x


def _numbers(x: np.ndarray, name: str) -> np.ndarray:
    """An array of Python objects as float64; what is missing becomes NaN, which is refused later, with its row."""
    out = np.empty(x.shape)
    for place, value in np.ndenumerate(x):
        if not isinstance(value, str) and is_missing(value):
            out[place] = np.nan
        elif isinstance(value, numbers.Real | Decimal | np.number | np.bool_) and not isinstance(value, complex):
            out[place] = value
        else:
            raise InputError(
                f"{name}: the embedding of row {place[0]} holds a value of type {type(value).__name__}; give numbers"
            )
    return out


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    if len(shape) == 2 and shape[1]:
        return
    ways = {1: "; give (n, d): x.reshape(-1, 1) where there is one feature", 2: "; give (n, d) with d of 1 or more"}
    flat = "; give (n, d), such as x.reshape(len(x), -1)"
    raise InputError(f"{name}: embeddings have shape {shape}{ways.get(len(shape), flat if shape else '; give (n, d)')}")


def _check_dense(shape: tuple[int, ...], name: str) -> None:
    """Refuse a sparse matrix that does not fit into memory when all its zeros are written out."""
    needed, free = 8 * int(np.prod([float(side) for side in shape])), free_memory(torch.device("cpu"))
    if 2 * needed > free:
        raise InputError(
            f"{name}: sparse embeddings of shape {tuple(shape)} take {needed / GIB:.1f} GiB with their zeros, and "
            f"{free / GIB:.1f} GiB are free; reduce the features first, such as by TruncatedSVD"
        )


def _check_order(x: Any, labels: Any, name: str) -> None:
    """Refuse a table and labels whose indexes name the same rows in another order: rows go together by position."""
    if not isinstance(x, pd.DataFrame | pd.Series) or not isinstance(labels, pd.DataFrame | pd.Series):
        return
    if not x.index.equals(labels.index) and len(x) == len(labels) and set(x.index) == set(labels.index):
        raise InputError(
            f"{name}: the labels have the index of the embeddings in another order; give labels.loc[x.index], or "
            "labels.to_numpy() where they are in the order of the embeddings already"
        )
