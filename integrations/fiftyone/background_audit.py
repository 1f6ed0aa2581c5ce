"""Audits in a process of their own, for those that take longer than the App waits; any window can read the progress.

FiftyOne cuts what runs inside its App after ten minutes. The request and the progress of such a job are in the
dataset's execution store, which FiftyOne deletes with the dataset.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import psutil
from fiftyone.core.collections import SampleCollection
from fiftyone.core.utils import to_slug
from fiftyone.core.view import DatasetView
from fiftyone.operators.store import ExecutionStore

from audit.config import AuditConfig
from audit.errors import InputError
from audit.progress import ProgressCallback, Step, silent
from integrations import pipeline
from integrations.home import home_folder

if TYPE_CHECKING:
    from integrations.fiftyone.given import GivenInputs

STORE = "influence_audit_jobs"
RUNNING, FAILED, DONE = "running", "failed", "done"
STOP_SECONDS = 5.0  # for a job to end by itself


@dataclass
class BackgroundAudit:
    """One audit in a process of its own.

    Attributes:
        audit_key: of the audit that it makes.
        label_field: what it audits.
        config: the audit's settings.
        view: the stages of the view that it audits; None for the whole dataset.
        embeddings, predictions: fields, brain runs and files of the user's own, by name.
        state: 'running', 'failed' or 'done'.
        stage: what is being done.
        progress: of that stage, 0 to 1; None where it is not known.
        message: why it failed, or what it found.
        pid: of the process; 0 before it has started.
    """

    audit_key: str
    label_field: str
    config: dict[str, Any]
    view: list[dict[str, Any]] | None = None
    embeddings: list[str] = field(default_factory=list)
    predictions: str | None = None
    state: str = RUNNING
    stage: str = "starting"
    progress: float | None = None
    message: str = ""
    pid: int = 0
    started: float = field(default_factory=time.time)


def results_home(dataset: fo.Dataset, audit_key: str) -> Path:
    """The folder for the saved result of an audit that was started in the App."""
    return home_folder() / "results" / to_slug(dataset.name) / audit_key


def start_job(
    collection: SampleCollection,
    label_field: str,
    audit_key: str,
    config: AuditConfig,
    given: GivenInputs | None = None,
) -> BackgroundAudit:
    """Start an audit as its own process; `given` holds names of fields, brain runs and files.

    Raises:
        InputError: if one under this key is running.
    """
    dataset = collection._root_dataset
    running = find_job(dataset, audit_key)
    if running is not None and running.state == RUNNING:
        raise InputError(f"audit {audit_key!r} of dataset {dataset.name!r} is running already; wait for it to end")
    view = collection._serialize() if isinstance(collection, DatasetView) else None
    job = BackgroundAudit(audit_key, label_field, config.to_dict(), view)
    if given is not None:
        names, job.predictions = given.names()
        job.embeddings = list(names)
    _save(dataset, job)
    folder = results_home(dataset, audit_key)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "audit.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "integrations.fiftyone.background_audit", dataset.name, audit_key],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # closing the App does not end it
        )
    job.pid = process.pid
    return job


def find_job(dataset: fo.Dataset, audit_key: str) -> BackgroundAudit | None:
    """The current state of the job under a key; if its process ended without a report, it has failed."""
    stored = _store(dataset).get(audit_key)
    if stored is None:
        return None
    job = BackgroundAudit(**stored)
    if job.state == RUNNING and not _is_alive(job):
        job.state, job.message = FAILED, "its process ended without a word (out of memory?)"
    return job


def stop_job(dataset: fo.Dataset, audit_key: str) -> None:
    """Stop the job under a key. What it had written into the dataset stays until the audit is run again or deleted.

    Raises:
        InputError: if no job is running under this key.
    """
    job = find_job(dataset, audit_key)
    if job is None or job.state != RUNNING:
        raise InputError(f"no audit {audit_key!r} of dataset {dataset.name!r} is running; it may have ended just now")
    if job.pid:
        _end(job.pid)
    job.state, job.message = FAILED, "it was stopped"
    _save(dataset, job)


def _end(pid: int) -> None:
    """End the process of a job, and those that it started, unless it has ended and another one has its number."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if __name__ not in process.cmdline():
            return
        started = [*process.children(recursive=True), process]
        for one in started:
            one.terminate()
        _, left = psutil.wait_procs(started, STOP_SECONDS)
        for one in left:
            one.kill()


