"""Audit a FiftyOne dataset, and write the audit's result into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import fiftyone as fo
import pymongo
from bson import ObjectId
from fiftyone import ViewField as F
from fiftyone.core.collections import SampleCollection
from pymongo.errors import ConnectionFailure, PyMongoError

import audit
from audit.config import AuditConfig
from audit.errors import InputError, WriteError, first_line
from audit.progress import ProgressCallback, failed_stage, silent
from audit.summary.parts import to_json
from audit.summary.surroundings import AuditedDataset, PartOptions, SourceOptions
from integrations.fiftyone.annotators import consensus_field, declare_consensus, read_annotators, write_consensus
from integrations.fiftyone.appearance import check_view_names, save_views, show_fields
from integrations.fiftyone.columns import keys_of, origin_of, refuse_other_field
from integrations.fiftyone.database import address_of
from integrations.fiftyone.fields import (
    FIELDS,
    FLAG,
    HEAT_MAP,
    INJECTED,
    INJECTION_FIELDS,
    MODEL_FIELDS,
    MODEL_SUSPICION,
    REVIEW_FIELDS,
    check_audit_key,
    declare,
    index_fields,
)
from integrations.fiftyone.findings_store import write_findings
from integrations.fiftyone.given import GivenInputs
from integrations.fiftyone.label_fields import classification_field, original_field
from integrations.fiftyone.lock import FAREWELL_SECONDS, audit_lock
from integrations.fiftyone.overview import keep_overview, overview_of
from integrations.fiftyone.read import load_dataset, read_samples, root_of
from integrations.fiftyone.review import corrected_since, keep_progress
from integrations.fiftyone.runs import COMPLETE, FAILED, METHOD, LabelAuditConfig
from integrations.fiftyone.score_writing import write_scores
from integrations.fiftyone.source_datasets import source_of
from integrations.sources.keys import with_keys
from integrations.sources.left_out import LeftOutImage, refuse_left_out, with_left_out
from reports.acceptance import acceptance_sentences
from reports.claims import claims_of, claims_to_json

if TYPE_CHECKING:
    from audit.checkpoint import Checkpoint
    from audit.images.embedding import Workers
    from audit.result import AuditResult

_SUMMARY = ("created", "counts", "threshold", "threshold_rule", "estimates", "detection", "notes")
"""The parts of an audit's summary that are stored in the dataset's run: the numbers that the App shows."""


def audit_dataset(
    dataset_or_view: SampleCollection | str,
    label_field: str = "ground_truth",
    audit_key: str = "audit",
    config: AuditConfig | None = None,
    progress: ProgressCallback = silent,
    save_to: str | Path | None = None,
    checkpoint: Checkpoint | None = None,
    workers: Workers | None = None,
    part: PartOptions | None = None,
    left_out: Sequence[LeftOutImage] = (),
    *,
    embeddings: Any = None,
    predictions: Any = None,
    source_order: Sequence[str] | None = None,
    annotators: Mapping[str, str] | Sequence[str] | None = None,
) -> AuditResult:
    """Audit the labels of a FiftyOne dataset or view, and write the result into the dataset.

    Args:
        dataset_or_view: the images, or the name of a dataset.
        label_field: a `Classification`, text, or `Classifications` of one entry. The audit never writes to it; of the
            latter two, it audits a copy, `<label_field>_class`.
        audit_key: the audit's fields are called `<audit_key>_...`. An earlier audit of the same labels with this key
            is replaced, but its decisions in `<audit_key>_status` are kept.
        config: the audit's settings.
        progress: called with each step.
        save_to: a folder for the result, which is saved before anything is written into the dataset.
        checkpoint: keeps finished stages until the caller discards it; None for one that ends with this call.
        workers: other processes that embed and train (`integrations.dask.DaskWorkers`); None to use this process.
        part: options of the command that select the same samples; by default the name of the saved view.
        left_out: images that the source left out. The result counts them; in a strict audit they are an error.
        embeddings: of your own, in place of a backbone's: a field with vectors, the key of a brain similarity run, a
            .npy, .parquet or .csv file, or an array (n, d); or several of these.
        predictions: of your own: a field with logits or probabilities, a file, or an array (n, C).
        source_order: what the dataset's source calls its samples (`source_id`), in the order of a file's rows.
        annotators: the label fields of several annotators, or these by name, in the place of `label_field`: their
            consensus is written into the field `consensus_<audit_key>`, and audited.

    Returns:
        The result, whose scores are indexed by FiftyOne's sample ids.

    Raises:
        InputError: if the dataset, the field or the key cannot be used, before anything is computed.
        WriteError: if the scores could not be written into the dataset; its `result` has them.
    """
    from audit.checkpoint import checkpoint_for

    collection = load_dataset(dataset_or_view) if isinstance(dataset_or_view, str) else dataset_or_view
    fields = annotators if isinstance(annotators, Mapping) else {name: name for name in annotators or ()}
    refuse_other_field(root_of(collection), audit_key, consensus_field(audit_key) if fields else label_field)
    label_field = _audited_field(collection, label_field, audit_key, fields)
    given = GivenInputs.of(embeddings, predictions, source_order)
    job = _DatasetAudit(collection, label_field, audit_key, save_to, part, left_out, given, fields)
    job.check(config)
    stages = checkpoint or checkpoint_for(config or AuditConfig())
    with audit_lock(root_of(collection), audit_key):
        result = job.run(config, progress, stages, workers)
    if checkpoint is None and not result.summary.failed_stages:
        stages.discard()
    return result


def _audited_field(
    collection: SampleCollection, label_field: str, audit_key: str, annotators: Mapping[str, str]
) -> str:
    """The field with one class a sample that is audited: the given one, a copy, or the annotators' consensus."""
    if not annotators:
        return classification_field(collection, label_field)
    read_annotators(collection, annotators)  # refuses what is no label field before a field is made
    return declare_consensus(root_of(collection), audit_key, annotators)


