"""What a result records of where it was made: the versions of packages, and the machine."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from audit import __version__
from audit.summary.surroundings import Machine

RECORDED_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pillow",
    "fiftyone",
    "faiss-cpu",
)


def versions_here() -> dict[str, str]:
    """The versions of this package, of Python, and of the packages that are installed, by name."""
    versions = {"influence-audit": __version__, "python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def machine_with(device: torch.device) -> Machine:
    """This machine, with the device that an audit computes on."""
    accelerator = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return Machine(system=platform.platform(terse=True), cpu_threads=torch.get_num_threads(), gpu=accelerator)
