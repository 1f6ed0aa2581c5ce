"""What the operators have in common: user mistakes become messages in forms and notifications, and shared inputs."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionError

from audit.errors import ConvergenceError, InputError
from integrations.fiftyone.appearance import shown_colors, shown_groups
from integrations.fiftyone.fields import audit_fields, owner
from integrations.fiftyone.runs import METHOD

ICON = "fact_check"
PANEL = "label_audit"
PLUGIN = "@influence-audit/influence-audit"
MISTAKES = (InputError, ConvergenceError)
"""What is said to the user in one line; anything else is a defect of ours and keeps its trace."""


_FORM_MISTAKE = re.compile(r"Validation error. Path: (.*?). Reason: (.*)", re.DOTALL)


class AuditOperator(foo.Operator):
    """An operator whose form is `form` and whose work is `work`; both may raise an InputError to tell the user."""

    name_ = ""
    label = ""
    description = ""
    icon = ICON
    dynamic = True
    generator = False
    unlisted = False
    risk = types.RiskLevel.MEDIUM

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne asks of an operator."""
        return foo.OperatorConfig(
            name=self.name_,
            label=f"Label audit: {self.label}",
            description=self.description,
            icon=self.icon,
            dynamic=self.dynamic,
            execute_as_generator=self.generator,
            unlisted=self.unlisted,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=self.risk,
        )

    def resolve_input(self, ctx: Any) -> types.Property:
        """The form, or what is wrong."""
        inputs = types.Object()
        try:
            self.form(ctx, dataset_of(ctx), inputs)
        except MISTAKES as mistake:
            refuse(inputs, str(mistake))
        view = types.PromptView(label=f"Label audit: {self.label}", submit_button_label=self.submit(ctx))
        return types.Property(inputs, view=view)

    def execute(self, ctx: Any) -> Any:
        """Do the work; a user's mistake becomes a notification, and {'error': ...} for callers from Python."""
        try:
            return self.work(ctx, dataset_of(ctx))
        except MISTAKES as mistake:
            if ctx.delegated:  # the failed run shows the message
                raise
            ctx.ops.notify(str(mistake), variant="error")
            return {"error": str(mistake)}

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """Define the inputs."""
        raise NotImplementedError

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any] | None:
        """Do it, and return what callers from Python get."""
        raise NotImplementedError

    def submit(self, ctx: Any) -> str:
        """What the form's button says."""
        return self.label

    def call(
        self,
        samples: SampleCollection,
        params: dict[str, Any],
        delegate: bool = False,
        selected: list[str] | None = None,
    ) -> Any:
        """Execute from Python.

        Returns:
            What `work` returned; where it is delegated, the execution result; in a notebook, FiftyOne's task.

        Raises:
            InputError: if the user made a mistake.
        """
        dataset = samples if isinstance(samples, fo.Dataset) else None
        view = None if dataset is not None else samples
        given = {name: value for name, value in params.items() if value is not None}
        try:
            result = foo.execute_operator(
                self.uri,
                {"dataset": dataset, "view": view, "selected": selected or []},
                params=given,
                request_delegation=delegate,
            )
        except ExecutionError as error:
            if mistake := _FORM_MISTAKE.fullmatch(str(error)):
                path, reason = mistake.groups()
                general = reason.startswith(("Value", "Invalid", "Required"))
                raise InputError(f"{path}: {reason[0].lower()}{reason[1:]}" if general else reason) from None
            raise
        if isinstance(result, asyncio.Task) or result.delegated:
            return result
        outcome = result.result
        if isinstance(outcome, dict) and set(outcome) == {"error"}:
            raise InputError(outcome["error"])
        return outcome


class FileOperator(AuditOperator):
    """An operator that writes a file about an audit."""

    def __call__(
        self,
        sample_collection: SampleCollection,
        path: str | None = None,
        audit_key: str | None = None,
        delegate: bool = False,
    ) -> Any:
        """Write it from Python.

        Args:
            sample_collection: the dataset.
            path: the file; by default one beside the audit's saved result.
            audit_key: of the audit; by default the newest.
            delegate: queue it for `fiftyone delegated launch`.

        Returns:
            A dict with path, and count where what is written can be counted.

        Raises:
            InputError: if there is no such audit, or the file cannot be written.
        """
        return self.call(sample_collection, {"audit_key": audit_key, "path": path}, delegate)


