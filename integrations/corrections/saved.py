"""A dataset that `save_to_disk` wrote: with other labels, or with the audit's scores as columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import InputError
from integrations.corrections.decisions import keys_of
from integrations.corrections.output import Corrected, check_new_folder, whole_folder
from integrations.corrections.tables import as_in

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from audit.result import AuditResult

PUSHED = ("suspicion", "flag", "suggested_label")
"""The scores that become columns, named <audit key>_<score>."""


def save_with_scores(result: AuditResult, output: Path) -> list[str]:
    """Save the audited dataset again, with the scores as columns; rows that were not audited have none.

    Args:
        result: of a dataset that was saved to disk.
        output: a new folder.

    Returns:
        The names of the columns.

    Raises:
        InputError: if the result is of another source, the dataset is gone or has such columns, or the folder holds
            files.
    """
    from integrations.sources.huggingface import is_saved_to_disk, splits_of

    source = result.summary.source
    kind, _, place = source.source.partition(":") if source else ("", "", "")
    if source is None or kind != "hf" or not is_saved_to_disk(Path(place)):
        raise InputError(
            f"--push-column needs a Hugging Face dataset that was saved to disk, and this result is of "
            f"{source.source if source else 'arrays'}; use --all -o scores.parquet"
        )
    check_new_folder(output)
    import datasets

    loaded = datasets.load_from_disk(place)
    rows = {key: row for row, key in enumerate(keys_of(result))}
    columns = {name: f"{source.audit_key}_{name}" for name in PUSHED}
    made: dict[str, Dataset] = {}
    for split, table in splits_of(loaded).items():
        if taken := set(columns.values()) & set(table.column_names):
            raise InputError(f"the dataset has a column {min(taken)!r} already; audit under another --audit-key")
        for name, column in columns.items():
            scores = result.scores[name].tolist()
            keys = [f"{split}/{row:06d}" for row in range(len(table))]
            values: list[Any] = [scores[rows[key]] if key in rows else None for key in keys]
            table = table.add_column(column, values)
        made[split] = table
    _save(made, loaded, output)
    return list(columns.values())


def corrected_saved(path: Path, column: str | None) -> Corrected:
    """A dataset that was saved to disk.

    Args:
        path: its folder.
        column: with the labels; None where the audit does not say which.

    Raises:
        InputError: if it is gone, or a new label is none of the column's classes.
    """
    from integrations.sources.huggingface import saved_to_disk

    read = saved_to_disk(path, label_column=column)
    labels = dict(zip(read.order, read.labels or (), strict=True))
    column = read.label_column
    assert column is not None

    def write(output: Path, changes: Mapping[str, str]) -> list[str]:
        import datasets

        from integrations.sources.huggingface import splits_of

        loaded = datasets.load_from_disk(str(path))
        made = {split: _with_labels(table, split, column, changes) for split, table in splits_of(loaded).items()}
        _save(made, loaded, output)
        return []

    return Corrected(labels, path, None, write)


def _with_labels(table: Dataset, split: str, column: str, changes: Mapping[str, str]) -> Dataset:
    """A split's rows with other labels for some, by the source's keys."""
    own = {row: changes[key] for row in range(len(table)) if (key := f"{split}/{row:06d}") in changes}
    if not own:
        return table
    feature, names = table.features[column], table.column_names
    values = list(table[column])
    for row, label in own.items():
        if not hasattr(feature, "names"):
            values[row] = as_in(Path(column), label, values[row])
        elif label in feature.names:
            values[row] = feature.names.index(label)
        else:
            raise InputError(
                f"column {column!r} knows the classes {', '.join(feature.names[:12])}, and not {label!r}; decide for "
                "one of them"
            )
    return table.remove_columns(column).add_column(column, values, feature=feature).select_columns(names)


def _save(made: Mapping[str, Dataset], loaded: Dataset | DatasetDict, output: Path) -> None:
    """Save splits as the dataset was that they were made of."""
    import datasets

    with whole_folder(output) as folder:
        whole = datasets.DatasetDict(made) if isinstance(loaded, datasets.DatasetDict) else next(iter(made.values()))
        whole.save_to_disk(str(folder))
