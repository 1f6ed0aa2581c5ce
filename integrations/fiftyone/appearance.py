"""How an audit shows in the App: its saved views, its group in the sidebar, and what is written on the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import fiftyone as fo
from fiftyone import ViewField as F
from fiftyone.core.collections import SampleCollection
from fiftyone.core.utils import to_slug

from audit.errors import InputError
from audit.findings.kinds import BAD_PICTURES, DUPLICATE_LABELS, DUPLICATES, LEAKS, OFF_TOPIC, SPLIT_LEAK
from integrations.fiftyone.fields import (
    ALL_FIELDS,
    DECIDED,
    DISMISSED,
    FINDINGS,
    FLAG,
    INFLUENCE,
    INJECTED,
    INJECTED_LABEL,
    KEPT_FIELDS,
    REMOVED,
    STATUS,
    SUGGESTED,
    SUSPICION,
    UNREVIEWED,
    UNSURE,
    WRONG,
    audit_fields,
    owner,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit.findings.contract import Kind

MADE_IN_PANEL = "What filters of the panel 'Label audit' showed."
EXTREMES = 100  # samples in each of the views 'most harmful' and 'most helpful'
ON_IMAGES = {SUSPICION: "#FF6D04", SUGGESTED: "#2E8B57", INJECTED_LABEL: "#8B5CF6", DECIDED: "#0F7F9E"}
"""The fields that are shown on the images, with their colors; FiftyOne's own colors may be the same for two of them."""
GIVEN_COLOR = "#3B82F6"  # of the label field, which is shown beside them


@dataclass(frozen=True)
class AuditView:
    """One saved view of an audit.

    Args:
        title: the view is called `<key>: <title>`.
        description: what is in it.
        color: of its name in the App.
        make: builds it, given the dataset and the audit key.
        needs_injection: whether it only makes sense where mislabels were injected.
        kinds: of findings, of which there must be one for it to make sense; none for a view that is always there.
    """

    title: str
    description: str
    color: str
    make: Callable[[fo.Dataset, str], fo.DatasetView]
    needs_injection: bool = False
    kinds: tuple[str, ...] = ()

    def name(self, key: str) -> str:
        """The view's name under an audit key."""
        return f"{key}: {self.title}"


def most_suspicious_first(samples: SampleCollection, key: str) -> fo.DatasetView:
    """The order of the grid and of the queue of samples to review; many have the same suspicion of 1."""
    return samples.sort_by([(SUSPICION.name(key), -1), ("id", 1)])


FLAGGED = AuditView(
    "flagged",
    "Labels that are probably wrong, the most suspicious first.",
    "#FF6D04",
    lambda dataset, key: most_suspicious_first(dataset.match(F(FLAG.name(key)) == True), key),  # noqa: E712
)

TO_REVIEW = AuditView(
    "to review",
    "Flagged labels that nobody has decided on yet, the most suspicious first.",
    "#FFB682",
    lambda dataset, key: most_suspicious_first(
        dataset.match((F(FLAG.name(key)) == True) & (F(STATUS.name(key)) == UNREVIEWED)),  # noqa: E712
        key,
    ),
)

CONFIRMED_MISTAKES = AuditView(
    "confirmed mistakes",
    "Labels that a reviewer found wrong, with a correction or without.",
    "#C026D3",
    lambda dataset, key: most_suspicious_first(dataset.match(F(STATUS.name(key)).is_in(list(WRONG))), key),
)

DISMISSED_FLAGS = AuditView(
    "dismissed",
    "Labels that a reviewer found right.",
    "#6D7888",
    lambda dataset, key: most_suspicious_first(dataset.match(F(STATUS.name(key)) == DISMISSED), key),
)

LEFT_OPEN = AuditView(
    "unsure",
    "Labels of which a reviewer could not say whether they are right.",
    "#0891B2",
    lambda dataset, key: most_suspicious_first(dataset.match(F(STATUS.name(key)) == UNSURE), key),
)