@dataclass(frozen=True)
class _DatasetAudit:
    """One call of `audit_dataset`. The attributes are its arguments."""

    collection: SampleCollection
    label_field: str
    audit_key: str
    save_to: str | Path | None
    part: PartOptions | None
    left_out: Sequence[LeftOutImage]
    given: GivenInputs
    annotators: Mapping[str, str]

    def check(self, config: AuditConfig | None) -> None:
        """Before computing, refuse an audit whose result could not be written, or a strict one that has to fail."""
        dataset = root_of(self.collection)
        if config is not None and config.strict:
            refuse_left_out(source_of(dataset) or dataset.name, self.left_out)
        _check_writable(dataset, self.audit_key, self.label_field)

    def run(
        self, config: AuditConfig | None, progress: ProgressCallback, stages: Checkpoint, workers: Workers | None
    ) -> AuditResult:
        """Audit, save and write. The caller holds the audit's lock."""
        labelled_in = next(iter(self.annotators.values()), self.label_field)
        samples = read_samples(self.collection, labelled_in)
        given = self.given.read(self.collection, labelled_in)
        result = audit.audit_images(
            samples,
            config,
            progress,
            stages,
            workers,
            self._complete,
            embeddings=given.embeddings,
            predictions=given.predictions,
            annotators=read_annotators(self.collection, self.annotators) if self.annotators else None,
        )
        result = self._complete(result)
        try:
            if self.annotators:
                write_consensus(root_of(self.collection), self.label_field, result)
            _write(self.collection, result, self.audit_key, self.label_field, progress, self.save_to)
        except (InputError, WriteError) as error:
            result = result.with_failed_stage(failed_stage("fiftyone", "fields in FiftyOne", error))
            error.result = result
            self._save(result)
            raise
        return result

    def _complete(self, result: AuditResult) -> AuditResult:
        """Add to the result what only the dataset and its source know, and save it; called as soon as it has scores."""
        embeddings, predictions = self.given.names()
        source = _audited_dataset(self.collection, self.label_field, self.audit_key, self.part)
        source = replace(source, embeddings=embeddings, predictions=predictions, annotators=tuple(self.annotators))
        result = replace(result, summary=replace(result.summary, source=source))
        result = with_left_out(with_keys(result, keys_of(root_of(self.collection))), self.left_out)
        self._save(result)
        return result

    def _save(self, result: AuditResult) -> None:
        if self.save_to is not None:
            result.save(self.save_to)


