"""Operators that audit, inject mislabels, explain and report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from queue import SimpleQueue
from threading import Thread
from typing import Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types

from audit.config import INJECTION_STRATEGIES, AuditConfig, help_of
from audit.errors import InputError
from audit.progress import Step
from integrations.fiftyone.appearance import VIEWS, check_view_names
from integrations.fiftyone.background_audit import (
    audit_in_app,
    describe,
    share,
    start_job,
)
from integrations.fiftyone.dataset import read_samples
from integrations.fiftyone.explanations import add_heat_map, explain_sample, result_folder
from integrations.fiftyone.fields import check_audit_key
from integrations.fiftyone.injection import inject_into_field

from .forms import (
    MISTAKES,
    PANEL,
    AuditOperator,
    FileOperator,
    audit_keys,
    chosen_key,
    counted,
    file_input,
    in_app,
    key_input,
    label_field_input,
    offer_download,
    path_to_write,
    refuse,
    show_changed_fields,
    target_collection_input,
)

OWN_PROCESS_FROM = 5000
"""From so many samples on, an audit is by default a process of its own: the App cuts what takes ten minutes."""

BACKBONES = ("resnet18", "resnet34", "resnet50")


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
        **settings: Any,
    ) -> Any:
        """Audit from Python.

        Args:
            sample_collection: a dataset or view.
            label_field: the field with the labels.
            audit_key: of the audit.
            replace: replace an earlier audit under this key; decisions are kept.
            own_process: start it as its own process and return at once.
            delegate: queue it for `fiftyone delegated launch`.
            **settings: of `audit.AuditConfig`.

        Raises:
            InputError: if the dataset, a setting or the key cannot be used.
        """
        params = {
            "label_field": label_field,
            "audit_key": audit_key,
            "replace": replace,
            "own_process": own_process,
            "view_target": "CURRENT_VIEW" if not isinstance(sample_collection, fo.Dataset) else "DATASET",
            **settings,
        }
        return self.call(sample_collection, params, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """What to audit, under which key, how, and where."""
        target = target_collection_input(ctx, dataset, inputs)
        field = label_field_input(ctx, dataset, inputs)
        _audit_key_input(ctx, dataset, inputs)
        if field is not None:
            _check_samples(target, field, inputs)
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
            _more_settings(inputs)
        try:
            _audit_config(ctx.params)
        except InputError as error:
            refuse(inputs, str(error), "settings_problem")

    def work(self, ctx: Any, dataset: fo.Dataset) -> Any:
        """Audit here and now, or start a process; in the App, as a generator that yields progress."""
        params = ctx.params
        collection = ctx.target_view()
        key = params.get("audit_key") or "audit"
        field = params.get("label_field") or "ground_truth"
        if key in audit_keys(dataset) and not params.get("replace"):
            raise InputError(_key_taken(dataset, key))
        config = _audit_config(params)
        if params.get("own_process") and not ctx.delegated:
            read_samples(collection, field)
            check_audit_key(dataset, key, field)
            start_job(collection, field, key, config)
            message = f"Audit {key!r} has started; the panel 'Label audit' shows its progress."
            ctx.ops.notify(message, variant="info")
            if in_app(ctx):
                ctx.ops.open_panel(PANEL, layout="horizontal")
            return {"audit_key": key, "started": True}
        if in_app(ctx):
            return _audit_with_progress(ctx, collection, field, key, config)

        def tell(step: Step) -> None:
            if not step.note:
                ctx.set_progress(share(step), describe(step))

        return {"audit_key": key, "message": audit_in_app(collection, field, key, config, tell)}


def _audit_key_input(ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
    keys = audit_keys(dataset)
    taken = {*keys, *dataset.list_runs()}
    free = next(name for number in range(1, len(taken) + 2) if (name := _numbered(number)) not in taken)
    key = ctx.params.get("audit_key") or free
    prop = inputs.str(
        "audit_key",
        default=free,
        required=True,
        label="Audit key",
        description="The audit's fields are called <key>_suspicion, <key>_flag, ... Two audits live side by side "
        "under two keys.",
    )
    if key in keys:
        replaces = inputs.bool(
            "replace",
            default=False,
            label=f"Replace audit {key!r}",
            description="Scores and flags are made anew; decisions of reviewers are kept.",
            view=types.CheckboxView(),
        )
        if not ctx.params.get("replace"):
            replaces.invalid = True
            replaces.error_message = _key_taken(dataset, key)
        return
    try:
        check_audit_key(dataset, key, ctx.params.get("label_field") or "")
        check_view_names(dataset, key)
        if key in dataset.list_runs():
            raise InputError(f"another tool's run is called {key!r}; choose another key")
    except InputError as error:
        prop.invalid = True
        prop.error_message = str(error)


def _numbered(number: int) -> str:
    return "audit" if number == 1 else f"audit_{number}"


def _key_taken(dataset: fo.Dataset, key: str) -> str:
    return f"dataset {dataset.name!r} has an audit {key!r} already; tick 'replace', or choose another key"


def _check_samples(collection: SampleCollection, field: str, inputs: types.Object) -> None:
    """Refuse what cannot be audited as soon as it is chosen; the images themselves are looked at by the audit."""
    try:
        if not len(collection):
            raise InputError("there are no samples in what you chose; choose the dataset or another view")
        classes = collection.count_values(f"{field}.label")
        named = {label: count for label, count in classes.items() if label}
        if len(named) < 2:
            raise InputError(f"field {field!r} holds {counted(len(named), 'class')} there; an audit needs two or more")
        missing = len(collection) - sum(named.values())
        if missing:
            inputs.view(
                "missing", types.Notice(label=f"{counted(missing, 'sample')} without a label will be left out.")
            )
    except InputError as error:
        refuse(inputs, str(error), "samples_problem")


def _more_settings(inputs: types.Object) -> None:
    _strategy_input(inputs, "inject_strategy")
    inputs.float(
        "threshold", min=0, max=1, label="Threshold on the suspicion", description=help_of("threshold"), required=False
    )
    inputs.float(
        "target_precision",
        min=0,
        max=1,
        label="Or: precision of the flags",
        description=help_of("target_precision"),
        required=False,
    )
    inputs.int("max_review", min=1, label="Or: review budget", description=help_of("max_review"), required=False)
    for name, label in (("use_splits", "Use the dataset's own splits"), ("validation_trusted", "Trust validation")):
        inputs.bool(name, default=False, label=label, description=help_of(name), view=types.CheckboxView())
    _backbone_inputs(inputs)
    inputs.int("seed", default=0, min=0, label="Seed", description=help_of("seed"))


def _strategy_input(inputs: types.Object, name: str) -> None:
    inputs.enum(
        name,
        list(INJECTION_STRATEGIES),
        default=INJECTION_STRATEGIES[0],
        label="Which labels to change, and to what",
        description=help_of("inject_strategy"),
        view=types.DropdownView(),
    )


def _backbone_inputs(inputs: types.Object) -> None:
    inputs.enum(
        "backbone",
        list(BACKBONES),
        default=BACKBONES[0],
        label="Backbone",
        description=help_of("backbone"),
        view=types.DropdownView(),
    )
    inputs.str("weights", default="auto", label="Weights", description=help_of("weights"))
    inputs.int("image_size", label="Image size", description=help_of("image_size"), required=False)


SETTINGS = tuple(AuditConfig.__dataclass_fields__)


def _audit_config(params: dict[str, Any]) -> AuditConfig:
    given = {name: params[name] for name in SETTINGS if params.get(name) is not None}
    try:
        return AuditConfig(**given)
    except TypeError as error:
        raise InputError(f"a setting has the wrong type ({error}); see audit.AuditConfig") from None


def _audit_with_progress(
    ctx: Any, collection: SampleCollection, field: str, key: str, config: AuditConfig
) -> Iterator[Any]:
    """Audit in a thread and yield what the App is to show meanwhile."""
    messages: SimpleQueue[Step | str | BaseException] = SimpleQueue()
    dataset = collection._root_dataset

    def audit() -> None:
        try:
            messages.put(audit_in_app(collection, field, key, config, messages.put))
        except BaseException as error:
            messages.put(error)

    Thread(target=audit, name="label-audit", daemon=True).start()
    while isinstance(message := messages.get(), Step):
        if not message.note:
            yield ctx.ops.set_progress(label=describe(message), progress=share(message))
    if isinstance(message, MISTAKES):
        yield ctx.ops.notify(str(message), variant="error")
        return
    if isinstance(message, BaseException):
        yield ctx.ops.notify(f"The audit failed: {type(message).__name__}: {message}", variant="error")
        raise message
    yield ctx.ops.set_progress(label=f"{message}.", progress=1.0)
    yield from show_changed_fields(ctx, dataset, key)
    yield ctx.ops.set_view(view=dataset.load_saved_view(VIEWS[0].name(key)))
    yield ctx.ops.open_panel(PANEL, layout="horizontal")


class InjectMislabels(AuditOperator):
    """Copy labels into a new field and make some of them wrong."""

    name_ = "inject_mislabels"
    label = "Inject mislabels"
    description = "Copy the labels into a field of their own and change some there, to try an audit or a review on"
    icon = "casino"

    def __call__(
        self,
        sample_collection: SampleCollection,
        label_field: str = "ground_truth",
        into: str | None = None,
        share: float = 0.1,
        strategy: str = "uniform",
        audit_key: str | None = None,
        delegate: bool = False,
        **settings: Any,
    ) -> Any:
        """Inject from Python.

        Args:
            sample_collection: a dataset or view.
            label_field: the field with the labels.
            into: the new field; by default `<label_field>_corrupted`.
            share: of the labels to change, above 0 and at most 0.5.
            strategy: which labels to change and to what, see `audit.data.injection.inject_mislabels`.
            audit_key: for 'most-influential', the audit that says which samples are; by default the newest.
            delegate: queue it for `fiftyone delegated launch`.
            **settings: seed, and for 'class-pair' backbone, weights and image_size, of `audit.AuditConfig`.

        Returns:
            A dict with field and changed, the number of labels that differ.

        Raises:
            InputError: if the labels, the field or a setting cannot be used.
        """
        view_target = "CURRENT_VIEW" if not isinstance(sample_collection, fo.Dataset) else "DATASET"
        params = {"label_field": label_field, "into": into, "share": share, "strategy": strategy, **settings}
        return self.call(sample_collection, {**params, "audit_key": audit_key, "view_target": view_target}, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """Which labels, into which field, how many, and what they become."""
        target = target_collection_input(ctx, dataset, inputs)
        field = label_field_input(ctx, dataset, inputs)
        if field is not None:
            _check_samples(target, field, inputs)
        inputs.str(
            "into",
            default=f"{field}_corrupted",
            label="New field",
            description="It gets a copy of the labels, some of them wrong; the label field is not touched.",
        )
        inputs.float("share", default=0.1, label="Share to change", description="Above 0, at most 0.5.", min=0, max=0.5)
        _strategy_input(inputs, "strategy")
        strategy = ctx.params.get("strategy")
        if strategy == "most-influential":
            key_input(ctx, dataset, inputs)
        elif strategy == "class-pair":
            _backbone_inputs(inputs)
        inputs.int("seed", default=0, min=0, label="Seed", description="The same seed changes the same labels.")

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Inject."""
        params = ctx.params
        field = params.get("label_field") or "ground_truth"
        into = params.get("into") or f"{field}_corrupted"
        share = params.get("share")
        strategy = params.get("strategy") or INJECTION_STRATEGIES[0]
        config = _audit_config({**params, "inject": 0.1 if share is None else share, "inject_strategy": strategy})
        key = chosen_key(ctx, dataset) if strategy == "most-influential" else None
        changed = inject_into_field(ctx.target_view(), field, into, config, key)
        ctx.ops.notify(f"{counted(changed, 'label')} changed in the new field {into!r}.", variant="success")
        if in_app(ctx):
            show_changed_fields(ctx, dataset)
        return {"field": into, "changed": changed}


