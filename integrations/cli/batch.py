"""One audit, or several: one that fails does not stop the others."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.console import Console

from audit.errors import InputError
from audit.progress import Step
from audit.summary.parts import to_json
from audit.summary.surroundings import AuditedDataset
from integrations.cli.conditions_file import JudgedAudit
from integrations.cli.exit_codes import (
    ExitCode,
    is_mistake,
    one_line,
    print_json,
    say,
)
from integrations.cli.job import INDEX_FILE, AuditJob, audited_in
from integrations.cli.judging import Judge, Judging, exit_code_of_audit
from integrations.cli.summary_tables import show_batch, show_summary
from integrations.cli.terminal import StageDisplay, Verbosity
from integrations.pipeline import Audited, audit_and_report, audit_without_fiftyone
from integrations.sources.source_names import is_gone, possible_names
from reports.index import IndexEntry, write_index

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from audit.images.embedding import Workers
    from audit.summary.summary import Summary
    from audit.summary.surroundings import SourceOptions
    from integrations.sources import ImportedSource, Source
    from integrations.table_without_images import LabelsTable
    from reports.conditions import Condition


def audit_one(job: AuditJob, verbosity: Verbosity, judging: Judging = Judging(), scheduler: str | None = None) -> Done:
    """Audit, print what was found and where it is, and judge it.

    Raises:
        InputError: if it cannot be audited or judged.
        WriteError: if something of it could not be written.
    """
    began = time.perf_counter()
    ended = JudgedAudit(job.source, job.label_field, job.audit_key, ExitCode.FAILED, error="interrupted")
    try:
        audited, judge = _perform(job, verbosity, judging, set(), scheduler)
        summary = audited.result.summary
        show_summary(Console(stderr=verbosity.json), audited.result, audited.report)
        if verbosity.json:
            print_json(to_json(summary))
        code, problem = _judged(summary, judge)
        ended = replace(ended, exit_code=code, conditions=tuple(judge.conditions), error="")
        if (reason := audited.problem or judge.problem or problem) is not None:
            raise reason
    except Exception as error:
        code = ExitCode.MISTAKE if is_mistake(error) else ExitCode.FAILED
        ended = replace(ended, exit_code=code, error=one_line(error))
        raise
    finally:
        judging.write([replace(ended, seconds=time.perf_counter() - began)])
    return Done(summary, audited.report, code)


@dataclass(frozen=True)
class Done:
    """An audit that is done: its summary, its report, and the exit code."""

    summary: Summary
    report: Path
    code: ExitCode


def audit_all(
    jobs: Sequence[AuditJob],
    verbosity: Verbosity,
    judging: Judging = Judging(),
    scheduler: str | None = None,
) -> int:
    """Audit one after the other, even if some fail, with an index page of their reports; returns the exit code.

    The page is written before the first audit and after each one, so that an interrupted call leaves a page that shows
    what is done and what is not.
    """
    root = jobs[0].root
    taken: set[Path] = set()
    entries = [IndexEntry(job.source, job.label_field, job.audit_key, None) for job in jobs]
    judged: list[JudgedAudit] = []
    path = write_index(entries, root / INDEX_FILE, judging.limit)
    for number, job in enumerate(jobs, 1):
        if not verbosity.quiet:
            say(f"audit {number} of {len(jobs)}: {job.source}")
        began = time.perf_counter()
        ended, conditions = _one_of_several(job, entries[number - 1], verbosity, judging, taken, scheduler)
        entries[number - 1] = ended
        place = (ended.source, ended.label_field, ended.audit_key, ended.exit_code or 0, conditions, ended.error)
        judged.append(JudgedAudit(*place, seconds=time.perf_counter() - began))
        write_index(entries, path, judging.limit)
        judging.write(judged)
    show_batch(Console(stderr=verbosity.json), entries, path)
    if verbosity.json:
        print_json({"audits": [entry.to_json() for entry in entries]})
    codes = {entry.exit_code for entry in entries}
    if codes & {ExitCode.FAILED, ExitCode.MISTAKE}:
        return ExitCode.SOME_FAILED
    ranked = (ExitCode.ABOVE_LIMIT, ExitCode.FOUND, ExitCode.NOT_MET)
    return next((code for code in ranked if code in codes), ExitCode.DONE)


def _one_of_several(
    job: AuditJob,
    entry: IndexEntry,
    verbosity: Verbosity,
    judging: Judging,
    taken: set[Path],
    scheduler: str | None,
) -> tuple[IndexEntry, tuple[Condition, ...]]:
    """One audit as the index page lists it, and what its conditions came to; a failure is reported, and not raised."""
    try:
        audited, judge = _perform(job, verbosity, judging, taken, scheduler)
    except Exception as error:
        if verbosity.verbose:
            traceback.print_exc()
        say(one_line(error))
        code = ExitCode.MISTAKE if is_mistake(error) else ExitCode.FAILED
        return replace(entry, exit_code=code, error=one_line(error)), ()
    code, unjudged = _judged(audited.result.summary, judge)
    ended = replace(entry, exit_code=code, summary=audited.result.summary, report=audited.report)
    if unjudged is not None:
        say(one_line(unjudged))
        ended = replace(ended, error=one_line(unjudged))
    if (problem := audited.problem or judge.problem) is not None:
        say(one_line(problem))
        ended = replace(ended, exit_code=ExitCode.FAILED, error=one_line(problem))
    return ended, tuple(judge.conditions)


def _judged(summary: Summary, judge: Judge) -> tuple[ExitCode, InputError | None]:
    """The exit code of an audit that is done, and why it could not be judged."""
    try:
        return exit_code_of_audit(summary, judge.judging.limit, judge.conditions), None
    except InputError as error:
        return ExitCode.MISTAKE, error


@contextmanager
def _workers(scheduler: str | None, display: StageDisplay, in_fiftyone: bool) -> Iterator[Workers | None]:
    """The Dask workers of the scheduler that the user chose; None without one."""
    if scheduler is None:
        yield None
        return
    if in_fiftyone:
        # First, since importlib_metadata, which Dask imports, keeps FiftyOne's eta from reading its own metadata.
        import integrations.fiftyone.dataset  # noqa: F401
    from integrations.dask import workers_at

    display(Step("workers"))
    with workers_at(scheduler, lambda text: display(Step("workers", note=text))) as workers:
        yield workers


def _perform(
    job: AuditJob, verbosity: Verbosity, judging: Judging, taken: set[Path], scheduler: str | None
) -> tuple[Audited, Judge]:
    """Open the source, audit it, and write FiftyOne and the report; adds the result's folder to `taken`."""
    judging = replace(judging, named=(job.source, job.label_field, job.audit_key))
    with ExitStack() as opened:
        display = opened.enter_context(StageDisplay(Console(stderr=True), verbosity))
        workers = opened.enter_context(_workers(scheduler, display, job.in_fiftyone))
        job.check_writable()
        if (table := job.table_without_images()) is not None:
            return _audit_table(job, table, judging, taken, display)
        source = job.resolve()
        if not job.in_fiftyone:
            return _without_fiftyone(job, source, judging, display, taken, workers)
        opened.enter_context(source.removed_if_refused())
        collection = source.open(display)
        annotators = _opened_annotators(job, source, collection, display)
        field = source.opened_field(collection)
        job = _with_key_of(job, collection, field, display)
        folder = _own_folder(job, collection._root_dataset.name, taken)
        judge = Judge(judging, folder)
        audited = audit_and_report(
            collection,
            field,
            job.audit_key,
            job.config,
            folder,
            display,
            workers,
            source.part,
            source.left_out,
            embeddings=job.embeddings,
            predictions=job.predictions,
            source_order=job.source_order(source),
            annotators=annotators,
            before_report=judge.before_report,
        )
        return audited, judge


