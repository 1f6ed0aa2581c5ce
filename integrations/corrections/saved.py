"""A dataset that `save_to_disk` wrote, with the audit's scores as columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import InputError
from integrations.corrections.decisions import keys_of
from integrations.corrections.output import check_new_folder, whole_folder

if TYPE_CHECKING:
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
    made = {}
    for split, table in splits_of(loaded).items():
        if taken := set(columns.values()) & set(table.column_names):
            raise InputError(f"the dataset has a column {min(taken)!r} already; audit under another --audit-key")
        for name, column in columns.items():
            scores = result.scores[name].tolist()
            keys = [f"{split}/{row:06d}" for row in range(len(table))]
            values: list[Any] = [scores[rows[key]] if key in rows else None for key in keys]
            table = table.add_column(column, values)
        made[split] = table
    with whole_folder(output) as folder:
        whole = datasets.DatasetDict(made) if isinstance(loaded, datasets.DatasetDict) else next(iter(made.values()))
        whole.save_to_disk(str(folder))
    return list(columns.values())
