"""GPUs acted by the processor: tensors that say they are on `cuda`, whose numbers are computed here; or a real one.

Acted ones show where tensors are, which is what goes wrong in code that has not been run on a GPU: an operation on
tensors of two devices is refused, as CUDA refuses it, and what is brought back to the host is counted. They show
nothing of a GPU's speed, memory or rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
    """A tensor on an acted device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, device: torch.device = DEVICE) -> Acted:
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=device,
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        """By way of the host, as on a GPU."""
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError(f"can't convert {self.device} device type tensor to numpy; use Tensor.cpu() first")

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        raise RuntimeError(f"{function} was called outside the device's session")


class Device(TorchDispatchMode):
    """The session in which the devices exist.

    Attributes:
        devices: how many there are.
        scalars: how often a single number was read from a device.
        numbers: how many numbers were copied from one otherwise.
        operations: how many were run on each device, by its name.
    """

    def __init__(self, devices: int = 1) -> None:
        super().__init__()
        self.devices = devices
        self.scalars = 0
        self.numbers = 0
        self.operations: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        named = dict(named or {})
        given = [value for value in tree_flatten((arguments, named))[0] if isinstance(value, Tensor)]
        name = str(function).rsplit(".", 1)[0]
        on_device = [value for value in given if isinstance(value, Acted)]
        _refuse_mixed(name, on_device, [value for value in given if not isinstance(value, Acted) and value.dim()])
        wanted = self._existing(named.get("device"))
        if wanted is not None and wanted.type == "cuda":
            named["device"] = torch.device("cpu")
            named.pop("pin_memory", None)
        to_host = name.startswith(_TO_HOST)
        if on_device and to_host:
            self.scalars += 1
        self.operations.update({str(value.device) for value in on_device})
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
        if wanted is not None and wanted.type == "cuda":
            return _acted(outcome, wanted)
        return _acted(outcome, on_device[0].device) if on_device and not to_host else outcome

    def _existing(self, asked: Any) -> torch.device | None:
        """The device that an operation asks for; 'cuda' without a number is the first."""
        if asked is None:
            return None
        wanted = torch.device(asked)
        if wanted.type == "cuda" and (wanted.index or 0) >= self.devices:
            raise RuntimeError(f"CUDA error: invalid device ordinal ({wanted} of {self.devices})")
        return torch.device("cuda", wanted.index or 0) if wanted.type == "cuda" else wanted


def _refuse_mixed(name: str, on_device: Sequence[Tensor], on_host: Sequence[Tensor]) -> None:
    """As CUDA: an operation takes tensors of one device, and numbers (tensors without dimensions) of the host."""
    places = sorted({str(value.device) for value in on_device})
    if on_host and places and not name.startswith(_TAKES_HOST):
        places.append("cpu")
    if len(places) > 1 and not (name == "aten.copy_" and "cpu" not in places):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, found {' and '.join(places)}")


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Acted) else value


def _acted(outcome: Any, device: torch.device) -> Any:
    def on_device(value: Any) -> Any:
        return Acted(value, device) if isinstance(value, Tensor) and not isinstance(value, Acted) else value

    return tree_map(on_device, outcome)


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
def acted_device(memory: int = 2**30, devices: int = 1) -> Iterator[Device]:
    """A session in which PyTorch has CUDA devices, each of this memory (bytes)."""
    torch._C._ensureCUDADeviceGuardSet()  # a guard that does nothing where there is no driver
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: devices)
        patch.setattr(torch.cuda, "mem_get_info", lambda *_: (memory, memory))
        patch.setattr(torch.cuda, "memory_stats_as_nested_dict", lambda *_: {})
        patch.setattr(torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(total_memory=memory))
        patch.setattr(torch.cuda, "get_device_name", lambda *_: "acted by the processor")
        # A network that moves gets new parameters, since its own cannot become tensors of another kind.
        patch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor makes them here and sends them through the session
        try:
            with Device(devices) as device:
                yield device
        finally:
            torch._C._set_only_lift_cpu_tensors(False)


DEVICES: dict[str, Callable[..., AbstractContextManager[Device | None]]] = {"acted": acted_device}
if torch.cuda.is_available():
    DEVICES["real"] = real_device
