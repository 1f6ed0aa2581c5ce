"""The file of an influence matrix, and the file beside it with the ids of its rows and columns."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.errors import WriteError
from audit.explain.matrix_path import ids_path
from audit.files.storage import remove_abandoned, whole_file


def written(
    path: Path, shape: tuple[int, int], dtype: torch.dtype, blocks: Iterable[Tensor], scores: pd.DataFrame
) -> np.ndarray:
    """Write a matrix and the ids of its rows and columns, and map the matrix.

    Args:
        path: as `checked_path` returns it.
        shape: (m, n).
        dtype: of the matrix.
        blocks: its rows from the first to the last, a few at a time.
        scores: of the audit.

    Raises:
        WriteError: if a file cannot be written, as on a full disk.
    """
    kind = np.dtype(str(dtype).removeprefix("torch."))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file in (path, ids_path(path)):
            remove_abandoned(path.parent, file.name)
        # Not through a memory map, which ends the process where the disk is full.
        with whole_file(path) as temporary, temporary.open("wb") as out:
            header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(out, header)
            for values in blocks:
                out.write(values.cpu().numpy().tobytes())
        with whole_file(ids_path(path)) as temporary:
            _ids(scores).to_parquet(temporary, index=False)
    except OSError as error:
        raise WriteError(
            f"the influence matrix cannot be written to {str(path)!r} ({error.strerror}); make room, or "
            "give another file"
        ) from None
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _ids(scores: pd.DataFrame) -> pd.DataFrame:
    """What rows ('validation') and columns ('train') of the matrix are: ID_COLUMNS."""
    parts = []
    for axis in ("validation", "train"):
        chosen = scores[scores["split"] == axis]
        columns = {"axis": axis, "position": range(len(chosen)), "id": chosen.index.to_numpy()}
        parts.append(
            pd.DataFrame({**columns, "label": chosen["label"].to_numpy(), "filepath": chosen["filepath"].to_numpy()})
        )
    return pd.concat(parts, ignore_index=True)
