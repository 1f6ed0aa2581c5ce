"""The operator that takes decisions that were made elsewhere, as in the report, into the review."""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types

from audit.errors import InputError
from integrations.fiftyone import review
from integrations.fiftyone.background_audit import results_home

from .files import path_in_folder
from .inputs import chosen_key, key_input
from .operator import AuditOperator
from .sentences import VERBS, counted
from .window import in_app, refresh

KINDS = ".csv,.json,.parquet"


class ImportDecisions(AuditOperator):
    """Make the decisions of a file."""

    name_ = "import_decisions"
    label = "Import decisions"
    description = "Take in the decisions.csv that a report saved, or decisions that were exported elsewhere"
    icon = "upload"

    def __call__(
        self,
        sample_collection: SampleCollection,
        path: str | None = None,
        audit_key: str | None = None,
        by: str | None = None,
        delegate: bool = False,
    ) -> Any:
        """Import from Python.

        Args:
            sample_collection: the dataset.
            path: the file.
            audit_key: the key of the audit; by default of the newest.
            by: who decided; by default as the file says, or else the user who runs this process.
            delegate: queue the work for `fiftyone delegated launch`.

        Returns:
            A dict with counts by action, unchanged, disputed, relabelled_since, unknown and batch.

        Raises:
            InputError: if there is no such audit, or the file cannot be read or is of another audit.
        """
        return self.call(sample_collection, {"path": path, "audit_key": audit_key, "by": by}, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """Which audit, which file, and who decided; then what the file would change."""
        key = key_input(ctx, dataset, inputs)
        about = "The decisions.csv that a report saved, or a file of 'Export corrections'."
        inputs.uploaded_file("file", label="File", description=about, view=types.FileView(types=KINDS))
        inputs.str("by", label="Reviewer", description="Who decided. Default: as the file says, or else you.")
        if ctx.params.get("file"):
            with file_of(ctx, dataset, key) as path:
                planned = _import(ctx, dataset, key, path, write=False)
            inputs.view("planned", types.Notice(label=imported_said(planned, "would be")))

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Import, and show on how many samples."""
        key = chosen_key(ctx, dataset)
        with file_of(ctx, dataset, key) as path:
            imported = _import(ctx, dataset, key, path)
        ctx.ops.notify(imported_said(imported, "are"), variant="success" if imported.count else "warning")
        refresh(ctx)
        return asdict(imported)


@contextmanager
def file_of(ctx: Any, dataset: fo.Dataset, key: str) -> Iterator[Path]:
    """The file that the parameters name or hold.

    Raises:
        InputError: if there is none, or a path given in the App is outside the audit's folder.
    """
    uploaded = ctx.params.get("file")
    if uploaded and uploaded.get("content"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / (Path(str(uploaded.get("name") or "")).name or "decisions.csv")
            path.write_bytes(_content(uploaded["content"], path.name))
            yield path
    elif given := ctx.params.get("path"):
        yield path_in_folder(ctx, results_home(dataset, key), given) if in_app(ctx) else Path(given).expanduser()
    else:
        raise InputError("no file was given; choose the decisions.csv that the report saved")


def imported_said(imported: review.ImportedDecisions, verb: str) -> str:
    """What the file changes, in a sentence or two; `verb` is 'are' or 'would be'."""
    made = ", ".join(f"{number:,} {VERBS[action]}" for action, number in imported.counts.items())
    text = f"Decisions on {counted(imported.count, 'sample')} {verb} imported{f' ({made})' if made else ''}."
    return f"{text} {imported.left_out}".rstrip()


def _import(ctx: Any, dataset: fo.Dataset, key: str, path: Path, write: bool = True) -> review.ImportedDecisions:
    by = (ctx.params.get("by") or "").strip() or None
    try:
        return review.import_decisions(dataset, key, path, by, write=write)
    except InputError as mistake:
        if ctx.params.get("file"):  # whoever chose the file knows it by its name
            raise InputError(str(mistake).replace(str(path), path.name)) from None
        raise


def _content(text: str, name: str) -> bytes:
    """The bytes of an uploaded file, which browsers send in base64, some with a `data:` prefix."""
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"file {name!r} did not arrive whole; choose it again") from None
