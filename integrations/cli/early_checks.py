"""Mistakes in options that show at once: nothing that takes seconds to import is imported for them."""

from __future__ import annotations

import ctypes
import difflib
import importlib.util
import os
import re
import sys
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path

from audit.config import NO_BACKBONE, AuditConfig
from audit.errors import InputError
from audit.extras import LITE_BACKBONE
from audit.images.backbone_request import BUNDLED_BACKBONE, KINDS_IN_WORDS
from integrations.cli.job import SUMMARY_FILE
from integrations.cli.options_file import PREFIX

OTHER_VARIABLES = ("CACHE", "HOME", "DEBUG", "DATA", "SCREENSHOTS", "COMPLETE", "PYTHON")
"""Variables with our prefix that are no option of a command."""

_REGISTERED = re.compile(r"^@register_model\((?:\"([^\"]+)\")?[^)]*\)\n(?:@[^\n]*\n)*def (\w+)\(", re.M)
"""A model in torchvision's sources: the name that it is registered under, and that of the function."""

_ENTRY = re.compile(r"\w+")


def check_environment(options: Collection[str], environment: Iterable[str] = ()) -> list[str]:
    """Refuse environment variables that look like a misspelt option.

    Args:
        options: names of the options of the command.
        environment: names of the variables; by default those of this process.

    Returns:
        The variables with our prefix that mean nothing, and are like no option.

    Raises:
        InputError: naming the variable, and what was probably meant.
    """
    known = {f"{PREFIX}{name.upper()}" for name in (*options, *OTHER_VARIABLES)}
    unknown = sorted(name for name in (environment or os.environ) if name.startswith(PREFIX) and name not in known)
    for name in unknown:
        meant = difflib.get_close_matches(name.upper(), known, 1, cutoff=0.9)
        if meant:
            raise InputError(f"environment variable {name} is no option; did you mean {meant[0]}?")
    return unknown


def check_computing(config: AuditConfig, uses_backbone: bool) -> None:
    """Refuse a device, a backbone or weights that this machine cannot have.

    Args:
        config: the settings.
        uses_backbone: whether images pass through the backbone.

    Raises:
        InputError: naming the setting.
    """
    _check_device(config.device)
    if uses_backbone:
        _check_backbone(config.backbone)
        _check_weights(config.backbone, config.weights)


def check_former(folder: Path | None) -> None:
    """Refuse a folder that holds no former result, as `--since` names one.

    Raises:
        InputError: naming the folder.
    """
    if folder is not None and not (folder / SUMMARY_FILE).is_file():
        raise InputError(
            f"--since {str(folder)!r} holds no complete audit result (no {SUMMARY_FILE}); give the folder of a former "
            "result"
        )


def _refused(setting: str, text: str) -> InputError:
    error = InputError(text)
    error.setting = setting
    return error


def _check_device(device: str) -> None:
    """As `audit.images.backbone.choose_device`, as far as that is known without torch."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise _refused("device", f"device {device!r} is unknown; it takes auto, cpu, cuda or cuda:N")
    if device.startswith("cuda") and not _has_gpu_driver():
        raise _refused("device", f"no such device {device!r}: this machine has no CUDA device; use --device auto")


@cache
def _has_gpu_driver() -> bool:
    """Whether a driver of CUDA or ROCm is installed; without one, torch finds no device."""
    if sys.platform != "linux" or Path("/dev/kfd").exists():
        return True  # not known here: torch says
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _check_backbone(name: str) -> None:
    """As `audit.images.load_backbone`, as far as that is known without torchvision."""
    if name in (NO_BACKBONE, LITE_BACKBONE) or ":" in name:
        return
    known = torchvision_names()
    if known and name not in known:
        close = difflib.get_close_matches(name, [*known, LITE_BACKBONE], 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise _refused("backbone", f"backbone {name!r} is unknown; {hint}it takes {KINDS_IN_WORDS}")


@cache
def torchvision_names() -> frozenset[str]:
    """The names of torchvision's classifiers, read from its files; empty where it is not installed as files."""
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        return frozenset()
    names = set()
    for path in Path(found.submodule_search_locations[0], "models").glob("*.py"):
        for given, function in _REGISTERED.findall(path.read_text(encoding="utf-8", errors="replace")):
            names.add(given or function)
    return frozenset(names)


def _check_weights(backbone: str, weights: str) -> None:
    """As `audit.images.load_backbone`, as far as that is known without torchvision."""
    if weights in ("auto", "imagenet", "pretrained") or Path(weights).is_file():
        return
    if weights == "bundled":
        if backbone != BUNDLED_BACKBONE:
            raise _refused(
                "weights",
                f"weights 'bundled' are a {BUNDLED_BACKBONE}, not {backbone}; use --weights auto or a file",
            )
        return
    is_entry = weights.upper() == weights and _ENTRY.fullmatch(weights)  # IMAGENET1K_V1 and the like
    if is_entry or ":" in backbone or backbone == LITE_BACKBONE:
        return
    if Path(weights).is_dir():
        raise _refused("weights", f"weights {weights!r} are a folder; name the .safetensors or .pth file in it")
    close = difflib.get_close_matches(weights, ("auto", "imagenet", "bundled"), 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise _refused(
        "weights", f"weights {weights!r} do not exist; {hint}it takes auto, imagenet, bundled, IMAGENET1K_V1 or a file"
    )


def with_flags(text: str, settings: Collection[str]) -> str:
    """A message in which settings are called by their flags: '--train-size' for 'train_size'.

    Args:
        text: the message, which calls settings by their names.
        settings: the names.
    """
    if text.startswith("set only one of"):
        words = settings
    else:
        words = [name for name in settings if "_" in name or re.match(rf"{name}\b", text)]
    for name in words:
        flag = f"--{name.replace('_', '-')}"
        once = 1 if "_" not in name and not text.startswith("set only one of") else 0
        text = re.sub(rf"(?<![-\w.]){re.escape(name)}\b", flag, text, count=once)
    return text