def running_jobs(dataset: fo.Dataset) -> list[BackgroundAudit]:
    """The jobs of a dataset that are running."""
    jobs = [find_job(dataset, key) for key in _store(dataset).list_keys()]
    return [job for job in jobs if job is not None and job.state == RUNNING]


def forget_job(dataset: fo.Dataset, audit_key: str) -> None:
    """Forget a job that has ended."""
    _store(dataset).delete(audit_key)


def audit_in_app(
    collection: SampleCollection,
    label_field: str,
    audit_key: str,
    config: AuditConfig,
    progress: ProgressCallback = silent,
    given: GivenInputs | None = None,
) -> str:
    """Audit, save result and report where the App finds them, and say in a line what was found."""
    from reports.verdict import headline  # its imports take time, and the App's server needs none of them

    folder = results_home(collection._root_dataset, audit_key)
    audited = pipeline.audit_and_report(
        collection,
        label_field,
        audit_key,
        config,
        folder,
        progress,
        embeddings=() if given is None else given.embeddings,
        predictions=None if given is None else given.predictions,
    )
    if audited.problem is not None:
        raise audited.problem
    summary = audited.result.summary
    said = headline(summary).removesuffix(".")
    return f"{summary.counts.flagged:,} of {summary.counts.samples:,} labels flagged. {said}"


def run_job(dataset: fo.Dataset, audit_key: str) -> None:
    """Run a job that was started, in its own process."""
    job = find_job(dataset, audit_key)
    if job is None:
        raise InputError(f"dataset {dataset.name!r} has no audit job {audit_key!r}; start it in the App")
    job.pid = os.getpid()
    last = 0.0

    def tell(step: Step) -> None:
        nonlocal last
        job.stage, job.progress = describe(step), share(step)
        if time.monotonic() - last > 0.5 or step.done == step.total:
            last = time.monotonic()
            _save(dataset, job)

    from integrations.fiftyone.given import GivenInputs

    try:
        collection = dataset if job.view is None else DatasetView._build(dataset, job.view)
        config = AuditConfig.from_dict(job.config)
        given = GivenInputs.of(job.embeddings or None, job.predictions)
        job.message = audit_in_app(collection, job.label_field, audit_key, config, tell, given)
        job.state = DONE
    except BaseException as error:
        job.state, job.message = FAILED, str(error).splitlines()[0] if str(error) else type(error).__name__
        if not isinstance(error, InputError):
            raise
    finally:
        _save(dataset, job)


def describe(step: Step) -> str:
    """A step of an audit in words."""
    from integrations.cli.terminal import STAGE_NAMES

    if step.note:
        return step.note
    name = STAGE_NAMES.get(step.stage, step.stage)
    return f"{name}: {step.done:,} of {step.total:,} {step.unit}" if step.unit and step.total else name


def share(step: Step) -> float | None:
    """How much of a step's stage is done, 0 to 1."""
    return step.done / step.total if step.total else None


def _store(dataset: fo.Dataset) -> ExecutionStore:
    return ExecutionStore.create(STORE, dataset._doc.id)


def _save(dataset: fo.Dataset, job: BackgroundAudit) -> None:
    _store(dataset).set(job.audit_key, asdict(job))


def _is_alive(job: BackgroundAudit) -> bool:
    if not job.pid:
        return time.time() - job.started < 60  # the process says its number once it has imported what it needs
    try:
        return psutil.Process(job.pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    run_job(fo.load_dataset(sys.argv[1]), sys.argv[2])