TO_REMOVE = AuditView(
    "removed",
    "Samples that a reviewer wants out of the dataset; they are still in it.",
    "#7F1D1D",
    lambda dataset, key: most_suspicious_first(dataset.match(F(STATUS.name(key)) == REMOVED), key),
)

REVIEW_VIEWS = (FLAGGED, TO_REVIEW, CONFIRMED_MISTAKES, DISMISSED_FLAGS, LEFT_OPEN, TO_REMOVE)
"""The views that a review goes through."""


def _findings_view(title: str, description: str, color: str, kinds: tuple[Kind, ...], *more: str) -> AuditView:
    """The view of the samples with findings of some kinds, the most suspicious first."""
    names = (*(kind.name for kind in kinds), *more)
    return AuditView(
        title,
        description,
        color,
        lambda dataset, key: most_suspicious_first(dataset.match(F(FINDINGS.name(key)).contains(list(names))), key),
        kinds=names,
    )


FINDINGS_VIEWS = (
    _findings_view(
        "copies", "Pictures of which there are copies, changed or not.", "#B45309", DUPLICATES, DUPLICATE_LABELS
    ),
    _findings_view("leaks", "Pictures with copies in training and in a held-out split.", "#BE123C", LEAKS, SPLIT_LEAK),
    _findings_view("fits no class", "Pictures unlike those of every class.", "#7C3AED", OFF_TOPIC),
    _findings_view("bad pictures", "Dark, blurred, empty and odd pictures.", "#57534E", BAD_PICTURES),
)
"""One view for each group of findings on samples, where there are any."""

VIEWS = (
    *REVIEW_VIEWS,
    AuditView(
        "most harmful",
        f"The {EXTREMES} samples that raise the validation loss most, the worst first.",
        "#EE0000",
        lambda dataset, key: (
            dataset.match((F(INFLUENCE.name(key)) != None) & (F(INFLUENCE.name(key)) < 0))  # noqa: E711
            .sort_by(INFLUENCE.name(key))
            .limit(EXTREMES)
        ),
    ),
    AuditView(
        "most helpful",
        f"The {EXTREMES} samples that lower the validation loss most, the best first.",
        "#499CEF",
        lambda dataset, key: (
            dataset.match(F(INFLUENCE.name(key)) > 0).sort_by(INFLUENCE.name(key), reverse=True).limit(EXTREMES)
        ),
    ),
    AuditView(
        "findings",
        "Samples with findings beside the label, and samples that were left out of the audit.",
        "#D97706",
        lambda dataset, key: dataset.match(F(FINDINGS.name(key)).length() > 0),
    ),
    *FINDINGS_VIEWS,
    AuditView(
        "injected and missed",
        "Labels that the audit changed on purpose and did not flag, the most suspicious first.",
        "#8B5CF6",
        lambda dataset, key: most_suspicious_first(
            dataset.match((F(INJECTED.name(key)) == True) & (F(FLAG.name(key)) == False)),  # noqa: E712
            key,
        ),
        needs_injection=True,
    ),
    AuditView(
        "flagged but not injected",
        "Labels that the audit flagged and had not changed: false alarms, or mistakes that were there before.",
        "#10B981",
        lambda dataset, key: most_suspicious_first(
            dataset.match((F(FLAG.name(key)) == True) & (F(INJECTED.name(key)) != True)),  # noqa: E712
            key,
        ),
        needs_injection=True,
    ),
)


def group_name(key: str) -> str:
    """The name of an audit's group in the App's sidebar."""
    return f"label audit ({key})"


def kept_group_name(key: str) -> str:
    """The name of the group, closed and last, of what a review keeps for its own sake: the log, say."""
    return f"kept by label audit ({key})"