def file_input(inputs: types.Object, default: Path, kind: str) -> types.Property:
    """The file to write; `kind` says what it is."""
    about = f"{kind} on the machine that runs the App; the browser downloads a copy."
    return inputs.str("path", default=str(default), label="File", description=about)


def dataset_of(ctx: Any) -> fo.Dataset:
    """The dataset that is open.

    Raises:
        InputError: if none is, or it was deleted.
    """
    try:
        dataset = ctx.dataset
    except ValueError:
        raise InputError("the dataset was deleted meanwhile; open another") from None
    if dataset is None:
        raise InputError("no dataset is open; open one first")
    return dataset


def refuse(inputs: types.Object, message: str, name: str = "problem") -> None:
    """Show a mistake in the form, and keep the form from being submitted."""
    problem = inputs.view(name, types.Error(label=message))
    problem.invalid = True
    problem.error_message = message


def in_app(ctx: Any) -> bool:
    """Whether a person waits for it in the App (and not a Python caller or a delegated run's worker)."""
    return "operator_uri" in ctx.request_params and not ctx.delegated


def audit_keys(dataset: fo.Dataset) -> list[str]:
    """The dataset's audits, the newest first."""
    keys = dataset.list_runs(method=METHOD)
    return sorted(keys, key=lambda key: dataset.get_run_info(key).timestamp, reverse=True)


def chosen_key(ctx: Any, dataset: fo.Dataset) -> str:
    """The audit that the parameters name, by default the newest.

    Raises:
        InputError: if the dataset has none, or not this one.
    """
    keys = audit_keys(dataset)
    if not keys:
        raise InputError(f"dataset {dataset.name!r} has no label audit yet; run 'Audit labels' first")
    key = ctx.params.get("audit_key") or keys[0]
    if key not in keys:
        raise InputError(f"dataset {dataset.name!r} has no label audit {key!r}; it has: {', '.join(keys)}")
    return key


