"""The operators that audit and stop an audit: the form, and the work in this process or in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types

from audit.config import AuditConfig
from audit.errors import InputError
from audit.progress import Step
from integrations.fiftyone.appearance import FLAGGED, check_view_names
from integrations.fiftyone.background_audit import audit_in_app, describe, share, start_job, stop_job
from integrations.fiftyone.columns import refuse_other_field
from integrations.fiftyone.fields import check_audit_key
from integrations.fiftyone.label_fields import original_field
from integrations.fiftyone.read import read_samples
from integrations.fiftyone.score_writing import STAGE

from .given import given_inputs, given_of, settings_of
from .inputs import audit_keys, check_samples, default_label_field, label_field_input, target_collection_input
from .operator import MISTAKES, AuditOperator, dataset_of, refuse
from .settings import audit_config_of, settings_inputs
from .window import PANEL, in_app, show_changed_fields

if TYPE_CHECKING:
    from integrations.fiftyone.given import GivenInputs

OWN_PROCESS_FROM = 5000
"""From this number of samples on, an audit by default runs in its own process: the App stops operators after ten
minutes."""


_stops: dict[tuple[str, str], Event] = {}
"""By dataset and audit key: set to stop an audit that runs in this process."""


class AuditLabels(AuditOperator):
    """Audit the labels of the dataset, the view or the selection."""

    name_ = "audit_labels"
    label = "Audit labels"
    description = "Find labels that are probably wrong, and write scores, flags and suggestions into the dataset"
    generator = True

    def __call__(
        self,
        sample_collection: SampleCollection,
        label_field: str = "ground_truth",
        audit_key: str = "audit",
        replace: bool = False,
        own_process: bool = False,
        delegate: bool = False,
        embeddings: str | list[str] | None = None,
        predictions: str | None = None,
        **settings: Any,
    ) -> Any:
        """Audit from Python.

        Args:
            sample_collection: a dataset or view.
            label_field: the field with the labels.
            audit_key: the key of the audit.
            replace: replace an earlier audit with this key; its decisions are kept.
            own_process: start the audit as a separate process and return at once.
            delegate: queue the audit for `fiftyone delegated launch`.
            embeddings, predictions: fields, brain runs or files, as for `integrations.fiftyone.audit_dataset`.
            **settings: settings of `audit.AuditConfig`.

        Raises:
            InputError: if the dataset, a setting or the key cannot be used.
        """
        params = {
            "label_field": label_field,
            "audit_key": audit_key,
            "replace": replace,
            "own_process": own_process,
            "embeddings": [embeddings] if isinstance(embeddings, str) else embeddings,
            "predictions": predictions,
            "view_target": "CURRENT_VIEW" if not isinstance(sample_collection, fo.Dataset) else "DATASET",
            **settings,
        }
        return self.call(sample_collection, params, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """The form: what to audit, under which key, with which settings, and in which process."""
        target = target_collection_input(ctx, dataset, inputs)
        field = label_field_input(ctx, dataset, inputs)
        _audit_key_input(ctx, dataset, inputs)
        if field is not None:
            check_samples(target, field, inputs)
        given_inputs(ctx, dataset, inputs, field)
        inputs.float(
            "inject",
            default=0.0,
            min=0,
            max=0.5,
            label="Inject mislabels",
            description="Share of labels to change on purpose in a copy, to measure how far to trust the flags, e.g. "
            "0.1. Your own labels are not touched.",
        )
        count = len(target)
        inputs.bool(
            "own_process",
            default=count > OWN_PROCESS_FROM,
            label="Run as its own process",
            description="Goes on when the App is closed, and is not cut after ten minutes; the panel shows its "
            "progress. Otherwise you wait here.",
            view=types.CheckboxView(),
        )
        inputs.bool("more", default=False, label="More settings", view=types.SwitchView())
        if ctx.params.get("more"):
            settings_inputs(inputs)
        try:
            audit_config_of(settings_of(ctx.params))
        except InputError as error:
            refuse(inputs, str(error), "settings_problem")

    def work(self, ctx: Any, dataset: fo.Dataset) -> Any:
        """Audit in this process, or start another one; in the App, as a generator that yields progress."""
        params = ctx.params
        collection = ctx.target_view()
        key = params.get("audit_key") or "audit"
        field = params.get("label_field") or "ground_truth"
        if key in audit_keys(dataset) and not params.get("replace"):
            raise InputError(_key_taken(dataset, key))
        refuse_other_field(dataset, key, field)
        config, given = audit_config_of(settings_of(params)), given_of(params)
        if params.get("own_process") and not ctx.delegated:
            read_samples(collection, field)
            check_audit_key(dataset, key, field)
            start_job(collection, field, key, config, given)
            message = f"Audit {key!r} has started; the panel 'Label audit' shows its progress."
            ctx.ops.notify(message, variant="info")
            if in_app(ctx):
                ctx.ops.open_panel(PANEL, layout="horizontal")
            return {"audit_key": key, "started": True}
        if in_app(ctx):
            return _audit_with_progress(ctx, collection, (field, key, config, given))

        def tell(step: Step) -> None:
            if not step.note:
                ctx.set_progress(share(step), describe(step))

        return {"audit_key": key, "message": audit_in_app(collection, field, key, config, tell, given)}


def _audit_key_input(ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
    """The audit's key: that of the newest audit of these labels, which is then audited again; else a free one."""
    keys = audit_keys(dataset)
    again = _audit_of(dataset, keys, ctx.params.get("label_field"))
    proposed = again or _free_key(dataset)
    key = ctx.params.get("audit_key") or proposed
    prop = inputs.str(
        "audit_key",
        default=proposed,
        required=True,
        label="Audit key",
        description="The audit's fields are called <key>_suspicion, <key>_flag, ... Two audits live side by side "
        "under two keys.",
    )
    try:
        if key in keys:
            refuse_other_field(dataset, key, ctx.params.get("label_field") or default_label_field(dataset) or "")
            _replace_input(ctx, dataset, inputs, key, is_proposed=key == again)
            return
        check_audit_key(dataset, key, ctx.params.get("label_field") or "")
        check_view_names(dataset, key)
        if key in dataset.list_runs():
            raise InputError(f"another tool's run is called {key!r}; choose another key")
    except InputError as error:
        prop.invalid = True
        prop.error_message = str(error)


