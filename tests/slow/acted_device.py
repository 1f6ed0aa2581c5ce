"""A GPU acted by the processor: tensors that say they are on `cuda`, whose numbers are computed here; or a real one.

The acted one shows where tensors are, which is what goes wrong in code that has not been run on a GPU: an operation on
tensors of two devices is refused, as CUDA refuses it, and what is brought back to the host is counted. It shows nothing
of a GPU's speed, memory or rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("cuda:0")
_TO_HOST = ("aten._local_scalar_dense", "aten.is_nonzero", "aten.equal")
# CUDA takes host tensors here: positions to index with, and what is copied from or to.
_TAKES_HOST = ("aten.index", "aten._to_copy", "aten.copy_", "aten._index_put_impl_", "aten.index_put")


class Acted(Tensor):
    """A tensor on the acted device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Acted:
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        """By way of the host, as on a GPU."""
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        raise RuntimeError(f"{function} was called outside the device's session")


class Device(TorchDispatchMode):
    """The session in which the device exists.

    Attributes:
        scalars: how often a single number was read from the device.
        numbers: how many numbers were copied from it otherwise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scalars = 0
        self.numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        named = dict(named or {})
        given = [value for value in tree_flatten((arguments, named))[0] if isinstance(value, Tensor)]
        name = str(function).rsplit(".", 1)[0]
        on_device = [value for value in given if isinstance(value, Acted)]
        on_host = [value for value in given if not isinstance(value, Acted) and value.dim()]
        if on_device and on_host and not name.startswith(_TAKES_HOST):
            raise RuntimeError(f"{function}: expected all tensors to be on the same device, found cuda and cpu")
        asked = named.get("device")
        wanted = torch.device(asked) if asked is not None else None
        if wanted is not None and wanted.type == "cuda":
            named["device"] = torch.device("cpu")
            named.pop("pin_memory", None)
        to_host = name.startswith(_TO_HOST)
        if on_device and to_host:
            self.scalars += 1
        outcome = function(*tree_map(_held, arguments), **tree_map(_held, named))
        if name == "aten.copy_":
            if isinstance(arguments[1], Acted) and not isinstance(arguments[0], Acted):
                self.numbers += arguments[1].numel()
            return arguments[0]
        changed = arguments[0] if function._schema.name.endswith("_") and arguments else None
        if changed is not None and isinstance(changed, Acted):
            return changed
        if wanted is not None and wanted.type == "cpu" and on_device:
            self.numbers += sum(value.numel() for value in on_device)
            return outcome
        if (wanted is not None and wanted.type == "cuda") or (on_device and not to_host):
            return tree_map(_acted, outcome)
        return outcome


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Acted) else value


def _acted(value: Any) -> Any:
    return Acted(value) if isinstance(value, Tensor) and not isinstance(value, Acted) else value


@contextmanager
def real_device(memory: int | None = None) -> Iterator[None]:
    """This machine's GPU, to the code under test with this memory (bytes)."""
    with pytest.MonkeyPatch.context() as patch:
        if memory is not None:
            properties = SimpleNamespace(total_memory=memory, name=torch.cuda.get_device_name())
            patch.setattr(torch.cuda, "mem_get_info", lambda *_: (memory, memory))
            patch.setattr(torch.cuda, "get_device_properties", lambda *_: properties)
        yield


@contextmanager
def acted_device(memory: int = 2**30) -> Iterator[Device]:
    """A session in which PyTorch has one CUDA device, of this memory (bytes)."""
    torch._C._ensureCUDADeviceGuardSet()  # a guard that does nothing where there is no driver
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: 1)
        patch.setattr(torch.cuda, "mem_get_info", lambda *_: (memory, memory))
        patch.setattr(torch.cuda, "memory_stats_as_nested_dict", lambda *_: {})
        patch.setattr(torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(total_memory=memory))
        patch.setattr(torch.cuda, "get_device_name", lambda *_: "acted by the processor")
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor makes them here and sends them through the session
        try:
            with Device() as device:
                yield device
        finally:
            torch._C._set_only_lift_cpu_tensors(False)


DEVICES: dict[str, Callable[..., AbstractContextManager[Device | None]]] = {"acted": acted_device}
if torch.cuda.is_available():
    DEVICES["real"] = real_device