def _opened_annotators(
    job: AuditJob, source: Source, collection: SampleCollection, display: StageDisplay
) -> dict[str, str]:
    """The FiftyOne field of each annotator, by name, whose labels are imported first; empty for one label a sample."""
    from integrations.sources import ImportedSource

    if not isinstance(source, ImportedSource):
        return {name: name for name in job.annotators}
    sources = job.annotators_of(source) if job.annotators else {}
    for other in list(sources.values())[1:]:
        other.open(display)
    return {name: one.opened_field(collection) for name, one in sources.items()}


def _audit_table(
    job: AuditJob, table: LabelsTable, judging: Judging, taken: set[Path], display: StageDisplay
) -> tuple[Audited, Judge]:
    """Audit a table of labels without images; adds the result's folder to `taken`."""
    from integrations.annotators import tables_side_by_side
    from integrations.table_without_images import audit_table, labels_of_table

    display(Step("samples", note=f"no row of {table.path.name} names a picture, so the audit is without pictures"))
    annotators, column = None, table.label_column
    name = _free_name(job, table.path.stem, table.description)
    if job.annotators:
        read = {name: labels_of_table(job.source, name) for name in job.annotators}
        annotators = tables_side_by_side({name: one.samples for name, one in read.items() if one is not None})
        column = ",".join(job.annotators)
    job = _beside_another(job, name, column, display)
    options: SourceOptions = {} if job.annotators else {"label_column": table.label_column}
    audited = _audited(job, name, column, table.description, options, without_images=True)
    folder = _own_folder(job, name, taken)
    judge = Judge(judging, folder)
    done = audit_table(
        table.samples, audited, job.config, folder, display, annotators, before_report=judge.before_report
    )
    return done, judge


