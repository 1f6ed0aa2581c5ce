"""Checkpoints: the outcome of each costly stage is saved until the audit ends, so that an interrupted audit can go on.

A checkpoint is a folder in the cache with one safetensors file per stage. It is named by a digest of everything that
the stages depend on: embeddings, labels, split, settings, device, and the code of this package. So an audit finds its
own stages only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from audit.compute.matrix import BLOCK_BYTES, aligned, slices
from audit.compute.scratch import ScratchRows, fits_memory
from audit.config import AuditConfig
from audit.errors import InputError
from audit.files.storage import whole_file
from audit.images.embedding import default_cache_dir

_KINDS = {
    "f8": "F64",
    "f4": "F32",
    "f2": "F16",
    "i8": "I64",
    "i4": "I32",
    "i2": "I16",
    "i1": "I8",
    "u1": "U8",
    "b1": "BOOL",
}
"""numpy's element types by safetensors' names, which are the same on any machine that we know: little-endian."""

T = TypeVar("T")

_Kept = np.ndarray | Tensor | ScratchRows
"""What is written to the file of a stage."""


class Checkpoint:
    """Saves the outcome of stages until `discard`; a stage that was saved is not computed again.

    Outcomes are dataclasses, tuples, lists and dictionaries (with text keys) of tensors, arrays, tables, numbers, text
    and None. Nothing is pickled: only the dataclasses in `types` are restored.

    Args:
        folder: holds the checkpoints of all audits, one folder each.
        most_others: how many checkpoints of other audits are kept, the newest ones.
        most_days: how long they are kept.
    """

    def __init__(self, folder: str | Path, most_others: int = 8, most_days: float = 30.0) -> None:
        self._folder = Path(folder)
        self._most_others, self._most_seconds = most_others, most_days * 24 * 3600
        self._own: Path | None = None
        self._types: dict[str, type] = {}
        self._note: Callable[[str, str], None] = lambda stage, text: None
        self._writable = True

    def begin(self, key: str, types: Iterable[type], note: Callable[[str, str], None]) -> None:
        """Name the audit, and remove the oldest checkpoints of others.

        Args:
            key: the digest of everything that its stages depend on (`digest_of`).
            types: the dataclasses that outcomes may hold.
            note: receives the stage, and a message about what was found or could not be saved.
        """
        self._types = {made.__name__: made for made in types}
        self._note = note
        self._own = self._folder / key
        self._prune()

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """The outcome of `compute`: read from the checkpoint if an earlier run saved it, else computed and saved.

        Both are the same to the last bit and aligned alike in memory, so that all later results are the same, too.

        Raises:
            InputError: if the file in the checkpoint is damaged or was changed.
        """
        assert self._own is not None
        path = self._own / f"{name}.safetensors"
        if path.is_file():
            outcome: T = self._read(path)
            self._note(name, f"{name} was finished by an earlier run that was interrupted: not done again")
        else:
            outcome = self._keep(name, path, compute())
        return outcome

    def _keep(self, name: str, path: Path, outcome: Any) -> Any:
        """Save the outcome of a stage if possible, and return it as it would be read."""
        arrays: dict[str, _Kept] = {}
        tree = self._encode(outcome, arrays)
        if self._writable:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._write(path, json.dumps(tree), arrays)
            except OSError as error:
                self._writable = False
                where = f"{str(path.parent)!r} ({error.strerror})"
                self._note(name, f"{name} cannot be saved in {where}: after an interruption it is computed again")
        return self._decode(tree, arrays)

    def discard(self) -> None:
        """Remove the checkpoint: the audit is over."""
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    def _prune(self) -> None:
        found = []
        for folder in self._folder.glob("*/"):
            try:
                found.append((folder.stat().st_mtime, folder))
            except OSError:
                continue  # its audit has ended meanwhile
        others = [(age, folder) for age, folder in sorted(found, reverse=True) if folder != self._own]
        for place, (age, folder) in enumerate(others):
            if place >= self._most_others or time.time() - age > self._most_seconds:
                shutil.rmtree(folder, ignore_errors=True)

    def _write(self, path: Path, tree: str, kept: dict[str, _Kept]) -> None:
        arrays = {name: value.cpu().numpy() if isinstance(value, Tensor) else value for name, value in kept.items()}
        metadata = {"tree": tree, "digest": _digest(tree, arrays)}
        with whole_file(path) as temporary:
            _save(temporary, arrays, metadata)

    def _read(self, path: Path) -> Any:
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: _loaded(file, name) for name in file.keys()}  # noqa: SIM118
            tree = metadata["tree"]
            if metadata["digest"] != _digest(tree, arrays):
                raise ValueError("digest")
            return self._decode(json.loads(tree), arrays)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            raise InputError(f"checkpoint file {str(path)!r} is damaged or was changed; delete it") from None

    def _encode(self, value: Any, arrays: dict[str, _Kept]) -> Any:
        def kept(array: _Kept) -> str:
            name = str(len(arrays))
            arrays[name] = array
            return name

        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Tensor):
            return {"tensor": kept(aligned(value.detach().contiguous())), "device": str(value.device)}
        if isinstance(value, ScratchRows):
            return {"tensor": kept(value), "device": "cpu"}
        if isinstance(value, np.ndarray):
            return {"array": kept(np.asarray(value, order="C"))}
        if isinstance(value, pd.DataFrame):
            return {"table": kept(np.frombuffer(value.to_parquet(), dtype=np.uint8))}
        if isinstance(value, dict):
            return {"dictionary": {str(key): self._encode(item, arrays) for key, item in value.items()}}
        if isinstance(value, list | tuple):
            return {type(value).__name__: [self._encode(item, arrays) for item in value]}
        if type(value).__name__ in self._types:
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return {"class": type(value).__name__, "fields": {k: self._encode(v, arrays) for k, v in fields.items()}}
        raise TypeError(f"a {type(value).__name__} cannot be kept in a checkpoint")

    def _decode(self, node: Any, arrays: Mapping[str, _Kept]) -> Any:
        if not isinstance(node, dict):
            return node
        if "tensor" in node:
            value = arrays[node["tensor"]]
            return (
                value
                if isinstance(value, Tensor | ScratchRows)
                else aligned(torch.from_numpy(value).to(node["device"]))
            )
        if "array" in node:
            return arrays[node["array"]]
        if "table" in node:
            return pd.read_parquet(io.BytesIO(np.asarray(arrays[node["table"]]).tobytes()))
        if "dictionary" in node:
            return {key: self._decode(item, arrays) for key, item in node["dictionary"].items()}
        if "class" in node:
            fields = {name: self._decode(item, arrays) for name, item in node["fields"].items()}
            return self._types[node["class"]](**fields)
        ((kind, items),) = node.items()
        return {"list": list, "tuple": tuple}[kind](self._decode(item, arrays) for item in items)


def checkpoint_for(config: AuditConfig) -> Checkpoint:
    """The checkpoint of an audit with these settings, in its cache folder."""
    return Checkpoint(Path(config.cache_dir or default_cache_dir()) / "checkpoints")


def digest_of(*parts: Any) -> str:
    """32 hexadecimal digits that identify arrays and JSON values, in this order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype != object:
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            for rows in np.array_split(np.atleast_1d(part), max(1, part.nbytes >> 26)):
                digest.update(rows.tobytes())
        elif isinstance(part, ScratchRows):
            digest.update(f"{part.kind.str}{part.shape}".encode())
            for rows in part.in_blocks():
                digest.update(rows.data)
        else:
            text = json.dumps(part.tolist() if isinstance(part, np.ndarray) else part, sort_keys=True)
            digest.update(f"{len(text)}:{text}".encode(errors="surrogatepass"))
    return digest.hexdigest()


