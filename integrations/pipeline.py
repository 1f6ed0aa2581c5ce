"""The pipeline of command and App: audit a FiftyOne collection, write its scores, and save result and report.

The result is saved as soon as it has scores and flags. If a later stage fails, the result names that stage and keeps
the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audit.config import AuditConfig
from audit.errors import InputError, WriteError
from audit.progress import ProgressCallback, Step, failed_stage, silent

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from audit.images.embedding import Workers
    from audit.result import AuditResult
    from audit.summary.surroundings import PartOptions
    from integrations.sources.left_out import LeftOutImage

REPORT_FILE = "report.html"
MARKDOWN_FILE = "summary.md"


@dataclass(frozen=True)
class Audited:
    """An audit that has scores.

    Attributes:
        result: what was found; it is saved in `folder`.
        folder: of the result and its report.
        problem: why its scores are not in FiftyOne or its report could not be written; None where both are done.
    """

    result: AuditResult
    folder: Path
    problem: InputError | WriteError | None

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / REPORT_FILE


def audit_and_report(
    collection: SampleCollection,
    label_field: str,
    audit_key: str,
    config: AuditConfig,
    folder: Path,
    progress: ProgressCallback = silent,
    workers: Workers | None = None,
    part: PartOptions | None = None,
    left_out: Sequence[LeftOutImage] = (),
) -> Audited:
    """Audit, write FiftyOne, and write result and report into a folder.

    Stages that are finished are kept until all of them are, so that the same call makes only what is missing.

    Args:
        collection: a FiftyOne dataset or view.
        label_field, audit_key, config, progress, workers, part, left_out: as for `integrations.fiftyone.audit_dataset`.
        folder: of the result and its report.

    Raises:
        InputError: if the collection cannot be audited.
        WriteError: if the result itself cannot be saved.
    """
    from audit.checkpoint import checkpoint_for
    from integrations.fiftyone.dataset import audit_dataset

    checkpoint = checkpoint_for(config)
    problem: InputError | WriteError | None = None
    try:
        result = audit_dataset(
            collection, label_field, audit_key, config, progress, folder, checkpoint, workers, part, left_out
        )
    except (InputError, WriteError) as error:
        if error.result is None:
            raise
        result, problem = error.result, error
    progress(Step("report"))
    result, unwritten = _write_report(result, folder)
    problem = problem or unwritten
    if not result.summary.failed_stages:
        checkpoint.discard()
    progress(Step("report", 1, 1))
    return Audited(result, folder, problem)


def _write_report(result: AuditResult, folder: Path) -> tuple[AuditResult, WriteError | None]:
    """Write the report and the summary for a pull request; where that fails, the result says so."""
    from reports.html import write_report
    from reports.markdown import write_markdown

    try:
        write_report(result, folder / REPORT_FILE)
        write_markdown(result, folder / MARKDOWN_FILE)
    except Exception as error:  # whatever it is, the result is complete without
        failure = failed_stage("report", "report", error)
        result = result.with_failed_stage(failure)
        result.save(folder)
        return result, WriteError(f"{failure.reason} The result is in {str(folder)!r}.")
    return result, None