def _audited_dataset(
    collection: SampleCollection, label_field: str, audit_key: str, part: PartOptions | None
) -> AuditedDataset:
    """The summary's entry for the dataset."""
    dataset = root_of(collection)
    if part is None:
        a_part = len(collection) < len(dataset)
        part = ({"view": collection.name} if collection.name else None) if a_part else {}
    column, options = origin_of(dataset, label_field)
    return AuditedDataset(
        dataset=dataset.name,
        slug=dataset.slug,
        label_field=original_field(dataset, label_field),
        audit_key=audit_key,
        source=source_of(dataset) or f"fiftyone:{dataset.name}",
        part=part,
        label_column=column,
        options=cast("SourceOptions", options),
    )


def write_result(
    dataset_or_view: SampleCollection,
    result: AuditResult,
    audit_key: str = "audit",
    label_field: str = "ground_truth",
    progress: ProgressCallback = silent,
    saved_to: str | Path | None = None,
) -> None:
    """Write an audit's scores, run, saved views and sidebar group into the audited dataset.

    The scores are staged first, and then the server merges them in one operation. The run is marked 'writing' at the
    start, and 'complete' or 'failed' (with the reason) at the end. So an interrupted write is visible. It can be
    deleted, or repaired by writing again.

    Args:
        dataset_or_view: what was audited.
        result: the audit's result, indexed by sample id.
        audit_key: the audit's fields are called `<audit_key>_...`.
        label_field: the audited field.
        progress: called with the number of samples written.
        saved_to: the folder with the saved result, from which the App explains samples and makes reports.

    Raises:
        InputError: if the dataset was deleted, the key would overwrite something else, or an audit with it is running.
        WriteError: if the database stopped or the dataset was deleted meanwhile.
    """
    dataset = root_of(dataset_or_view)
    _check_writable(dataset, audit_key, label_field)
    with audit_lock(dataset, audit_key):
        _write(dataset_or_view, result, audit_key, label_field, progress, saved_to)


def _write(
    dataset_or_view: SampleCollection,
    result: AuditResult,
    audit_key: str,
    label_field: str,
    progress: ProgressCallback,
    saved_to: str | Path | None,
) -> None:
    """`write_result`. The caller holds the audit's lock."""
    dataset = root_of(dataset_or_view)
    where = f"the result is in {str(saved_to)!r}; " if saved_to is not None else ""
    run = LabelAuditConfig(
        label_field,
        version=audit.__version__,
        audit_config=result.summary.config.to_dict(),
        summary={
            **{name: to_json(getattr(result.summary, name)) for name in _SUMMARY},
            "claims": claims_to_json(claims_of(result.summary)),
            "accepting": acceptance_sentences(result.summary),
        },
        result_folder=None if saved_to is None else str(Path(saved_to).resolve()),
    )
    try:
        _check_writable(dataset, audit_key, label_field)
        run.summary |= _since_last(dataset, result, audit_key)
        dataset_or_view.register_run(audit_key, run, overwrite=True, cleanup=False)
        in_some = {INJECTION_FIELDS: INJECTED, MODEL_FIELDS: MODEL_SUSPICION}
        present = {fields: field.suffix in result.scores.columns for fields, field in in_some.items()}
        more = [field for fields, there in present.items() if there for field in fields]
        declare(dataset, audit_key, (*FIELDS, *more, *REVIEW_FIELDS))
        write_scores(dataset, audit_key, result.scores, _remarks(result), progress)
        outdated = [HEAT_MAP, *(field for fields, there in present.items() if not there for field in fields)]
        former = [field.name(audit_key) for field in outdated if dataset.has_field(field.name(audit_key))]
        if former:
            dataset.delete_sample_fields(former)
        index_fields(dataset, audit_key)
        save_views(dataset, audit_key)
        show_fields(dataset, audit_key, label_field)
        keep_overview(dataset, audit_key, overview_of(result))
        write_findings(dataset, audit_key, result.findings)
        run.state = COMPLETE
        dataset.update_run_config(audit_key, run)
        keep_progress(dataset, audit_key)
    except InputError as error:
        raise (InputError(f"{error} ({where.strip('; ')})") if where else error) from None
    except Exception as error:
        problem = _problem_of(error, dataset)
        # The same problem may prevent this update, too. Then the run stays 'writing'.
        with suppress(Exception), pymongo.timeout(FAREWELL_SECONDS):
            run.state, run.problem = FAILED, problem
            dataset.update_run_config(audit_key, run)
        raise WriteError(
            f"the scores could not be written into dataset {dataset.name!r} ({problem}); {where}run the same command "
            "again to go on: finished stages are kept"
        ) from error


