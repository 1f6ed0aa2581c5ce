"""The jobs of a call of `run`: one for each audit."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.config import AuditConfig
from audit.errors import InputError
from audit.files.result_folder import refuse_others_folder

if TYPE_CHECKING:
    from integrations.sources import Source

RESULTS_FOLDER = "audit-results"
INDEX_FILE = "index.html"
COMPARISON_FILE = "compare.html"
FIGURES_FOLDER = "figures"
SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class AuditJob:
    """One audit.

    Attributes:
        source: as `resolve_source` reads it.
        audit_key: under which FiftyOne keeps it.
        config: its settings.
        choices: the other arguments of `resolve_source`.
        root: the folder that holds its result folder.
        folder: its result folder; None for one below the root, named after the dataset and the audit key.
        in_fiftyone: whether it writes into FiftyOne.
    """

    source: str
    audit_key: str
    config: AuditConfig
    choices: Mapping[str, Any]
    root: Path
    folder: Path | None = None
    in_fiftyone: bool = True

    @property
    def label_field(self) -> str | None:
        """The field that was asked for."""
        field: str | None = self.choices["label_field"]
        return field

    def check_writable(self) -> None:
        """Refuse a place for the result that cannot be written, before anything is computed.

        Raises:
            InputError: saying which folder it is.
        """
        wanted = (self.folder or self.root).absolute()
        there = next(folder for folder in (wanted, *wanted.parents) if folder.exists())
        # Permission bits do not tell of read-only and virtual file systems; trying does.
        try:
            with tempfile.TemporaryDirectory(prefix=".influence-audit-", dir=there):
                pass
        except OSError as problem:
            raise InputError(
                f"result folder {str(wanted)!r} cannot be made (in {there}: {problem.strerror}); give another with -o"
            ) from None

    def refuse_others_files(self, folder: Path | None = None) -> None:
        """Refuse a result folder that holds anything but an earlier result.

        Args:
            folder: the result folder; by default the one that was asked for, if any.

        Raises:
            InputError: naming what it holds.
        """
        if (wanted := folder or self.folder) is not None:
            refuse_others_folder(wanted, " with -o")

    def resolve(self) -> Source:
        """The source, which is not opened yet.

        Raises:
            InputError: if there is no such source, or it leaves something out and the audit is strict.
        """
        from integrations.sources import resolve_source
        from integrations.sources.left_out import refuse_left_out

        source = resolve_source(self.source, **self.choices, in_fiftyone=self.in_fiftyone)
        if self.config.strict:
            refuse_left_out(source.description, source.left_out)
        return source

    def beside(self, column: str) -> AuditJob:
        """The same audit under a key that names its label column."""
        return replace(self, audit_key=f"{self.audit_key}_{identifier(column)}")

    def folder_for(self, dataset: str) -> Path:
        """The result folder once the dataset's name is known."""
        return self.folder or self.root / _folder_name(dataset) / self.audit_key


def jobs_of(options: Mapping[str, Any], settings: Mapping[str, Any], output: Path | None) -> list[AuditJob]:
    """One job for each source and label field.

    Args:
        options: of `run`, all but the settings: source and label_field may hold several.
        settings: of `AuditConfig`.
        output: the folder that was asked for.

    Raises:
        InputError: if there is no source, or an option is out of its range.
    """
    if not options["source"]:
        raise InputError("no source was given; name one or more, or try 'digits'")
    _check_audit_key(options["audit_key"])
    config = AuditConfig(**settings)
    sources = _listed(options["source"])
    fields: list[str | None] = [*_listed(options["label_field"])] or [None]
    named = ("dataset", "view", "image_column", "label_column", "images", "layout")
    choices = {name: options[name] for name in named}
    choices["keep_labels"] = _listed(options["keep_labels"]) or None
    if len(sources) > 1 and choices["dataset"]:
        raise InputError(
            f"--dataset {choices['dataset']!r} cannot name {len(sources)} datasets; leave it out, and each gets its own"
        )
    return [
        AuditJob(
            source,
            options["audit_key"] if len(fields) == 1 else f"{options['audit_key']}_{identifier(str(field))}",
            config,
            choices | {"label_field": field},
            root=output or Path(RESULTS_FOLDER),
            in_fiftyone=not options["no_fiftyone"],
        )
        for source in sources
        for field in fields
    ]


def audited_column(folder: Path) -> str | None:
    """The label column of the result in a folder; None where there is no result, or its source has no columns."""
    try:
        source = json.loads((folder / SUMMARY_FILE).read_bytes())["source"]
        return source and source["label_column"]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _listed(value: str | Sequence[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _check_audit_key(key: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", key):
        raise InputError(f"audit key {key!r} is no identifier; use letters, digits and underscores, a letter first")


def identifier(field: str) -> str:
    """A field's name as a part of an audit key."""
    return re.sub(r"[^A-Za-z0-9_]", "_", field)


def _folder_name(dataset: str) -> str:
    """The dataset's name, with '-' for characters that a folder's name cannot have."""
    return re.sub(r"[^\w.-]+", "-", dataset).strip(".-") or "dataset"
