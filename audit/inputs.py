"""What a caller hands to an audit, as embeddings in rows and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audit.backbone import choose_device
from audit.config import AuditConfig
from audit.errors import InputError
from audit.rows import Rows, Stored, aligned, here
from audit.screening import label_array

WORKING_PRECISION = {"cpu": torch.float64, "cuda": torch.float32}  # sums over samples are in double precision anyway
IN_MEMORY_BYTES = 2**28  # on the CPU; on a GPU, an eighth of its memory


def read_arrays(x: Any, labels: Any, name: str) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Embeddings (n, d) in parts, labels (n,) and which of those are missing."""
    if isinstance(x, str | Path):
        x = [x]
    if isinstance(x, list | tuple) and x and all(isinstance(part, str | Path) for part in x):
        parts = [mapped(Path(part)) for part in x]
    else:
        parts = [x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)]
    try:
        given, missing = label_array(labels.detach().cpu().numpy() if isinstance(labels, Tensor) else labels)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    shapes = [part.shape for part in parts]
    if given.ndim != 1 or any(len(shape) != 2 for shape in shapes) or len(given) != sum(shape[0] for shape in shapes):
        shape = shapes[0] if len(shapes) == 1 else shapes
        raise InputError(
            f"{name}: embeddings have shape {shape}, labels {given.shape}; give (n, d) and (n,) of the same n"
        )
    return parts, given, missing


def mapped(path: Path) -> np.ndarray:
    """The array of a .npy file, memory-mapped; nothing pickled is read."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a .npy file of numbers"
        raise InputError(f"embeddings {str(path)!r} cannot be read ({reason.lower()}); give a .npy file") from None


def rows_of(parts: list[np.ndarray], classes: int, config: AuditConfig) -> Rows:
    """Embeddings in double precision: in memory, or read where they are if they, or the predictions, are many.

    What is predicted of embeddings in memory is there, too, in the same precision; pyDVL's engines ask for that.
    """
    chosen = choose_device(config.device)
    stored = Stored(parts, WORKING_PRECISION[chosen.type], chosen)
    room = IN_MEMORY_BYTES if chosen.type == "cpu" else torch.cuda.get_device_properties(chosen).total_memory // 8
    widest = max(stored.shape[1], classes) if config.engine == "exact" else stored.shape[1]
    return aligned(here(stored)) if 8 * stored.shape[0] * widest <= room else stored