@cache
def code_digest() -> str:
    """A digest of the code of this package: another version may compute other numbers."""
    folder = Path(__file__).parent
    return digest_of([path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))])


def _loaded(file: Any, name: str) -> np.ndarray | ScratchRows:
    """An array of a safetensors file; a large one is copied into a temporary file in blocks."""
    stored = file.get_slice(name)
    shape = tuple(stored.get_shape())
    probabilities = len(shape) == 2 and stored.get_dtype() == "F32"  # large matrices of anything else are not kept
    if not probabilities or fits_memory(shape, torch.float32, ScratchRows.device):
        array: np.ndarray = file.get_tensor(name)
        return array
    rows = ScratchRows.empty(shape, torch.float32)
    for part in slices(len(rows), 4 * shape[1], BLOCK_BYTES):
        rows[part] = torch.from_numpy(stored[part])
    return rows


def _save(path: Path, arrays: Mapping[str, np.ndarray | ScratchRows], metadata: dict[str, str]) -> None:
    """Write a safetensors file array by array: the library's own writer holds a second copy of all of them."""
    header: dict[str, Any] = {"__metadata__": metadata}
    place = 0
    for name, array in arrays.items():
        kind = array.kind if isinstance(array, ScratchRows) else array.dtype.newbyteorder("=")
        end = place + math.prod(array.shape) * kind.itemsize
        header[name] = {"dtype": _KINDS[kind.str[1:]], "shape": list(array.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            for part in array.in_blocks() if isinstance(array, ScratchRows) else [array]:
                file.write(part.reshape(-1).view(np.uint8).data)


def _digest(tree: str, arrays: Mapping[str, np.ndarray | ScratchRows]) -> str:
    return digest_of(tree, *(part for name in sorted(arrays) for part in (name, arrays[name])))