def check_view_names(dataset: fo.Dataset, key: str) -> None:
    """Refuse a key whose saved views would replace someone else's.

    Raises:
        InputError: if a saved view has the same name in the App's address, which ignores case and punctuation.
    """
    taken = {to_slug(name): name for name in dataset.list_saved_views()}
    for view in VIEWS:
        existing = taken.get(to_slug(view.name(key)), view.name(key))
        if existing != view.name(key):
            raise InputError(
                f"audit key {key!r} would replace the saved view {existing!r} of dataset {dataset.name!r}; "
                "choose another with --audit-key"
            )


def save_views(dataset: fo.Dataset, key: str) -> None:
    """Save the audit's views; those that do not apply (any more) are deleted."""
    has_injection = dataset.has_field(INJECTED.name(key))
    found = set(dataset.distinct(FINDINGS.name(key)))
    for view in VIEWS:
        if (has_injection or not view.needs_injection) and (not view.kinds or found.intersection(view.kinds)):
            made = view.make(dataset, key)
            dataset.save_view(view.name(key), made, view.description, view.color, overwrite=True)
        elif dataset.has_saved_view(view.name(key)):
            dataset.delete_saved_view(view.name(key))


def delete_views(dataset: fo.Dataset, key: str) -> None:
    """Delete the audit's views and no others."""
    ours = {view.name(key) for view in VIEWS}
    for name in dataset.list_saved_views():
        if name in ours or is_made_in_panel(dataset, key, name):
            dataset.delete_saved_view(name)


def is_made_in_panel(dataset: fo.Dataset, key: str, name: str) -> bool:
    """Whether a saved view is what filters of the panel showed of an audit."""
    return name.startswith(f"{key}: ") and dataset.get_saved_view_info(name)["description"] == MADE_IN_PANEL


def show_fields(dataset: fo.Dataset, key: str, label_field: str) -> None:
    """Group the audit's fields at the top of the sidebar, and show suspicion and suggestion on the images. What is
    kept for the review's own sake is in a closed group at the end: the App shows every field in some group.

    What is shown on the images, and in which color, is set when a field is new; afterwards it is the user's choice.
    """
    config = dataset.app_config
    names = audit_fields(dataset, key)
    order = {field.name(key): position for position, field in enumerate(ALL_FIELDS)}
    names.sort(key=lambda name: order.get(name, len(order)))
    groups = config.sidebar_groups
    if groups is None:
        groups = fo.DatasetAppConfig.default_sidebar_groups(dataset)
    for group in list(groups):
        if group.name not in (group_name(key), kept_group_name(key)) and set(group.paths) & set(names):
            group.paths = [path for path in group.paths if path not in names]
            if not group.paths:  # a default group that was there for our fields alone
                groups.remove(group)
    ours = next((group for group in groups if group.name == group_name(key)), None)
    if ours is None:
        ours = fo.SidebarGroupDocument(name=group_name(key), expanded=True)
        groups.insert(next((i + 1 for i, group in enumerate(groups) if group.name == "tags"), 0), ours)
    kept = [field.name(key) for field in KEPT_FIELDS if field.name(key) in names]
    new = set(names).difference(ours.paths)
    ours.paths = [name for name in names if name not in kept]
    _keep_last(groups, kept_group_name(key), kept)
    config.sidebar_groups = groups
    colors = {field.name(key): color for field, color in ON_IMAGES.items() if field.name(key) in new}
    if colors:
        _activate(dataset, list(colors))
        _color(dataset, {label_field: GIVEN_COLOR, **colors})
    dataset.save()


def _keep_last(groups: list[fo.SidebarGroupDocument], name: str, paths: list[str]) -> None:
    """Put a closed group with these fields behind the others; one that is there stays where the user has put it."""
    there = next((group for group in groups if group.name == name), None)
    if there is None and paths:
        there = fo.SidebarGroupDocument(name=name, expanded=False)
        groups.append(there)
    if there is not None:
        there.paths = paths


