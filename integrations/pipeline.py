"""The pipeline of the command and the App: audit a FiftyOne collection, write its scores, save the result and report.

Without FiftyOne, the images of a source are audited in the same way, and only result and report are written.

The result is saved as soon as it has scores and flags. If a later stage fails, the result names that stage and holds
the output of all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from audit.config import AuditConfig
from audit.errors import InputError, WriteError
from audit.progress import ProgressCallback, Step, failed_stage, silent

if TYPE_CHECKING:
    import pandas as pd
    from fiftyone.core.collections import SampleCollection

    from audit.checkpoint import Checkpoint
    from audit.data.samples import Samples
    from audit.images.embedding import Workers
    from audit.result import AuditResult
    from audit.summary.surroundings import AuditedDataset, PartOptions
    from integrations.sources.labelled_images import LabelledImages
    from integrations.sources.left_out import LeftOutImage
    from reports.beside_result import BesideResult

BeforeReport = Callable[["AuditResult", Path], "BesideResult"]
"""Is shown a result and its folder before the report is written, and returns what the report shows beside it."""

REPORT_FILE = "report.html"
MARKDOWN_FILE = "summary.md"


@dataclass(frozen=True)
class Audited:
    """A finished audit, or one of which only later stages failed.

    Attributes:
        result: the result, which is saved in `folder`.
        folder: the folder of the result and its report.
        problem: why the scores are not in FiftyOne or the report could not be written; None if both are done.
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
    *,
    embeddings: Sequence[str] = (),
    predictions: str | None = None,
    source_order: Sequence[str] | None = None,
    annotators: Mapping[str, str] | None = None,
    before_report: BeforeReport | None = None,
) -> Audited:
    """Audit, write the scores into FiftyOne, and write the result and report into a folder.

    The outputs of finished stages are kept until all stages are finished, so that a repeated call runs only the others.

    Args:
        collection: a FiftyOne dataset or view.
        label_field, audit_key, config, progress, workers, part, left_out: as for `integrations.fiftyone.audit_dataset`.
        folder: of the result and its report.
        embeddings, predictions, source_order, annotators: as for `integrations.fiftyone.audit_dataset`.
        before_report: is shown the result, and returns what the report shows beside it; None for nothing.

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
            collection,
            label_field,
            audit_key,
            config,
            progress,
            folder,
            checkpoint,
            workers,
            part,
            left_out,
            embeddings=list(embeddings) or None,
            predictions=predictions,
            source_order=source_order,
            annotators=annotators or None,
        )
    except (InputError, WriteError) as error:
        if error.result is None:
            raise
        result, problem = error.result, error
    return _reported(result, folder, progress, before_report, checkpoint, problem)


def audit_without_fiftyone(
    images: LabelledImages,
    audited: AuditedDataset,
    config: AuditConfig,
    folder: Path,
    progress: ProgressCallback = silent,
    workers: Workers | None = None,
    annotators: pd.DataFrame | None = None,
    before_report: BeforeReport | None = None,
) -> Audited:
    """Audit the images of a source, and write the result and report into a folder; FiftyOne is not used.

    Embeddings and predictions come from the files that `audited` names.

    The scores are indexed by the source's own keys. Finished stages are kept as by `audit_and_report`.

    Args:
        images: the source.
        audited: what the summary says of it.
        config, progress, workers: as for `audit.audit_images`.
        folder: of the result and its report.
        annotators: the labels of several annotators (a column each) by the source's key of the sample, whose consensus
            is audited; None for the labels of the images.
        before_report: as for `audit_and_report`.

    Raises:
        InputError: if the images cannot be audited.
        WriteError: if the result cannot be saved.
    """
    import audit
    from audit.checkpoint import checkpoint_for
    from integrations.given_files import given_in_files
    from integrations.sources.keys import with_keys
    from integrations.sources.left_out import with_left_out

    for note in images.notes:
        progress(Step("samples", note=note))
    checkpoint = checkpoint_for(config)

    def complete(result: AuditResult) -> AuditResult:
        result = replace(result, summary=replace(result.summary, source=audited))
        result = with_left_out(with_keys(result, {}), images.left_out)
        result.save(folder)
        return result

    samples = _samples_of(images)
    given = given_in_files(samples, audited.embeddings, audited.predictions, images.order)
    result = audit.audit_images(
        samples,
        config,
        progress,
        checkpoint,
        workers,
        scored=complete,
        embeddings=given.embeddings,
        predictions=given.predictions,
        annotators=None if annotators is None else annotators.reindex(list(samples.ids)),
    )
    result = complete(result)
    return _reported(result, folder, progress, before_report, checkpoint)


def _samples_of(images: LabelledImages) -> Samples:
    """The images of a source as samples; those that the source has no image of are in its `left_out`."""
    from audit.data.samples import Samples

    there = [image for image in images if image.image is not None]
    splits = [image.split for image in there]
    return Samples(
        [image.source_id for image in there],
        [image.image for image in there if image.image is not None],
        [image.label for image in there],
        splits if any(splits) else None,
    )


def _reported(
    result: AuditResult,
    folder: Path,
    progress: ProgressCallback,
    before_report: BeforeReport | None,
    checkpoint: Checkpoint,
    problem: InputError | WriteError | None = None,
) -> Audited:
    """Write the report, and drop the stages that were kept where all are finished."""
    audited = reported(result, folder, progress, before_report)
    if not audited.result.summary.failed_stages:
        checkpoint.discard()
    return replace(audited, problem=problem or audited.problem)


def reported(
    result: AuditResult, folder: Path, progress: ProgressCallback = silent, before_report: BeforeReport | None = None
) -> Audited:
    """Write the report of a result that is saved in a folder, with what lies beside the result.

    Args:
        result: of the audit.
        folder: that it is saved in.
        progress: called with each step.
        before_report: as for `audit_and_report`.
    """
    from reports.beside_result import BesideResult, write_beside

    progress(Step("report"))
    beside = BesideResult() if before_report is None else before_report(result, folder)
    try:
        write_beside(beside, folder)
    except OSError as error:
        raise WriteError(f"result folder {str(folder)!r} cannot be written ({error.strerror}); make room") from None
    result, problem = write_reports(result, folder)
    progress(Step("report", 1, 1))
    return Audited(result, folder, problem)


def write_reports(result: AuditResult, folder: Path) -> tuple[AuditResult, WriteError | None]:
    """Write the report and the summary for a pull request. If that fails, the result records the failure."""
    from reports.beside_result import read_beside
    from reports.html import write_report
    from reports.markdown import write_markdown

    try:
        beside = read_beside(folder)
        write_report(result, folder / REPORT_FILE, beside.conditions, beside.runs)
        write_markdown(result, folder / MARKDOWN_FILE)
    except Exception as error:  # whatever failed, the result is complete without a report
        failure = failed_stage("report", "report", error)
        result = result.with_failed_stage(failure)
        result.save(folder)
        return result, WriteError(f"{failure.reason} The result is in {str(folder)!r}.")
    return result, None
