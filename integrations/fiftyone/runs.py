"""The audit as a registered FiftyOne run: listed beside other runs, renamed and deleted with all it wrote.

FiftyOne loads a run's classes by their dotted names whenever it touches the run, so they live in the installed package
and keep their names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.core.runs import Run, RunConfig

from audit.errors import InputError
from integrations.fiftyone.appearance import delete_views, forget_fields, rename_group, save_views
from integrations.fiftyone.fields import INFO_KEY, audit_fields, drop_indexes, index_fields
from integrations.fiftyone.findings_store import delete_findings, rename_findings
from integrations.fiftyone.map_run import delete_map, rename_map

METHOD = "influence-audit"
WRITING = "writing"
COMPLETE = "complete"
FAILED = "failed"


@dataclass
class _Read:
    """A dataset as it was read for a request, and the configs of its audits that were looked at since."""

    dataset: fo.Dataset
    configs: dict[str, LabelAuditConfig] = field(default_factory=dict)


_AS_READ: ContextVar[_Read | None] = ContextVar("as_read", default=None)


class LabelAuditConfig(RunConfig):
    """What a label audit was run with and what it found.

    Args:
        label_field: the field whose labels were audited.
        state: 'writing' until everything is in the dataset, then 'complete'; 'failed' where it could not be written.
        version: of influence-audit.
        audit_config: the audit's settings.
        summary: the audit's main numbers, what changed since the audit that it replaced (`since_last`), and how far
            its review is (`review`, the fields of a `ReviewProgress`), which every decision brings up to date.
        result_folder: where the whole result was saved, if it was.
        problem: why it failed, if it did.
        check: the samples that were drawn to check the audit, where one was begun (`review.check`), and the model's own
            numbers while the decisions on them are used (`review.follow`).
    """

    def __init__(
        self,
        label_field: str,
        state: str = WRITING,
        version: str | None = None,
        audit_config: dict[str, Any] | None = None,
        summary: dict[str, Any] | None = None,
        result_folder: str | None = None,
        problem: str | None = None,
        check: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("method", METHOD)
        super().__init__(**kwargs)
        self.label_field = label_field
        self.state = state
        self.version = version
        self.audit_config = audit_config or {}
        self.summary = summary or {}
        self.result_folder = result_folder
        self.problem = problem
        self.check = check or {}


class LabelAudit(Run):
    """A label audit; deleting it deletes its fields, its saved views and its sidebar group, and nothing else."""

    def get_fields(self, samples: SampleCollection, key: str) -> list[str]:
        """The fields that the audit wrote."""
        return audit_fields(_root(samples), key)

    def cleanup(self, samples: SampleCollection, key: str) -> None:
        """Delete what the audit wrote."""
        dataset = _root(samples)
        delete_views(dataset, key)
        drop_indexes(dataset, key)
        delete_findings(dataset, key)
        delete_map(dataset, key)
        names = audit_fields(dataset, key)
        if names:
            dataset.delete_sample_fields(names)
        forget_fields(dataset, key)

    def rename(self, samples: SampleCollection, key: str, new_key: str) -> None:
        """Rename the fields, views and sidebar group."""
        dataset = _root(samples)
        names = {name: new_key + name.removeprefix(key) for name in audit_fields(dataset, key)}
        drop_indexes(dataset, key)
        dataset.rename_sample_fields(names)
        dataset.reload()  # a renamed field object still answers to its old path
        delete_views(dataset, key)
        for name in names.values():
            field = dataset.get_field(name)
            field.info = {**field.info, INFO_KEY: new_key}
            field.save()
        index_fields(dataset, new_key)
        rename_group(dataset, key, new_key)
        rename_findings(dataset, key, new_key)
        rename_map(dataset, key, new_key)
        save_views(dataset, new_key)


@contextmanager
def as_read(dataset: fo.Dataset) -> Iterator[None]:
    """For one request, take a dataset as it has just been read: reading it anew takes some 15 ms, many times."""
    token = _AS_READ.set(_Read(dataset))
    try:
        yield
    finally:
        _AS_READ.reset(token)


def is_as_read(dataset: fo.Dataset) -> bool:
    """Whether the dataset is taken as it was read for a request. The next request reads it anew."""
    read = _AS_READ.get()
    return read is not None and read.dataset is dataset


def forget_configs() -> None:
    """After a write to a run: read its config again, in the request at hand too."""
    read = _AS_READ.get()
    if read is not None:
        read.configs.clear()


def audit_config(dataset: fo.Dataset, audit_key: str) -> LabelAuditConfig:
    """The config of an audit's run, from the dataset read anew, but for `as_read`.

    Raises:
        InputError: if the dataset is gone or has no such audit.
    """
    read = _AS_READ.get()
    if read is not None and read.dataset is dataset and audit_key in read.configs:
        return read.configs[audit_key]
    try:
        if not is_as_read(dataset):
            dataset.reload()
    except ValueError:
        raise InputError(f"dataset {dataset.name!r} was deleted; there is nothing to review") from None
    keys = dataset.list_runs(method=METHOD)
    if audit_key not in keys:
        others = f"it has: {', '.join(keys)}" if keys else "it was deleted, or never made; audit the labels first"
        raise InputError(f"dataset {dataset.name!r} has no label audit {audit_key!r}; {others}")
    config = dataset.get_run_info(audit_key).config
    if read is not None and read.dataset is dataset:
        read.configs[audit_key] = config
    return config


def _root(samples: SampleCollection) -> fo.Dataset:
    return samples if isinstance(samples, fo.Dataset) else fo.load_dataset(samples.dataset_name)