SHOWN_NEIGHBOURS = {
    "all": "Training samples that speak for and against its label",
    "class": "The same, among the training samples of its label",
    "harmed": "Validation samples that it harms",
}


class ExplainSample(AuditOperator):
    """Show which training samples speak for and against a sample's label."""

    name_ = "explain_sample"
    label = "Explain sample"
    description = "The training samples that help and harm the prediction of a sample's label most"
    icon = "psychology"
    risk = types.RiskLevel.LOW

    def __call__(
        self,
        sample_collection: SampleCollection,
        sample_id: str,
        audit_key: str | None = None,
        heat_map: bool = False,
        delegate: bool = False,
    ) -> Any:
        """Explain from Python; a dict with label, suggested, probability, and the samples of an `Explanation`."""
        params = {"sample_id": sample_id, "audit_key": audit_key, "heat_map": heat_map}
        return self.call(sample_collection, params, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """Which audit; the sample is the open or the selected one."""
        key = key_input(ctx, dataset, inputs)
        result_folder(dataset, key)
        _sample_to_explain(ctx)
        choices = types.RadioGroup()
        for value, label in SHOWN_NEIGHBOURS.items():
            choices.add_choice(value, label=label)
        inputs.enum("neighbours", choices.values(), default="all", label="Show in the grid", view=choices)
        inputs.bool(
            "heat_map",
            default=False,
            label="Heat map",
            description="Where in the image its influence comes from, in a field that the App draws over it.",
        )
        inputs.view(
            "wait",
            types.Notice(label="The first explanation of an audit reads its training images; the next ones are quick."),
        )

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Explain, and show the sample with its neighbours in the grid."""
        key = chosen_key(ctx, dataset)
        explanation = explain_sample(dataset, key, _sample_to_explain(ctx))
        if ctx.params.get("heat_map"):
            add_heat_map(dataset, key, explanation.sample)
        neighbours = {
            "class": [*explanation.helpful_in_class, *explanation.harmful_in_class],
            "harmed": explanation.harmed,
        }.get(ctx.params.get("neighbours"), [*explanation.helpful, *explanation.harmful])
        if in_app(ctx):
            if ctx.params.get("heat_map"):
                show_changed_fields(ctx, dataset)
            shown = dict.fromkeys([explanation.sample, *(near.id for near in neighbours)])
            ctx.ops.set_view(view=dataset.select(list(shown), ordered=True))
        return asdict(explanation) | {"neighbours": ctx.params.get("neighbours") or "all"}

    def resolve_output(self, ctx: Any) -> types.Property:
        """The explanation in words."""
        outputs = types.Object()
        found = ctx.results or {}
        if "label" in found:
            probability = found.get("probability")
            sure = "" if probability is None else f" ({probability:.0%} sure)"
            if found["neighbours"] == "harmed":
                grid = (
                    f"{len(found['harmed'])} validation samples that are predicted worse for its being trained on, the "
                    "one that suffers most first"
                )
            else:
                suffix = "_in_class" if found["neighbours"] == "class" else ""
                kind = f"training samples of {found['label']!r}" if suffix else "training samples"
                grid = (
                    f"{len(found['helpful' + suffix])} {kind} that speak for the given label, then "
                    f"{len(found['harmful' + suffix])} that speak against it, the strongest of each first"
                )
            outputs.md(
                f"**Given label:** {found['label']}\n\n**The audit would label it:** {found['suggested']}{sure}\n\n"
                f"The grid shows the sample, then {grid}.",
                name="explanation",
            )
        return types.Property(outputs, view=types.View(label="Explanation"))


def _sample_to_explain(ctx: Any) -> str:
    sample = ctx.params.get("sample_id") or ctx.current_sample or (ctx.selected[-1] if ctx.selected else None)
    if sample is None:
        raise InputError("no sample is open or selected; open or select one")
    return sample


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
        """Write it, and offer it for download."""
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