def _activate(dataset: fo.Dataset, names: list[str]) -> None:
    config = dataset.app_config
    if config.active_fields is None:
        schema = dataset.get_field_schema()
        default = fo.DatasetAppConfig.default_active_fields(dataset).paths
        config.active_fields = fo.ActiveFields(
            paths=[path for path in default if path not in schema or owner(schema[path]) is None]
        )
    if not config.active_fields.exclude:
        config.active_fields.paths = list(dict.fromkeys([*config.active_fields.paths, *names]))


def _color(dataset: fo.Dataset, colors: dict[str, str]) -> None:
    config = dataset.app_config
    if config.color_scheme is None:
        config.color_scheme = fo.ColorScheme()
    scheme = config.color_scheme
    colored = {field.get("path") for field in scheme.fields or ()}
    new = [{"path": path, "fieldColor": color} for path, color in colors.items() if path not in colored]
    scheme.fields = [*(scheme.fields or ()), *new]


def make_editable(dataset: fo.Dataset, label_field: str) -> bool:
    """Let the App's own editor offer a label field, as its 'Add schema' does; whether it did not before."""
    if label_field in dataset.active_label_schemas:
        return False
    if label_field not in dataset.label_schemas:
        dataset.update_label_schema(label_field, dataset.generate_label_schemas(label_field))
    dataset.activate_label_schemas(label_field)
    return True


class ShownGroup(TypedDict):
    """A group of fields in the sidebar, as the App's window keeps it."""

    name: str
    paths: list[str]
    expanded: bool


def shown_groups(dataset: fo.Dataset) -> list[ShownGroup]:
    """The groups of fields in the sidebar, as the App's window keeps them."""
    groups = dataset.app_config.sidebar_groups or fo.DatasetAppConfig.default_sidebar_groups(dataset)
    return [{"name": group.name, "paths": list(group.paths), "expanded": group.expanded} for group in groups]


def shown_colors(dataset: fo.Dataset) -> list[dict[str, str]]:
    """The colors of fields that the dataset keeps."""
    scheme = dataset.app_config.color_scheme
    return list(scheme.fields or ()) if scheme is not None else []


def forget_fields(dataset: fo.Dataset, key: str) -> None:
    """Remove the audit's group and colors, once its fields are gone; what is the App's default again is unset."""
    config = dataset.app_config
    if config.color_scheme is not None:
        names = {field.name(key) for field in ALL_FIELDS}
        scheme = config.color_scheme
        fields = [field for field in scheme.fields or () if field.get("path") not in names]
        schema = dataset.get_field_schema()
        if not any(owner(schema[field["path"]]) for field in fields if field.get("path") in schema):
            fields = [field for field in fields if field.get("fieldColor") != GIVEN_COLOR]
        scheme.fields = fields
        untouched = fo.ColorScheme(id=scheme.id)
        if not scheme.fields and all(scheme[name] == untouched[name] for name in scheme if name != "fields"):
            config.color_scheme = None
    if config.sidebar_groups is not None:
        ours = (group_name(key), kept_group_name(key))
        groups = [group for group in config.sidebar_groups if group.name not in ours]
        default = fo.DatasetAppConfig.default_sidebar_groups(dataset)
        config.sidebar_groups = None if _contents(groups) == _contents(default) else groups
    if config.active_fields == fo.DatasetAppConfig.default_active_fields(dataset):
        config.active_fields = None
    dataset.save()


def _contents(groups: list[fo.SidebarGroupDocument]) -> list[tuple[str, list[str]]]:
    return [(group.name, sorted(group.paths)) for group in groups]


def rename_group(dataset: fo.Dataset, key: str, new_key: str) -> None:
    """Rename the audit's group in the sidebar, and keep its colors."""
    names = {field.name(key): field.name(new_key) for field in ALL_FIELDS}
    scheme = dataset.app_config.color_scheme
    if scheme is not None and scheme.fields:
        scheme.fields = [{**field, "path": names.get(field.get("path"), field.get("path"))} for field in scheme.fields]
    for group in dataset.app_config.sidebar_groups or ():
        for name_of in (group_name, kept_group_name):
            if group.name == name_of(key):
                group.name = name_of(new_key)
    dataset.save()
