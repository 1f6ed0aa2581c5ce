"""A backbone's weights from a file that the user names: a state dict, as safetensors or as torch saves it."""

from __future__ import annotations

import warnings
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from audit.errors import InputError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "model_state", "network", "net", "weights")
"""Under these names training scripts keep the state dict within a checkpoint."""

StateDict: TypeAlias = dict[str, Any]
"""What a training script saved: tensors by name, and whatever lies beside them."""

_REMEDY = "give a state dict as .safetensors or .pth"
_PICKLE = b"\x80"


def state_from_file(path: Path, names: Collection[str] = ()) -> dict[str, Tensor]:
    """The tensors of a network by name. Nothing in the file is run.

    Args:
        path: a .safetensors file, or one that torch saved: a state dict, or a checkpoint that holds one.
        names: of the network's tensors; what wrappers put in front of them in the file is taken off.

    Raises:
        InputError: if there is no such file, or it holds no weights.
    """
    if path.is_dir():
        raise _refused(path, "it is a folder", f"name the file in it; {_REMEDY}")
    if not path.is_file():
        raise InputError(f"weights {str(path)!r} do not exist; it takes auto, imagenet, bundled or a file")
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise _refused(path, f"the file cannot be read ({error.strerror})", _REMEDY) from None
    if not start:
        raise _refused(path, "the file is empty", _REMEDY)
    found = _safetensors(path) if path.suffix == ".safetensors" or _looks_safe(start) else _torch_file(path, start)
    state = _without_prefix(_unwrapped(found), names)
    tensors: OrderedDict[str, Tensor] = OrderedDict(
        (key, value) for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)
    )
    if not tensors:
        raise _refused(path, "the file holds no tensors by name", _REMEDY)
    odd = next((key for key, value in tensors.items() if not bool(torch.isfinite(value).all())), None)
    if odd is not None:
        raise _refused(
            path, f"the file holds values that are not finite (in {odd!r})", "give the weights of a trained network"
        )
    if state is found and (metadata := getattr(found, "_metadata", None)) is not None:
        tensors._metadata = metadata  # type: ignore[attr-defined]  # versions of layers
    return tensors


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError):
        raise _refused(path, "the file is no safetensors file, or is damaged", _REMEDY) from None


def _torch_file(path: Path, start: bytes) -> StateDict:
    if not zipfile.is_zipfile(path) and not start.startswith(_PICKLE):
        raise _refused(path, "the file holds no weights", _REMEDY)
    try:
        with warnings.catch_warnings():  # of torch about how the file was written
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file can be damaged in as many ways as there are bytes
        raise _refused(path, _problem(path, error), _saved()) from None
    if not isinstance(loaded, dict):
        raise _refused(path, f"the file holds a {type(loaded).__name__}", _saved())
    return loaded


def _problem(path: Path, error: Exception) -> str:
    """In our own words: torch advises to load such a file with its safeguard switched off, which runs its code."""
    text = str(error)
    if "TorchScript" in text:
        return "the file is a TorchScript program"
    if "Weights only load failed" in text:
        return "the file holds a whole model or other Python objects, which could run code and are not loaded"
    return "the file holds no weights, or is damaged"


def _saved() -> str:
    return "save the weights alone with torch.save(model.state_dict(), 'weights.pth')"


def _looks_safe(start: bytes) -> bool:
    """Whether a file begins like safetensors: the length of its header, and JSON."""
    return len(start) > 8 and start[8:9] == b"{" and not start.startswith(_PICKLE + b"\x02")


def _unwrapped(state: StateDict) -> StateDict:
    for name in _WRAPPERS:
        if isinstance(inner := state.get(name), dict):
            return _unwrapped(inner)
    return state


def _without_prefix(state: StateDict, names: Collection[str]) -> StateDict:
    """The tensors of the network alone, by their names in it.

    Training scripts wrap networks, and so put 'module.', 'model.' and the like in front of all their tensors' names.
    The prefix under which the file has most of the names is taken off; what lies beside is not the network's.
    """
    keys = [key for key in state if isinstance(key, str)]
    wanted = set(names)
    ends = {key.rpartition(".")[2] for key in wanted}
    found = Counter(
        key[:cut]
        for key in keys
        if key.rpartition(".")[2] in ends
        for cut in (0, *(place + 1 for place, letter in enumerate(key) if letter == "."))
        if key[cut:] in wanted
    )
    prefix = max(found, key=lambda start: (found[start], -len(start)), default="")
    if not prefix:
        return state
    return {key.removeprefix(prefix): state[key] for key in keys if key.startswith(prefix)}


def _refused(path: Path, reason: str, remedy: str) -> InputError:
    return InputError(f"weights {str(path)!r} cannot be used: {reason}; {remedy}")
