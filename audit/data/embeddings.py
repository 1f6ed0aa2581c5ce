"""Embeddings of a user's own for samples that are images: one matrix or several, of which rows may be missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.data.arrays import embedding_parts
from audit.data.predictions import read_file
from audit.errors import InputError

NO_EMBEDDING = "no embedding was given"
BLOCK_ROWS = 2**16  # rows that are looked at together, so that a memory-mapped file is never read as a whole


@dataclass(frozen=True)
class GivenEmbeddings:
    """Embeddings of n samples.

    Attributes:
        values: (n, d) real numbers; memory-mapped if they are one file.
        missing: bool (n,), the samples without an embedding, whose row is NaN.
    """

    values: np.ndarray
    missing: np.ndarray

    @classmethod
    def read(cls, given: Any, name: str = "embeddings") -> GivenEmbeddings:
        """Read one matrix of embeddings, or several, which are standardised and put side by side.

        Args:
            given: (n, d), in any form that `audit_embeddings` takes, or the path of a .npy, .parquet or .csv file; or a
                list of several of these. A row of NaN is a missing embedding.
            name: of the argument, for messages.

        Raises:
            InputError: if they cannot be read, or differ in their number of rows.
        """
        if isinstance(given, GivenEmbeddings):
            return given
        if not isinstance(given, list | tuple) or not all(map(_is_matrix, given)) or not given:
            values = _matrix(given, name)
            return cls(values, _missing(values))
        matrices = [_matrix(one, f"{name} {number}") for number, one in enumerate(given, 1)]
        lengths = [len(matrix) for matrix in matrices]
        if len(set(lengths)) > 1:
            raise InputError(f"{name} have different numbers of rows ({lengths}); give one row a sample in each")
        if len(matrices) == 1:
            return cls(matrices[0], _missing(matrices[0]))
        missing = np.any([_missing(matrix) for matrix in matrices], axis=0)
        return cls(np.hstack([_standardised(matrix, missing) for matrix in matrices]), missing)

    def __len__(self) -> int:
        return len(self.missing)


def _is_matrix(given: Any) -> bool:
    return isinstance(given, str | Path | pd.DataFrame) or getattr(given, "ndim", 0) == 2


def _matrix(given: Any, name: str) -> np.ndarray:
    if isinstance(given, str | Path) and Path(given).suffix.lower() in (".parquet", ".csv"):
        given = read_file(Path(given), name)
    if isinstance(given, pd.DataFrame) and given.shape[1] == 1:  # a column of vectors
        given = given.iloc[:, 0]
    (values,) = embedding_parts(given, name)
    return values


def _missing(values: np.ndarray) -> np.ndarray:
    """Bool (n,): the rows that are NaN throughout."""
    missing = np.zeros(len(values), dtype=bool)
    if values.dtype.kind == "f":
        for start in range(0, len(values), BLOCK_ROWS):
            missing[start : start + BLOCK_ROWS] = np.isnan(values[start : start + BLOCK_ROWS]).all(1)
    return missing


def _standardised(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """float32 (n, d): each feature centred and scaled, and the whole matrix as large as any other, whatever its d.

    The nearest neighbours are searched in all features together, where a matrix with larger or more numbers would
    decide alone.
    """
    present = values[~missing].astype(np.float64)
    mean, scale = present.mean(0), present.std(0)
    scale[scale == 0] = 1
    scaled = np.full(values.shape, np.nan, dtype=np.float32)
    scaled[~missing] = (present - mean) / (scale * np.sqrt(values.shape[1]))
    return scaled