def _problem_of(error: Exception, dataset: fo.Dataset) -> str:
    """Why writing failed, in a few words."""
    if isinstance(error, PyMongoError) or isinstance(error.__cause__, PyMongoError):
        address = address_of(fo.config.database_uri) if fo.config.database_uri else "its own address"
        gone = isinstance(error, ConnectionFailure)
        return f"MongoDB at {address} does not answer" if gone else f"MongoDB: {first_line(error)}"
    with suppress(PyMongoError), pymongo.timeout(FAREWELL_SECONDS):
        if not fo.dataset_exists(dataset.name):
            return "it was deleted meanwhile"
    return f"{type(error).__name__}: {first_line(error)}"


def _remarks(result: AuditResult) -> dict[str, list[str]]:
    """Remarks by sample id: the kinds of findings on the sample, or why it was not audited."""
    remarks: dict[str, list[str]] = {}
    if len(result.findings):
        found = result.findings.dropna(subset=["id"]).drop_duplicates(["id", "kind"])
        for sample, kind in zip(found["id"], found["kind"], strict=True):
            remarks.setdefault(sample, []).append(kind)
    if len(result.skipped):
        for sample, reason in zip(result.skipped["id"], result.skipped["reason"], strict=True):
            if not ObjectId.is_valid(sample):  # an image that the source left out is not a sample
                continue
            remarks.setdefault(sample, []).append(f"left out: {reason}")
    return remarks


def _since_last(dataset: fo.Dataset, result: AuditResult, audit_key: str) -> dict[str, Any]:
    """Changes since the replaced audit: flags, and labels corrected in between."""
    if audit_key not in dataset.list_runs(method=METHOD):
        return {}
    former = dataset.get_run_info(audit_key)
    if former.config.state != COMPLETE:
        return {}
    before = set(dataset.match(F(FLAG.name(audit_key)) == True).values("id"))  # noqa: E712
    now = set(result.flagged.index)
    return {
        "since_last": {
            "flagged_before": len(before),
            "flagged_now": len(now),
            "no_longer_flagged": len(before - now),
            "newly_flagged": len(now - before),
            "labels_corrected": corrected_since(dataset, audit_key, former.timestamp),
        }
    }


def _check_writable(dataset: fo.Dataset, audit_key: str, label_field: str) -> None:
    try:
        dataset.reload()
    except ValueError:
        raise InputError(f"dataset {dataset.name!r} was deleted; there is nothing to write into") from None
    check_audit_key(dataset, audit_key, label_field)
    check_view_names(dataset, audit_key)
    if audit_key in dataset.list_runs() and audit_key not in dataset.list_runs(method=METHOD):
        raise InputError(
            f"dataset {dataset.name!r} has another tool's run under the key {audit_key!r}; "
            "choose another with --audit-key"
        )