def _with_key_of(job: AuditJob, collection: SampleCollection, field: str, display: StageDisplay) -> AuditJob:
    """The job under an audit key of its own, if its key is the audit of another column of the same source."""
    from integrations.fiftyone.annotators import consensus_key
    from integrations.fiftyone.columns import audit_key_for

    dataset = collection._root_dataset
    key = consensus_key(dataset, job.audit_key) if job.annotators else audit_key_for(dataset, job.audit_key, field)
    if key != job.audit_key:
        display(Step("import", note=_kept_beside(job.audit_key, key)))
    return replace(job, audit_key=key)


def _kept_beside(key: str, own: str) -> str:
    return f"audit {key!r} is of other labels; this one is kept beside it, under the audit key {own!r}"


def _own_folder(job: AuditJob, dataset: str, taken: set[Path]) -> Path:
    """The result folder, which no other audit of this call has.

    Raises:
        InputError: if one has, or the folder holds other files.
    """
    folder = job.folder_for(dataset)
    job.refuse_others_files(folder)
    if folder in taken:
        raise InputError(
            f"dataset {dataset!r} was already audited under {job.audit_key!r} in this call; "
            "give one of the two audits another audit_key"
        )
    taken.add(folder)
    return folder


def _without_fiftyone(
    job: AuditJob,
    source: Source,
    judging: Judging,
    display: StageDisplay,
    taken: set[Path],
    workers: Workers | None,
) -> tuple[Audited, Judge]:
    """Audit the images of a source, and write only the result and its report."""
    from integrations.annotators import labels_side_by_side
    from integrations.sources import ImportedSource

    assert isinstance(source, ImportedSource)  # `resolve_source` refuses FiftyOne's
    source.check_labels()
    name = source.dataset or _free_name(job, source.images.name, source.description)
    column = source.images.label_column
    annotators = None
    if job.annotators:
        read = {annotator: one.images for annotator, one in job.annotators_of(source).items()}
        annotators, column = labels_side_by_side(read), ",".join(job.annotators)
    job = _beside_another(job, name, column, display)
    options = cast("SourceOptions", _options_of(source, job))
    audited = _audited(job, name, column or source.label_field, source.description, options)
    audited = replace(audited, part=source.part, label_column=column)
    folder = _own_folder(job, name, taken)
    judge = Judge(judging, folder)
    done = audit_without_fiftyone(
        source.images, audited, job.config, folder, display, workers, annotators, before_report=judge.before_report
    )
    return done, judge


def _audited(
    job: AuditJob, name: str, field: str, source: str, options: SourceOptions, without_images: bool = False
) -> AuditedDataset:
    """What a job without FiftyOne audits, as the summary has it: the labels of a column or a field."""
    return AuditedDataset(
        dataset=name,
        slug="",
        label_field=field,
        audit_key=job.audit_key,
        source=source,
        label_column=field,
        options=options,
        in_fiftyone=False,
        embeddings=job.embeddings,
        predictions=job.predictions,
        annotators=job.annotators,
        without_images=without_images,
    )


def _free_name(job: AuditJob, name: str, source: str) -> str:
    """The name, with those of its parent folders where the result of another source that is still there has it."""
    if job.folder is not None:
        return name
    names = possible_names(name, source)
    kept = {one: audited_in(job.folder_for(one))[0] for one in names}
    return next((one for one in names if kept[one] in (None, source) or is_gone(str(kept[one]))), names[-1])


def _beside_another(job: AuditJob, name: str, column: str | None, display: StageDisplay) -> AuditJob:
    """The job under a key of its own, if the result where its own would go is of another column of the same source."""
    if job.folder is not None or column is None or audited_in(job.folder_for(name))[1] in (None, column):
        return job
    own = job.beside(column)
    display(Step("samples", note=_kept_beside(job.audit_key, own.audit_key)))
    return own


def _options_of(source: ImportedSource, job: AuditJob) -> dict[str, str]:
    """The command's options that read the source in the same way; annotators name their columns themselves."""
    return {name: value for name, value in source.options.items() if not job.annotators or name != "label_column"}