def _replace_input(ctx: Any, dataset: fo.Dataset, inputs: types.Object, key: str, is_proposed: bool) -> None:
    """Say that the audit under this key is made again, and ask for it where the form has not proposed that."""
    if is_proposed:
        text = f"Dataset {dataset.name!r} has an audit {key!r} of these labels: they are audited again. "
        text += f"To keep that audit as it is, type another key, for example {_free_key(dataset)!r}."
        inputs.view("again", types.Notice(label=text))
    replaces = inputs.bool(
        "replace",
        default=is_proposed,
        label=f"Replace audit {key!r}",
        description="Scores and flags are made anew; decisions of reviewers are kept.",
        view=types.CheckboxView(),
    )
    if not ctx.params.get("replace", is_proposed):
        replaces.invalid = True
        replaces.error_message = _key_taken(dataset, key)


def _audit_of(dataset: fo.Dataset, keys: list[str], label_field: str | None) -> str | None:
    """The newest audit of a field's labels, or of any where the form has not asked for the field yet."""
    field = label_field or default_label_field(dataset)
    wanted = None if field is None else original_field(dataset, field)
    audited = {key: original_field(dataset, dataset.get_run_info(key).config.label_field) for key in keys}
    return next((key for key in keys if audited[key] == wanted), None)


def _free_key(dataset: fo.Dataset) -> str:
    taken = {*audit_keys(dataset), *dataset.list_runs()}
    return next(name for number in range(1, len(taken) + 2) if (name := _numbered(number)) not in taken)


def _numbered(number: int) -> str:
    return "audit" if number == 1 else f"audit_{number}"


def _key_taken(dataset: fo.Dataset, key: str) -> str:
    return f"dataset {dataset.name!r} has an audit {key!r} already; tick 'replace', or choose another key"


def _progress(ctx: Any, key: str, step: Step) -> Any:
    """How far an audit is, with a button that stops it."""
    outputs = types.Object()
    outputs.float("progress", view=types.ProgressView(label=describe(step)))
    outputs.view("stop", types.View(component="LabelAuditStop", audit_key=key))
    return ctx.ops.show_output(types.Property(outputs).to_json(), {"progress": share(step)})


def _audit_with_progress(
    ctx: Any, collection: SampleCollection, job: tuple[str, str, AuditConfig, GivenInputs]
) -> Iterator[Any]:
    """Audit in a thread, and yield the progress for the App to show.

    Args:
        ctx: the operator's context.
        collection: what is audited.
        job: the label field, the audit key, the settings, and embeddings and predictions of the user's own.
    """
    field, key, config, given = job
    messages: SimpleQueue[Step | str | BaseException] = SimpleQueue()
    dataset = collection._root_dataset
    stop = _stops[dataset.name, key] = Event()

    def tell(step: Step) -> None:
        if stop.is_set() and step.stage != STAGE:  # what is being written is written whole
            raise InputError(f"audit {key!r} was stopped; nothing was written")
        messages.put(step)

    def audit() -> None:
        try:
            messages.put(audit_in_app(collection, field, key, config, tell, given))
        except BaseException as error:
            messages.put(error)

    Thread(target=audit, name="label-audit", daemon=True).start()
    while isinstance(message := messages.get(), Step):
        if not message.note:
            yield _progress(ctx, key, message)
    _stops.pop((dataset.name, key), None)
    if isinstance(message, MISTAKES):
        yield ctx.ops.notify(str(message), variant="error")
        return
    if isinstance(message, BaseException):
        yield ctx.ops.notify(f"The audit failed: {type(message).__name__}: {message}", variant="error")
        raise message
    yield ctx.ops.set_progress(label=f"{message}.", progress=1.0)
    yield from show_changed_fields(ctx, dataset, key)
    yield ctx.ops.set_view(view=dataset.load_saved_view(FLAGGED.name(key)))
    yield ctx.ops.open_panel(PANEL, layout="horizontal")


class StopAudit(AuditOperator):
    """Stop an audit that runs in the App or in a process of its own."""

    name_ = "stop_audit"
    label = "Stop audit"
    description = "Stops an audit that is running; the dataset stays as it was"
    icon = "stop"
    unlisted = True
    dynamic = False

    def __call__(self, sample_collection: SampleCollection, audit_key: str) -> Any:
        """Stop from Python. Returns a dict with audit_key."""
        return self.call(sample_collection, {"audit_key": audit_key})

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """No inputs: what is stopped is named by the button."""
        dataset_of(ctx)

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Stop it."""
        key = ctx.params.get("audit_key") or ""
        here = _stops.get((dataset.name, key))
        if here is not None:
            here.set()
        else:
            stop_job(dataset, key)
            ctx.ops.notify(f"Audit {key!r} is stopped.", variant="info")
        return {"audit_key": key}
