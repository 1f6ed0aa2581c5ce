"""The inputs that several forms share (audit, labels, samples), and the user's choices in them."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
from fiftyone import ViewField as F
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types

from audit.data.samples import MINIMUM_PER_CLASS, is_missing
from audit.errors import InputError
from integrations.fiftyone.label_fields import Kind, kind_of, label_fields, label_path, original_field
from integrations.fiftyone.read import check_images, check_whole_images
from integrations.fiftyone.runs import METHOD
from integrations.fiftyone.unread_labels import unread_label_fields, why_no_labels

from .operator import refuse
from .sentences import counted

CURRENT, SELECTED, VIEW = "current", "selected", "view"


def audit_keys(dataset: fo.Dataset) -> list[str]:
    """The dataset's audits, the newest first."""
    keys = dataset.list_runs(method=METHOD)
    return sorted(keys, key=lambda key: dataset.get_run_info(key).timestamp, reverse=True)


def chosen_key(ctx: Any, dataset: fo.Dataset) -> str:
    """The key of the audit that the parameters name, by default of the newest.

    Raises:
        InputError: if the dataset has no audit, or not this one.
    """
    keys = audit_keys(dataset)
    if not keys:
        raise InputError(f"dataset {dataset.name!r} has no label audit yet; run 'Audit labels' first")
    key = ctx.params.get("audit_key") or keys[0]
    if key not in keys:
        raise InputError(f"dataset {dataset.name!r} has no label audit {key!r}; it has: {', '.join(keys)}")
    return key


def key_input(ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> str:
    """Add a choice of the dataset's audits, and return the chosen one."""
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
    """Add a choice of the field with the labels. Returns the chosen one, or None if it cannot be used.

    Raises:
        InputError: if the dataset has no field with labels; the message says what it has, and the way out.
    """
    fields = label_fields(dataset)
    if not fields:
        raise InputError(why_no_labels(dataset))
    field = ctx.params.get("label_field") or default_label_field(dataset)
    if field is not None and _is_copy(dataset, field):  # it is not offered, but an audit reads it
        fields = [*fields, field]
    choices = types.DropdownView()
    for name in fields:
        kind = kind_of(dataset.get_field(name))
        choices.add_choice(name, label=name, description=kind.value if kind is not None else "")
    unread = [one for one in unread_label_fields(dataset) if one.is_label]
    about = None
    if unread:
        named = ", ".join(f"{one.name!r} ({one.kind})" for one in unread[:5])
        about = f"Not offered, since an audit needs one label for each picture: {named}."
    prop = inputs.enum("label_field", fields, default=field, label="Label field", description=about, view=choices)
    if field in fields:
        return field
    prop.invalid = True
    prop.error_message = f"label field {field!r} is not on dataset {dataset.name!r}; it has: {', '.join(fields)}"
    return None


def default_label_field(dataset: fo.Dataset) -> str | None:
    """The field that the newest audit took its labels from, else `ground_truth`, else the first one with labels."""
    fields = label_fields(dataset)
    audited = [original_field(dataset, dataset.get_run_info(key).config.label_field) for key in audit_keys(dataset)[:1]]
    return next((name for name in (*audited, "ground_truth", *fields) if name in fields), None)


def _is_copy(dataset: fo.Dataset, field: str) -> bool:
    return dataset.has_field(field) and original_field(dataset, field) != field


def target_collection_input(ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> SampleCollection:
    """Add FiftyOne's choice of dataset, view or selection, and return the chosen samples.

    The default is the dataset. The panel's filters also make a view, and nobody means to audit only what they show.
    """
    inputs.view_target(ctx, default_target="DATASET", action_description="Take")
    chosen = ctx.request_params.get("view_target")
    return ctx.target_view() if chosen else dataset


def target_input(ctx: Any, inputs: types.Object) -> str:
    """Add a choice of the samples to decide on, and return the chosen ones."""
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
        InputError: if there are no such samples.
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


def check_samples(collection: SampleCollection, field: str, inputs: types.Object) -> None:
    """Refuse samples that cannot be audited as soon as they are chosen. Only the audit reads the images themselves."""
    try:
        check_whole_images(collection)
        if not len(collection):
            raise InputError("there are no samples in what you chose; choose the dataset or another view")
        check_images(collection)
        missing = len(collection) - _labelled(collection, field)
        if missing:
            inputs.view(
                "missing", types.Notice(label=f"{counted(missing, 'sample')} without a label will be left out.")
            )
    except InputError as error:
        refuse(inputs, str(error), "samples_problem")


def _labelled(collection: SampleCollection, field: str) -> int:
    """How many samples have a label.

    Raises:
        InputError: if there are too few classes or samples, or several labels for a sample.
    """
    if kind_of(collection.get_field(field)) is Kind.LIST:
        several = len(collection.match(F(f"{field}.classifications").length() > 1))
        if several:
            raise InputError(
                f"{counted(several, 'sample')} have several labels in field {field!r}; an audit needs one label for "
                "each, so choose a view of those with one"
            )
    classes = collection.count_values(label_path(collection, field))
    named = {label: count for label, count in classes.items() if not is_missing(label)}
    if len(named) < 2:
        raise InputError(f"field {field!r} holds {counted(len(named), 'class')} there; an audit needs two or more")
    if sum(count >= MINIMUM_PER_CLASS for count in named.values()) < 2:
        raise InputError(
            f"field {field!r} holds {counted(len(named), 'class')} there, of which fewer than two have "
            f"{MINIMUM_PER_CLASS} samples or more; choose another field, add samples or merge classes"
        )
    return sum(named.values())
