"""Operators that write a file about an audit: its report, or the decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types

from audit.errors import InputError
from integrations.fiftyone import review
from integrations.fiftyone.background_audit import results_home
from integrations.fiftyone.explanations import result_folder

from .inputs import chosen_key, key_input
from .operator import AuditOperator
from .sentences import counted
from .window import in_app


class FileOperator(AuditOperator):
    """An operator that writes a file about an audit."""

    def __call__(
        self,
        sample_collection: SampleCollection,
        path: str | None = None,
        audit_key: str | None = None,
        delegate: bool = False,
    ) -> Any:
        """Write the file from Python.

        Args:
            sample_collection: the dataset.
            path: the file; by default one in the folder of the audit's saved result.
            audit_key: the key of the audit; by default of the newest.
            delegate: queue the work for `fiftyone delegated launch`.

        Returns:
            A dict with path, and count if the file holds countable entries.

        Raises:
            InputError: if there is no such audit, or the file cannot be written.
        """
        return self.call(sample_collection, {"audit_key": audit_key, "path": path}, delegate)


class MakeReport(FileOperator):
    """Write the HTML report of an audit."""

    name_ = "make_report"
    label = "Make report"
    description = "Write the HTML report of an audit: one file that opens anywhere"
    icon = "summarize"
    risk = types.RiskLevel.LOW

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """Which audit, and to which file."""
        key = key_input(ctx, dataset, inputs)
        file_input(inputs, result_folder(dataset, key) / "report.html", "An HTML file")

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Write the report, and offer it for download."""
        from reports.html import write_report

        key = chosen_key(ctx, dataset)
        folder = result_folder(dataset, key)
        path = path_to_write(ctx, folder, "report.html")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_report(folder, path)
        except OSError as error:
            raise InputError(f"report {str(path)!r} cannot be written ({error.strerror}); give another path") from None
        ctx.ops.notify(f"The report is {path}.", variant="success")
        offer_download(ctx, path)
        return {"path": str(path)}


class ExportCorrections(FileOperator):
    """Write the decisions to a file."""

    name_ = "export_corrections"
    label = "Export corrections"
    description = "Write what was decided, by whom and when, with old and new labels, to a CSV or JSON file"
    icon = "download"
    risk = types.RiskLevel.LOW

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """Which audit, and to which file."""
        key = key_input(ctx, dataset, inputs)
        default = results_home(dataset, key) / "corrections.csv"
        prop = file_input(inputs, default, "A .csv or .json file")
        path = ctx.params.get("path")
        if path and Path(path).suffix.lower() not in review.EXPORT_FORMATS:
            prop.invalid, prop.error_message = True, "the file is neither .csv nor .json; name one that is"

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Export, and offer the file for download."""
        key = chosen_key(ctx, dataset)
        path = path_to_write(ctx, results_home(dataset, key), "corrections.csv")
        count = review.export_corrections(dataset, key, path)
        ctx.ops.notify(f"{counted(count, 'decision')} written to {path}.", variant="success")
        offer_download(ctx, path)
        return {"path": str(path), "count": count}


def file_input(inputs: types.Object, default: Path, kind: str) -> types.Property:
    """Add the input for the path of the file to write; `kind` describes the file."""
    about = f"{kind} on the machine that runs the App; the browser downloads a copy."
    return inputs.str("path", default=str(default), label="File", description=about)


def path_to_write(ctx: Any, folder: Path, default: str) -> Path:
    """The path that an operator writes to: within the audit's folder if called from the App, anywhere from Python.

    Everybody who can open the App's address can run operators. A free choice of path would let them overwrite any file.

    Raises:
        InputError: if a path given in the App is outside the folder.
    """
    return path_in_folder(ctx, folder, ctx.params.get("path") or default)


def path_in_folder(ctx: Any, folder: Path, given: str) -> Path:
    """The path that a name means in a folder: within it if called from the App, anywhere from Python.

    Raises:
        InputError: if a path given in the App is outside the folder.
    """
    path = (folder / Path(given).expanduser()).resolve()
    if in_app(ctx) and not path.is_relative_to(folder.resolve()):
        raise InputError(f"file {given!r} is outside of {str(folder)!r}; give a name in it, and move the file later")
    return path


def offer_download(ctx: Any, path: Path) -> None:
    """Let the browser download a file from the machine that runs the App."""
    if in_app(ctx):
        ctx.ops.browser_download(f"/media?filepath={quote(str(path))}", path.name)