def key_input(ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> str:
    """A choice among the dataset's audits; the one that is chosen."""
    key = chosen_key(ctx, dataset)
    keys = audit_keys(dataset)
    choices = types.DropdownView()
    for name in keys:
        config = dataset.get_run_info(name).config
        flagged = (config.summary.get("counts") or {}).get("flagged")
        about = f"labels of {config.label_field!r}" + ("" if flagged is None else f", {flagged} flagged")
        choices.add_choice(name, label=name, description=about)
    inputs.enum("audit_key", keys, default=key, label="Audit", view=choices)
    return key


def label_field_input(ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> str | None:
    """A choice of the field with the labels; what is chosen, or None where that cannot be.

    Raises:
        InputError: if the dataset has no field with labels.
    """
    schema = dataset.get_field_schema(ftype=fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    fields = [name for name, field in schema.items() if owner(field) is None]
    if not fields:
        raise InputError(f"dataset {dataset.name!r} has no field with classifications; label some images first")
    field = ctx.params.get("label_field") or ("ground_truth" if "ground_truth" in fields else fields[0])
    prop = inputs.enum("label_field", fields, default=field, label="Label field", view=types.DropdownView())
    if field in fields:
        return field
    prop.invalid = True
    prop.error_message = f"label field {field!r} is not on dataset {dataset.name!r}; it has: {', '.join(fields)}"
    return None


def target_collection_input(ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> SampleCollection:
    """FiftyOne's choice of dataset, view or selection; what is chosen.

    The dataset comes first: the panel's filters are a view too, and auditing what they leave would be an accident.
    """
    inputs.view_target(ctx, default_target="DATASET", action_description="Take")
    chosen = ctx.request_params.get("view_target")
    return ctx.target_view() if chosen else dataset


CURRENT, SELECTED, VIEW = "current", "selected", "view"


def target_input(ctx: Any, inputs: types.Object) -> str:
    """A choice of the samples to decide on; what is chosen."""
    choices = types.RadioGroup(orientation="horizontal")
    if ctx.current_sample:
        choices.add_choice(CURRENT, label="The open sample")
    if ctx.selected:
        choices.add_choice(SELECTED, label=f"{counted(len(ctx.selected), 'selected sample')}")
    choices.add_choice(VIEW, label="The whole current view")
    default = choices.values()[0]
    chosen = ctx.params.get("target") or default
    inputs.enum("target", choices.values(), default=default, label="Which samples", view=choices)
    if chosen == VIEW:
        inputs.view("view_size", types.Notice(label=f"The current view has {counted(len(ctx.view), 'sample')}."))
    return chosen


def target_samples(ctx: Any) -> SampleCollection | list[str]:
    """The samples that the parameters name: `samples` by id, or the choice of `target_input`.

    Raises:
        InputError: if there are none.
    """
    if ids := ctx.params.get("samples"):
        return [ids] if isinstance(ids, str) else list(ids)
    default = CURRENT if ctx.current_sample else SELECTED if ctx.selected else VIEW
    target = ctx.params.get("target") or default
    if target == CURRENT and ctx.current_sample:
        return [ctx.current_sample]
    if target == SELECTED and ctx.selected:
        return list(ctx.selected)
    if target != VIEW:
        raise InputError("no sample is selected; select some, or choose the whole current view")
    if not len(ctx.view):
        raise InputError("the current view holds no samples; choose another view")
    return ctx.view


def counted(number: int, thing: str) -> str:
    """'1 sample', '1,200 samples', '3 classes'."""
    plural = "" if number == 1 else "es" if thing.endswith("s") else "s"
    return f"{number:,} {thing}{plural}"


def refresh(ctx: Any) -> None:
    """Show in the grid and in the panel beside it what was decided."""
    if in_app(ctx):
        ctx.ops.reload_samples()
        ctx.trigger(f"{PLUGIN}/tell_panel", {"method": "look"})


def path_to_write(ctx: Any, folder: Path, default: str) -> Path:
    """Where an operator writes a file: asked for in the App, within the audit's folder; from Python, anywhere.

    Whoever reaches the App's address may run operators; a path of their own would let them write over any file.

    Raises:
        InputError: if a path that was given in the App leaves the folder.
    """
    given = ctx.params.get("path") or default
    path = (folder / Path(given).expanduser()).resolve()
    if in_app(ctx) and not path.is_relative_to(folder.resolve()):
        raise InputError(f"file {given!r} is outside of {str(folder)!r}; give a name in it, and move the file later")
    return path


def show_changed_fields(
    ctx: Any, dataset: fo.Dataset, audit_key: str | None = None, leave_view: bool = False
) -> list[Any]:
    """Show in an open window what fields the dataset has now, in its groups and colors, and in the panel what became of
    its audit: reloading the dataset shows the fields only. What is done is returned too, for generators to yield.

    Args:
        ctx: the operator's.
        dataset: whose fields have changed.
        audit_key: the audit that the panel is to show; by default the one that it shows, or else the newest.
        leave_view: show the whole dataset, because the view is of fields that are gone.
    """
    dataset.reload()
    shown = {"groups": shown_groups(dataset), "audit_key": audit_key, "leave_view": leave_view}
    return [
        ctx.trigger(f"{PLUGIN}/show_changed_fields", shown),
        ctx.trigger("set_color_scheme", {"fields": shown_colors(dataset)}),
    ]


def is_view_of(ctx: Any, dataset: fo.Dataset, key: str) -> bool:
    """Whether the view that is open in the App asks for the audit's fields."""
    stages = json.dumps(ctx.view._serialize(), default=str)
    return any(f'"{name}' in stages or f'"${name}' in stages for name in audit_fields(dataset, key))


def offer_download(ctx: Any, path: Path) -> None:
    """Let the browser save a file of the machine that runs the App."""
    if in_app(ctx):
        ctx.ops.browser_download(f"/media?filepath={quote(str(path))}", path.name)
